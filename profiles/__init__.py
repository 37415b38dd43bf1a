"""Measured outcomes: observations, the store, cell statistics and difficulty classes."""
