"""A plan explains itself: what its limits cost, who is left out and why, what would change it."""
