"""This host as its kernel shows it: interfaces, routes, sockets and their processes, clocks; many sends at once."""
