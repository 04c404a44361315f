"""Rows that moved to the day before are in the lake at every moment, and once where both days have been written."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from weather_backfill.backfill.coverage import held_days
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.writer import write_day
from weather_backfill.model import schemas
from weather_backfill.model.days import DayTable
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import RAW
from weather_backfill.storage.object_store import ObjectStore

FIRST = date(2024, 1, 1)
SECOND = date(2024, 1, 2)
MIDNIGHT = datetime(2024, 1, 2, tzinfo=UTC)


def rows(*minutes: int, seconds: int = 600) -> pa.Table:
    """Ten minutes of rain up to a minute after midnight; the value is the minute."""
    made = [
        {
            "observed_at": MIDNIGHT + timedelta(minutes=minute), "station_id": station, "metric": metric,
            "value": float(minute), "quality": 1, "interval_seconds": seconds, "interval_end_offset_seconds": 0,
        }
        for station in ("a", "b") for metric in ("rain", "wind") for minute in minutes
    ]  # fmt: skip
    return pa.Table.from_pylist(made, RAW)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path))


def older(store: ObjectStore, day: date, table: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day as the release before wrote it."""
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "SCHEMA_VERSION", "1")
        plain = table.drop_columns(RAW.names[5:])
        store.put(place(day), parquet.encode(plain, {"cadence": "{}", "rejects": "0", "completeness": "1"}).data)


def place(day: date) -> str:
    return layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(day, "acme"))


def write(store: ObjectStore, day: date, table: pa.Table) -> dict[str, object]:
    return dict(write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(PartitionKey(day, "acme"), table)).metadata)


def minutes(store: ObjectStore, day: date) -> list[tuple[int, int | None]]:
    """Minute and interval of a series' rows; all series are alike."""
    table = parquet.decode(store.get(place(day)))
    found: dict[tuple[str, str], list[tuple[int, int | None]]] = {}
    for row in table.to_pylist():
        minute = round((row["observed_at"] - MIDNIGHT).total_seconds() / 60)
        found.setdefault((row["station_id"], row["metric"]), []).append((minute, row["interval_seconds"]))
    assert len(found) == 4
    (one,) = {tuple(series) for series in found.values()}
    return list(one)


def test_a_row_stays_until_the_day_before_holds_it(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    older(store, FIRST, rows(-20, -10), monkeypatch)
    older(store, SECOND, rows(0, 10, 20), monkeypatch)
    written = write(store, SECOND, rows(10, 20, 1440))
    assert minutes(store, SECOND) == [(0, None), (10, 600), (20, 600), (1440, 600)]
    assert written["rows_carried"] == 4
    assert written["rows"] == 16
    assert held_days(store, "dwd", "acme")[SECOND].carried
    write(store, SECOND, rows(10, 20, 1440))
    assert minutes(store, SECOND)[0] == (0, None), "it is not lost at a second writing either"
    write(store, FIRST, rows(-20, -10, 0))
    assert minutes(store, FIRST) == [(-20, 600), (-10, 600), (0, 600)]
    assert write(store, SECOND, rows(10, 20, 1440))["rows_removed"] == 4
    assert minutes(store, SECOND) == [(10, 600), (20, 600), (1440, 600)]
    assert not held_days(store, "dwd", "acme")[SECOND].carried


def test_a_row_stays_where_the_lake_has_no_day_before(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    older(store, SECOND, rows(0, 10), monkeypatch)
    write(store, SECOND, rows(10))
    assert minutes(store, SECOND) == [(0, None), (10, 600)]


def test_readings_move_nowhere(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    older(store, SECOND, rows(0, 10), monkeypatch)
    write(store, SECOND, rows(10, seconds=0))
    assert minutes(store, SECOND) == [(10, 0)], "the upstream has withdrawn it"


def test_nothing_is_carried_from_a_day_of_today(store: ObjectStore) -> None:
    write(store, SECOND, rows(0, 10, seconds=0))
    write(store, SECOND, rows(10))
    assert minutes(store, SECOND) == [(10, 600)]
