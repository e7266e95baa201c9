"""Decides where a flow goes, hop by hop."""
