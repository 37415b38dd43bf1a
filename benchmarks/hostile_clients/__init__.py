"""Hostile clients: what a running gateway does with requests that are meant to harm it."""
