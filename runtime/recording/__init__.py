"""Requests of a gateway as observations on disk, which `inferbudget profile` reads."""
