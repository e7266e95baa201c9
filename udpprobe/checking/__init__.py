"""Compares what was expected with what was found."""
