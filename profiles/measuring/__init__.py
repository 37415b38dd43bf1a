"""Paying for new observations: each once, every one kept."""
