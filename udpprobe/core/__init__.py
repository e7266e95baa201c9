"""PURE: columns in, columns out. No socket, file, clock or dice in here."""
