"""Ways of sorting requests into classes, compared by the plans that they make."""
