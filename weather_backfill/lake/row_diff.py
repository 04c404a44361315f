"""Row differences between two versions of a day: rows inserted, changed and removed.

A row is identified by station, metric, time and the length of its interval (a sum of an hour and one of ten minutes
may bear one stamp); a row of schema 1, whose interval is not known, is the one of its time. It was *inserted* if only
the new version has it, *removed* if only the old one has it, and *changed* if its value or its source's quality level
differ (both missing is equal).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import ownership, parquet
from weather_backfill.model.errors import LostRowsError, NotFoundError, UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore

Rows = npt.NDArray[np.int64]

_KEY = ("station_id", "metric", "observed_at")
_NO_LEVEL = -(1 << 15)
KEPT_SHARE = 0.5
"""Share of a station's rows that a new version of a day must have. Upstreams remove single rows when they restate;
where a station or most of a day is missing, it was moved, has expired, or a server being refilled does not list it yet.
"""


@dataclass(frozen=True, slots=True)
class RowChanges:
    """Counts of the rows that differ between two versions.

    `expired` rows are in the old version only, because the upstream's window rolled on: they were not removed, and
    alone they are no difference (`bool` is False).
    """

    inserted: int = 0
    changed: int = 0
    removed: int = 0
    expired: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserted or self.changed or self.removed)

    def __add__(self, other: RowChanges) -> RowChanges:
        return RowChanges(
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.removed + other.removed,
            self.expired + other.expired,
        )


@dataclass(frozen=True, slots=True)
class Differences:
    """Row numbers: `inserted` and `changed` in the new table, `removed` in the old one."""

    inserted: Rows
    changed: Rows
    removed: Rows


def differences(old: pa.Table, new: pa.Table) -> Differences:
    """Find the rows that differ. Both tables have the columns of `schemas.RAW`, optionally `source_quality`."""
    old_keys, new_keys = _keys(old, new)
    order = None
    if not (np.diff(old_keys) > 0).all():  # rows of the lake are in order as a rule
        order = np.argsort(old_keys, kind="stable")
        old_keys = old_keys[order]
    position = np.minimum(np.searchsorted(old_keys, new_keys), max(len(old_keys) - 1, 0))
    in_old = old_keys[position] == new_keys if len(old_keys) else np.zeros(len(new_keys), dtype=bool)
    only_old = np.ones(len(old_keys), dtype=bool)
    only_old[position[in_old]] = False
    old_row = position if order is None else order[position] if len(order) else position
    common = np.flatnonzero(in_old)
    same = _same(_values(old)[old_row[common]], _values(new)[common])
    same &= _levels(old)[old_row[common]] == _levels(new)[common]
    removed = np.flatnonzero(only_old)
    return Differences(np.flatnonzero(~in_old), common[~same], removed if order is None else order[removed])


def count_changes(old: pa.Table, new: pa.Table) -> RowChanges:
    """Count the rows that differ, as `differences`."""
    rows = differences(old, new)
    return RowChanges(len(rows.inserted), len(rows.changed), len(rows.removed))


def previous_of(store: ObjectStore, object_key: str) -> bytes | None:
    """Read an object's current bytes; None if it does not exist."""
    try:
        return store.get(object_key)
    except NotFoundError:
        return None


def lost_rows(old: pa.Table, new: pa.Table, kept_share: float) -> dict[str, tuple[int, int]]:
    """Stations that keep less than `kept_share` of their rows: the numbers of rows in `old` and in `new`."""
    before, after = _rows_by_station(old), _rows_by_station(new)
    return {
        station: (rows, after.get(station, 0))
        for station, rows in sorted(before.items())
        if after.get(station, 0) < kept_share * rows
    }


def _rows_by_station(table: pa.Table) -> dict[str, int]:
    stations = parquet.unified(table.select(["station_id"]))["station_id"]
    counts = pc.value_counts(stations).to_pylist()
    return {str(entry["values"]): int(entry["counts"]) for entry in counts}


def _refuse_loss(old: pa.Table, new: pa.Table, kept_share: float) -> None:
    lost = lost_rows(old, new, kept_share)
    if lost:
        named = ", ".join(f"{station} ({after:,} of {before:,})" for station, (before, after) in list(lost.items())[:5])
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise LostRowsError(
            f"the upstream has fewer rows than the lake holds of station(s) {named}{more}: the lake keeps its rows. "
            "Reprocess the day when the upstream is whole, or, to replace the rows all the same, with --accept-loss "
            "(in Dagster: the tag weather/accept_loss with the value true)."
        )


def against_previous(
    previous: bytes | None, data: bytes, table: pa.Table, kept_share: float = 0.0, object_key: str = ""
) -> dict[str, Any]:
    """Compare `data`, the file of `table`, with the object it replaces; empty where there is none.

    Returns `previous_sha256`, and `rows_inserted`, `rows_changed` and `rows_removed`, or `previous_unreadable` where
    the previous object is damaged, or by its footer not of its place (`object_key`). Equal bytes are not decoded.
    Raises `LostRowsError` where a station of the previous object keeps less than `kept_share` of its rows.
    """
    if previous is None:
        return {}
    facts: dict[str, Any] = {"previous_sha256": hashlib.sha256(previous).hexdigest()}
    changes = RowChanges()
    if previous != data:
        try:
            old = ownership.decode(previous, object_key)
            _refuse_loss(old, table, kept_share)
            changes = count_changes(old, table)
        except MemoryError:  # Arrow's is an ArrowException too, and no reason to replace rows unchecked
            raise
        except (UnreadableObjectError, pa.ArrowException, KeyError) as error:
            return facts | {"previous_unreadable": str(error)[:200]}
    counts = {"inserted": changes.inserted, "changed": changes.changed, "removed": changes.removed}
    return facts | {f"rows_{name}": count for name, count in counts.items()}


def _keys(old: pa.Table, new: pa.Table) -> tuple[Rows, Rows]:
    """A number per row, equal for the same row in both tables, in the order of station, metric, time and interval."""
    series = np.zeros(old.num_rows + new.num_rows, dtype=np.int64)
    for name in _KEY[:2]:
        codes, size = _codes(old[name], new[name])
        series = series * size + codes
    times = np.concatenate([_times(old), _times(new)])
    first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
    times, span = times - first, last - first + 1
    lengths, kinds = _lengths(old, new)
    if kinds > 1:
        if span * kinds >= 1 << 62:  # stamps over millennia
            distinct, times = np.unique(times, return_inverse=True)
            span = len(distinct)
        times, span = times * kinds + lengths, span * kinds
    if (int(series.max(initial=0)) + 1) * span >= 1 << 63:
        distinct, times = np.unique(times, return_inverse=True)
        span = len(distinct)
    keys = series * span + times
    return keys[: old.num_rows], keys[old.num_rows :]


def _codes(old: pa.ChunkedArray, new: pa.ChunkedArray) -> tuple[Rows, int]:
    """Encode the names of both columns as their ranks among all names, sorted; and the number of names."""
    encoded = [_encoded(column) for column in (old, new)]
    names = sorted({name for column in encoded for name in column.dictionary.to_pylist()})
    rank_of = {name: rank for rank, name in enumerate(names)}
    parts = []
    for column in encoded:
        ranks = np.array([rank_of[name] for name in column.dictionary.to_pylist()], dtype=np.int64)
        indices = np.asarray(column.indices, dtype=np.int64)
        parts.append(ranks[indices] if len(indices) else indices)
    return np.concatenate(parts), max(len(names), 1)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = pa.table({"x": encoded}).unify_dictionaries()["x"].combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _lengths(old: pa.Table, new: pa.Table) -> tuple[Rows, int]:
    """Ranks of the rows' intervals, and their number; one kind where a table does not know them all (schema 1)."""
    tables = [table for table in (old, new) if table.num_rows]
    columns = [table["interval_seconds"] for table in tables if "interval_seconds" in table.schema.names]
    if len(columns) < len(tables) or any(column.null_count for column in columns):
        return np.zeros(old.num_rows + new.num_rows, dtype=np.int64), 1
    lengths = np.concatenate([np.empty(0, "i4"), *(np.asarray(column, dtype=np.int32) for column in columns)])
    distinct = pc.unique(pa.array(lengths)).sort().to_numpy()
    return np.searchsorted(distinct, lengths), max(len(distinct), 1)


def _times(table: pa.Table) -> Rows:
    return np.asarray(table["observed_at"].cast(pa.int64()), dtype=np.int64)


def _values(table: pa.Table) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(table["value"], np.nan), dtype=np.float64)


def _levels(table: pa.Table) -> npt.NDArray[np.int16]:
    if "source_quality" not in table.column_names:
        return np.full(table.num_rows, _NO_LEVEL, dtype=np.int16)
    levels = pc.fill_null(table["source_quality"].cast(pa.int16()), _NO_LEVEL)
    return np.asarray(levels, dtype=np.int16)


def _same(old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray((old == new) | (np.isnan(old) & np.isnan(new)))
