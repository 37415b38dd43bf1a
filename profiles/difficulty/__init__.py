"""Difficulty classes from text."""
