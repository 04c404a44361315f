"""Alias of `util.logs`: `dagster.yaml` names this path."""

from weather_backfill.util.logs import StructuredHandler

__all__ = ["StructuredHandler"]
