"""Backfill weather observations into clean 15-minute Parquet with Dagster's own partition backfills."""

__version__ = "0.1.0"
