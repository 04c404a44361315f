"""What of the days that the lake holds an upstream has restated: which days differ from it, and in how many rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake.row_diff import RowChanges, differences
from weather_backfill.model import intervals

HeldFiles = Mapping[date, Mapping[str, str]]
"""By held day the upstream's files that its rows came from, with the first digits of digests: of the files, or, where a
service says so, of what they hold of the day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Restated:
    """The days that differ, what was looked at, and why a station could not be compared."""

    days: dict[date, RowChanges] = field(default_factory=dict)
    files: int = 0
    changed_files: dict[str, str] = field(default_factory=dict)
    days_compared: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def note(self, day: date, old: pa.Table, new: pa.Table, stations: set[str], first_times: Mapping[str, int]) -> None:
        """Compare a day's rows of some stations; `first_times` says where each station's upstream begins."""
        self.days_compared += 1
        known = {s: _EPOCH + timedelta(microseconds=first_times[s]) for s in stations if s in first_times}
        changes = changed_days(_of(old, set(known)), _of(new, set(known)), known).get(day)
        if changes:
            self.days[day] = changes


def _of(table: pa.Table, stations: set[str]) -> pa.Table:
    wanted = pc.is_in(table["station_id"].cast(pa.string()), value_set=pa.array(sorted(stations), pa.string()))
    return table.filter(wanted)


def changed_days(old: pa.Table, new: pa.Table, held_from: Mapping[str, datetime]) -> dict[date, RowChanges]:
    """The UTC days whose rows differ, in order, with their counts; days without a difference are absent.

    Both tables have the columns of `schemas.RAW`, optionally `source_quality`. `held_from` gives per station the
    first instant (UTC) the upstream still holds: older rows expired. Those of a station without one were removed.
    """
    found = differences(old, new)
    gone = old.take(pa.array(found.removed)).select(["station_id", "observed_at"])
    expired = _before_window(gone, held_from)
    old_days, new_days = intervals.days(old)[found.removed], intervals.days(new)
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


def _date(day: int) -> date:
    return np.datetime64(day, "D").astype(date)


def _before_window(rows: pa.Table, held_from: Mapping[str, datetime]) -> np.ndarray:
    """Which rows are older than their station's window; none of a station without one."""
    stations = rows["station_id"].cast(pa.string()).to_pylist()
    starts = [held_from.get(station) for station in stations]
    times = rows["observed_at"].to_pylist()
    return np.array([s is not None and t < s for s, t in zip(starts, times, strict=True)], dtype=bool)
