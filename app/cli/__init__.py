"""The `inferbudget` command."""
