"""What an upstream restatement changed: two versions of the same days, row by row (`lake/row_diff.py`).

Rows that left because the window of `recent` rolled on were not removed: DWD did not take them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from weather_backfill.lake.row_diff import RowChanges, differences
from weather_backfill.sources.dwd.timestamps import DAY


def changed_days(old: pa.Table, new: pa.Table, held_from: Mapping[str, datetime]) -> dict[date, RowChanges]:
    """The UTC days whose rows differ, in order, with their counts; days without a difference are absent.

    Both tables have the columns of `schemas.RAW`, optionally `source_quality`. `held_from` gives per station the
    first instant (UTC) the upstream still holds: older rows expired. Those of a station without one were removed.
    """
    found = differences(old, new)
    gone = old.take(pa.array(found.removed)).select(["station_id", "observed_at"])
    expired = _before_window(gone, held_from)
    old_days, new_days = _days(old)[found.removed], _days(new)
    counted = {
        "inserted": new_days[found.inserted],
        "changed": new_days[found.changed],
        "removed": old_days[~expired],
        "expired": old_days[expired],
    }
    counts: dict[int, dict[str, int]] = {}
    for kind, days in counted.items():
        for day, count in zip(*np.unique(days, return_counts=True), strict=True):
            counts.setdefault(int(day), {})[kind] = int(count)
    changes = {_date(day): RowChanges(**counts[day]) for day in sorted(counts)}
    return {day: changed for day, changed in changes.items() if changed}


def _days(table: pa.Table) -> np.ndarray:
    return np.asarray(table["observed_at"].cast(pa.int64()), dtype=np.int64) // DAY


def _date(day: int) -> date:
    return np.datetime64(day, "D").astype(date)


def _before_window(rows: pa.Table, held_from: Mapping[str, datetime]) -> np.ndarray:
    """Which rows are older than their station's window; none of a station without one."""
    stations = rows["station_id"].cast(pa.string()).to_pylist()
    starts = [held_from.get(station) for station in stations]
    times = rows["observed_at"].to_pylist()
    return np.array([s is not None and t < s for s, t in zip(starts, times, strict=True)], dtype=bool)
