"""Decides what to send to whom and when, and what silence means."""
