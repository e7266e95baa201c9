"""Errors to the datagrams that caused them."""
