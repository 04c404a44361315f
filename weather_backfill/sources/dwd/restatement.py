"""What an upstream restatement changed: two versions of the same days, row by row.

A row is known by station, metric and time. It was *inserted* if only the new version has it, *removed* if
only the old has it, and *changed* if its value or quality level differ (both missing is equal).
Rows that left because the window of `recent` rolled on are none of these: DWD did not take them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

_KEY = ["station_id", "metric", "observed_at"]


@dataclass(frozen=True, slots=True)
class RowChanges:
    """How many rows two versions differ in."""

    inserted: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserted or self.changed or self.removed)

    def __add__(self, other: RowChanges) -> RowChanges:
        return RowChanges(self.inserted + other.inserted, self.changed + other.changed, self.removed + other.removed)


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
    joined = _side(old, "old").join(_side(new, "new"), _KEY, join_type="full outer", use_threads=False)
    in_old, in_new = (pc.fill_null(joined[f"in_{s}"], False) for s in ("old", "new"))
    expired = pc.and_(pc.invert(in_new), _before_window(joined, held_from or _first_rows(new)))
    differs = pc.or_(
        pc.invert(_same(joined["value_old"], joined["value_new"])),
        pc.invert(_same(joined["level_old"], joined["level_new"])),
    )
    day = joined["observed_at"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    counted = pa.table(
        {
            "day": day,
            "inserted": pc.invert(in_old).cast(pa.int64()),
            "changed": pc.and_(pc.and_(in_old, in_new), differs).cast(pa.int64()),
            "removed": pc.and_(pc.invert(in_new), pc.invert(expired)).cast(pa.int64()),
        }
    )
    sums = counted.group_by("day").aggregate([(c, "sum") for c in ("inserted", "changed", "removed")])
    found = {
        row["day"]: RowChanges(row["inserted_sum"], row["changed_sum"], row["removed_sum"])
        for row in sums.sort_by("day").to_pylist()
    }
    return {day: changes for day, changes in found.items() if changes}


def _side(table: pa.Table, side: str) -> pa.Table:
    levels = table["source_quality"] if "source_quality" in table.column_names else pa.nulls(table.num_rows, pa.int8())
    return pa.table(
        {
            "station_id": table["station_id"].cast(pa.string()),
            "metric": table["metric"].cast(pa.string()),
            "observed_at": table["observed_at"],
            f"value_{side}": table["value"],
            f"level_{side}": levels,
            f"in_{side}": pa.repeat(True, table.num_rows),
        }
    )


def _same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    both_missing = pc.and_(pc.is_null(one), pc.is_null(other))
    return pc.or_(both_missing, pc.fill_null(pc.equal(one, other), False))


def _first_rows(table: pa.Table) -> dict[str, datetime]:
    keyed = pa.table({"s": table["station_id"].cast(pa.string()), "t": table["observed_at"]})
    firsts = keyed.group_by("s").aggregate([("t", "min")]).to_pylist()
    return {row["s"]: row["t_min"] for row in firsts}


def _before_window(joined: pa.Table, held_from: Mapping[str, datetime]) -> pa.ChunkedArray:
    stations = pa.array(list(held_from), pa.string())
    starts = pa.array(list(held_from.values()), joined["observed_at"].type)
    if len(stations) == 0:
        return pa.chunked_array([pa.repeat(False, joined.num_rows)])
    start = starts.take(pc.index_in(joined["station_id"].combine_chunks(), stations))
    return pc.fill_null(pc.less(joined["observed_at"], start), False)
