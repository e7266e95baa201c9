"""The one path from frames to a summary."""
