"""What a capture taught, counted: it merges, and a report is made of it."""
