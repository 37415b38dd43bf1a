"""Strategies derived from recorded samples, without new runs."""
