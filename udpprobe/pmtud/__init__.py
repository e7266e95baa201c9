"""Which packets fit a path, and who limits it."""
