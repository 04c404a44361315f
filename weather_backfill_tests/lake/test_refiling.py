"""Rows move to the day of the middle of their intervals; what a day has already is not added again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from weather_backfill.lake import parquet, refiling
from weather_backfill.model.schemas import RAW

DAY = date(2021, 3, 2)
MIDNIGHT = datetime(2021, 3, 2, tzinfo=UTC)


def rows(*given: tuple[float, str, str, float, int | None, int | None]) -> pa.Table:
    """Rows by minutes after `MIDNIGHT`, station, metric, value, seconds and offset of the end."""
    return pa.Table.from_pylist(
        [
            {
                "observed_at": MIDNIGHT + timedelta(minutes=minutes), "station_id": station, "metric": metric,
                "value": value, "quality": 1, "interval_seconds": seconds, "interval_end_offset_seconds": offset,
            }
            for minutes, station, metric, value, seconds, offset in given
        ],
        schema=RAW,
    )  # fmt: skip


def test_a_row_belongs_to_the_day_of_the_middle_of_its_interval() -> None:
    table = rows(
        (0, "a", "rain", 1, 600, 0),  # 23:50 to 24:00 of the day before
        (0, "a", "temperature", 2, 0, 0),  # a reading at midnight
        (5, "a", "temperature", 3, 0, -600),  # a reading at 23:55
        (30, "a", "wind", 4, 3600, 0),  # its middle is midnight
        (29, "a", "wind", 5, 3600, 0),
        (1439, "a", "rain", 6, 600, 600),  # its time is the start
        (0, "a", "unknown", 7, None, None),  # by its stamp
    )
    filed = refiling.filed(table, DAY)
    assert [part["value"].to_pylist() for part in filed] == [[1, 3, 5], [2, 4, 7], [6]]


def test_only_what_is_lacking_is_added_and_in_order() -> None:
    held = rows((10, "a", "rain", 1, 600, 0), (20, "a", "rain", 2, 600, 0), (10, "b", "rain", 3, 600, 0))
    more = rows((1440, "a", "rain", 4, 600, 0), (20, "a", "rain", 9, 600, 0), (20, "a", "rain", 5, 3600, 0))
    whole = refiling.added(held, more)
    assert whole["value"].to_pylist() == [1, 2, 5, 4, 3], "the held value stays, an hour's sum is another row"
    assert refiling.added(whole, more) is whole


def test_names_are_ordered_whatever_their_codes_are() -> None:
    """Tables of different dictionaries, whose codes are in no order."""
    first = rows((10, "z", "b", 1, 0, 0), (10, "z", "a", 2, 0, 0))
    second = rows((10, "y", "c", 3, 0, 0), (10, "z", "aa", 4, 0, 0))
    whole = refiling.added(parquet.in_order(first), second)
    assert whole.select(["station_id", "metric"]).to_pylist() == [
        {"station_id": s, "metric": m} for s, m in (("y", "c"), ("z", "a"), ("z", "aa"), ("z", "b"))
    ]


def test_intervals_are_filled_where_they_are_unknown() -> None:
    table = rows((0, "a", "rain", 1, None, None), (0, "a", "wind", 2, 60, -60))
    filled = refiling.with_intervals(table, lambda rows: (np.array([600, 700]), 0))
    assert filled["interval_seconds"].to_pylist() == [600, 60]
    assert filled["interval_end_offset_seconds"].to_pylist() == [0, -60]
    old = table.drop_columns(["interval_seconds", "interval_end_offset_seconds"])
    filled = refiling.with_intervals(old, lambda rows: (np.array([600, 700]), 0))
    assert filled.schema.equals(RAW)
    assert filled["interval_seconds"].to_pylist() == [600, 700]


def test_rejects_say_the_row() -> None:
    [reject] = refiling.as_rejects(rows((0, "a", "rain", 0.25, 600, 0)), "before_first_day", "file").to_pylist()
    assert reject == {
        "reason": "before_first_day", "source_object": "file", "station_id": "a",
        "observed_at": MIDNIGHT, "raw_text": "a;rain;0.25", "raw_bytes": 11, "stands_for": 1,
    }  # fmt: skip
    assert np.all(refiling.as_rejects(rows((0, "a", "rain", float("nan"), 600, 0)), "x", "f")["reason"].to_numpy())
