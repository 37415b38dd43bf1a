"""Whole GPUs by type and hour for plans that are already certified."""
