"""Alias of `definitions_single_run`: commands and deployments name this path."""

from weather_backfill.definitions_single_run import defs

__all__ = ["defs"]
