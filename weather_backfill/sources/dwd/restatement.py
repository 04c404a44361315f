"""What an upstream restatement changed: two versions of the same days, row by row (`lake/versions.py`).

Rows that left because the window of `recent` rolled on were not removed: DWD did not take them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from weather_backfill.lake.versions import RowChanges, differences
from weather_backfill.sources.dwd.stamps import DAY


def compare(old: pa.Table, new: pa.Table, held_from: Mapping[str, datetime] | None = None) -> RowChanges:
    """Count the differences. Both tables have the columns of `schemas.RAW`, optionally `source_quality`.

    `held_from` gives per station the first instant (UTC) the upstream still holds: older rows expired.
    """
    return sum(changed_days(old, new, held_from).values(), RowChanges())


def changed_days(
    old: pa.Table, new: pa.Table, held_from: Mapping[str, datetime] | None = None
) -> dict[date, RowChanges]:
    """The UTC days whose rows differ, in order, with their counts; days without a difference are absent.

    Without `held_from`, a station's window is taken to begin with its first row in the new version; a
    station that is not in the new version at all counts as removed. Give it when the tables hold less
    than the whole window, or a row removed at the head of the tables would pass for an expired one.
    """
    found = differences(old, new)
    gone = old.take(pa.array(found.removed)).select(["station_id", "observed_at"])
    expired = _before_window(gone, _first_rows(new) if held_from is None else held_from)
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


def _first_rows(table: pa.Table) -> dict[str, datetime]:
    keyed = pa.table({"s": table["station_id"].cast(pa.string()), "t": table["observed_at"]})
    firsts = keyed.group_by("s").aggregate([("t", "min")]).to_pylist()
    return {row["s"]: row["t_min"] for row in firsts}


def _before_window(rows: pa.Table, held_from: Mapping[str, datetime]) -> np.ndarray:
    """Which rows are older than their station's window; none of a station without one."""
    stations = rows["station_id"].cast(pa.string()).to_pylist()
    starts = [held_from.get(station) for station in stations]
    times = rows["observed_at"].to_pylist()
    return np.array([s is not None and t < s for s, t in zip(starts, times, strict=True)], dtype=bool)
