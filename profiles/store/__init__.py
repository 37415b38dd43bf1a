"""The profile store: one DuckDB file, Parquet folders beside it."""
