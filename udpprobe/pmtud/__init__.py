"""Decides which packet sizes fit a path, and who limits them."""
