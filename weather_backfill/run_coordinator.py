"""Alias of `dagster.run_coordinator`: every `dagster.yaml` names this path."""

from weather_backfill.dagster.run_coordinator import TaggingRunCoordinator

__all__ = ["TaggingRunCoordinator"]
