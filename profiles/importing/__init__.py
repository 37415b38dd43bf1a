"""Outcomes that others measured, in the words of the store."""
