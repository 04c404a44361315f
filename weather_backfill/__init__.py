"""Backfill weather observations into clean 15-minute Parquet with Dagster's own partition backfills."""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weather_backfill.reader import connect_warehouse, read_raw, read_refined

__all__ = ["__version__", "connect_warehouse", "read_raw", "read_refined"]
__version__ = "0.1.0"

_LAZY = {
    "connect_warehouse": "weather_backfill.reader",
    "read_raw": "weather_backfill.reader",
    "read_refined": "weather_backfill.reader",
}

# Backfill policies are beta and partitions of checks preview in Dagster 1.13; both are what we stand on, and
# a page of warnings at every command hides the ones that matter. The version range in pyproject.toml guards us.
# By their words, not by their class: importing the class would cost every import of this package half a second.
for _stage in ("beta", "preview"):
    warnings.filterwarnings("ignore", message=rf".* is currently in {_stage}, and may have breaking changes")


def __getattr__(name: str) -> Any:
    """What is imported when it is first used."""
    from importlib import import_module

    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
