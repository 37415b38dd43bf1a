"""What to measure next, and what it is worth."""
