"""Small GHCNh files of our own, and readers for tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.sources.ghcnh.catalogue import path_of
from weather_backfill.sources.ghcnh.connection import GhcnhConnection, remote_of
from weather_backfill.sources.ghcnh.simulate_data import Network, Row, body_of
from weather_backfill.sources.ghcnh.source import GhcnhSource
from weather_backfill.sources.ghcnh.stations import LIST
from weather_backfill.storage.object_store import ObjectStore

DATA = Path(os.environ.get("WEATHER_TEST_DATA", "../shared/data")) / "ghcnh"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}: set WEATHER_TEST_DATA")
STATION = "USW00090000"
NOW = datetime(2026, 11, 30, tzinfo=UTC)
Cell = tuple[str, str, str, str, str]


def row(stamp: str, **cells: str | Cell) -> Row:
    """A row at a stamp (UTC); a cell is a value, of source 343 with code 5 in an FM15, or a value and four codes."""
    made = {name: cell if isinstance(cell, tuple) else (cell, "", "5", "FM15", "343") for name, cell in cells.items()}
    return Row(datetime.fromisoformat(stamp).replace(tzinfo=UTC), made)


def write(root: Path, rows: Sequence[Row] | bytes, year: int = 2024, station: str = STATION) -> Path:
    """Write a station's year and a list that has the station; returns the file."""
    path = root / path_of(station, year)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rows if isinstance(rows, bytes) else body_of(station, list(rows)))
    (root / LIST).parent.mkdir(parents=True, exist_ok=True)
    (root / LIST).write_bytes(Network(date(2024, 1, 1), date(2024, 1, 1), stations=6).list())
    return path


def source_of(base_url: str, cache: ObjectStore | None = None, **settings: object) -> GhcnhSource:
    """The source of a connection."""
    connection = GhcnhConnection.model_validate({"base_url": base_url, "stations": [STATION], **settings})
    return GhcnhSource(connection, remote_of(base_url), cache, clock=lambda: NOW)


def read_days(source: GhcnhSource, *days: date) -> list[RawDay]:
    """Days that must all be read."""
    with source:
        found = list(source.days(days))
    failures = [day for day in found if isinstance(day, DayFailure)]
    assert not failures, failures
    return [day for day in found if isinstance(day, RawDay)]


def values_of(day: RawDay, metric: str) -> list[tuple[str, float | None, int, int]]:
    """A metric's values of a day: stamp as HH:MM, value, flag, seconds."""
    rows = day.table.to_pylist()
    return [
        (f"{r['observed_at']:%H:%M}", r["value"], r["quality"], r["interval_seconds"])
        for r in rows if r["metric"] == metric
    ]  # fmt: skip
