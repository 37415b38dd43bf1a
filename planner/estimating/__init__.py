"""From measured cells to the numbers that plans count on and promise."""
