"""This host's kernel: interfaces, routes, sockets and their processes, clocks; and bulk sending."""
