"""Budgets under faults: see `python -m benchmarks.never_over --help`."""
