"""What was expected, beside what is so."""
