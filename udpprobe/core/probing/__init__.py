"""Packets sent on purpose, and who proves to have seen them."""
