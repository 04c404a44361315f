"""What a raw row stands for, against plain arithmetic with datetimes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from weather_backfill.model import intervals
from weather_backfill.model.schemas import RAW

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)


def table(*rows: tuple[datetime, int | None, int | None]) -> pa.Table:
    """Rows of (stamp, seconds, offset of the end)."""
    made = [
        {
            "observed_at": stamp, "station_id": "s", "metric": "m", "value": 1.0, "quality": 1,
            "interval_seconds": seconds, "interval_end_offset_seconds": offset,
        }
        for stamp, seconds, offset in rows
    ]  # fmt: skip
    return pa.Table.from_pylist(made, RAW)


@pytest.mark.parametrize(
    ("stamp", "seconds", "offset", "day"),
    [
        (MIDNIGHT, 600, 0, date(2024, 2, 29)),  # ten minutes up to midnight
        (MIDNIGHT, 0, 0, date(2024, 3, 1)),  # a reading at midnight
        (MIDNIGHT, 0, -600, date(2024, 2, 29)),  # hourly temperature: a reading at 23:50
        (MIDNIGHT, 3600, -600, date(2024, 2, 29)),  # hourly rain: 22:50 to 23:50
        (MIDNIGHT + timedelta(hours=1), 3600, -600, date(2024, 3, 1)),  # 23:50 to 0:50: the middle is 0:20
        (MIDNIGHT + timedelta(seconds=30), 60, 0, date(2024, 3, 1)),  # the middle is midnight itself
        (MIDNIGHT + timedelta(seconds=29), 60, 0, date(2024, 2, 29)),
        (MIDNIGHT + timedelta(microseconds=499_999), 1, 0, date(2024, 2, 29)),  # half seconds count
        (MIDNIGHT - timedelta(minutes=1), 120, 120, date(2024, 3, 1)),  # stamped at its start
        (MIDNIGHT, None, None, date(2024, 3, 1)),  # of an older file: by its stamp
    ],
)
def test_a_row_lies_in_the_day_of_the_middle(
    stamp: datetime, seconds: int | None, offset: int | None, day: date
) -> None:
    rows = table((NOON, 60, 0), (stamp, seconds, offset))
    assert np.array(intervals.days(rows), "datetime64[D]").astype(date).tolist() == [NOON.date(), day]


def test_start_and_end_are_computed() -> None:
    rows = intervals.with_bounds(table((NOON, 600, -300), (NOON, None, 0), (NOON, 0, 0)))
    assert rows["interval_start"].to_pylist() == [NOON - timedelta(minutes=15), None, NOON]
    assert rows["interval_end"].to_pylist() == [NOON - timedelta(minutes=5), None, NOON]
    assert rows.schema.names[-2:] == intervals.COMPUTED.names


def test_a_file_without_intervals_has_its_stamps() -> None:
    older = table((NOON, 600, 0)).drop_columns(list(intervals.INTERVAL))
    stamp = int(NOON.timestamp() * 1_000_000)
    assert intervals.middles(older).tolist() == [stamp]
    assert [part.tolist() for part in intervals.bounds(older)] == [[stamp], [stamp]]
