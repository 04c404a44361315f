"""Two versions of the same rows: what was inserted, changed and removed.

A row is known by station, metric and time. It was *inserted* if only the new version has it, *removed* if only
the old one has it, and *changed* if its value or its source's quality level differ (both missing is equal).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.model.errors import LostRowsError, NotFoundError, UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore

Rows = npt.NDArray[np.int64]

_KEY = ("station_id", "metric", "observed_at")
_NO_LEVEL = -(1 << 15)
KEPT_SHARE = 0.5
"""Share of a station's rows that a new version of a day must have. Upstreams take single rows back when they restate;
a station or most of a day that is gone was moved, expired, or not listed by a server that is being refilled."""


@dataclass(frozen=True, slots=True)
class RowChanges:
    """How many rows two versions differ in.

    `expired` rows are in the old version only, because the upstream's window rolled on: nobody took them back,
    so they make no difference by themselves.
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
    """Which rows differ. Both tables have the columns of `schemas.RAW`, optionally `source_quality`."""
    old_keys, new_keys = _keys(old, new)
    order = None
    if not (np.diff(old_keys) > 0).all():  # rows of the lake are in order as a rule
        order = np.argsort(old_keys, kind="stable")
        old_keys = old_keys[order]
    at = np.minimum(np.searchsorted(old_keys, new_keys), max(len(old_keys) - 1, 0))
    known = old_keys[at] == new_keys if len(old_keys) else np.zeros(len(new_keys), dtype=bool)
    gone = np.ones(len(old_keys), dtype=bool)
    gone[at[known]] = False
    source = at if order is None else order[at] if len(order) else at
    common = np.flatnonzero(known)
    same = _same(_values(old)[source[common]], _values(new)[common])
    same &= _levels(old)[source[common]] == _levels(new)[common]
    removed = np.flatnonzero(gone)
    return Differences(np.flatnonzero(~known), common[~same], removed if order is None else order[removed])


def count_changes(old: pa.Table, new: pa.Table) -> RowChanges:
    """How many rows differ."""
    found = differences(old, new)
    return RowChanges(len(found.inserted), len(found.changed), len(found.removed))


def previous_of(store: ObjectStore, object_key: str) -> bytes | None:
    """What an object holds now; None if there is none."""
    try:
        return store.get(object_key)
    except NotFoundError:
        return None


def lost_rows(old: pa.Table, new: pa.Table, kept_share: float) -> dict[str, tuple[int, int]]:
    """Stations of which `new` has less than `kept_share` of the rows of `old`: how many rows there were and are."""
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
            f"the upstream has fewer rows than the lake holds of station(s) {named}{more}: the lake keeps what it has. "
            "Take the day again when the upstream is whole, or, if the rows are to go, with --accept-loss "
            "(in Dagster: the tag weather/accept_loss with the value true)."
        )


def against_previous(previous: bytes | None, data: bytes, table: pa.Table, kept_share: float = 0.0) -> dict[str, Any]:
    """What writing `data`, the file of `table`, changes in an object; empty where nothing is replaced.

    Equal bytes are not looked into. A previous object that cannot be read any more is named and not counted. Raises
    `LostRowsError` where a station of the previous object keeps less than `kept_share` of its rows.
    """
    if previous is None:
        return {}
    facts: dict[str, Any] = {"previous_sha256": hashlib.sha256(previous).hexdigest()}
    changes = RowChanges()
    if previous != data:
        try:
            old = parquet.decode(previous)
            _refuse_loss(old, table, kept_share)
            changes = count_changes(old, table)
        except MemoryError:  # Arrow's is an ArrowException too, and no reason to let rows go
            raise
        except (UnreadableObjectError, pa.ArrowException, KeyError) as error:
            return facts | {"previous_unreadable": str(error)[:200]}
    counts = {"inserted": changes.inserted, "changed": changes.changed, "removed": changes.removed}
    return facts | {f"rows_{name}": count for name, count in counts.items()}


def _keys(old: pa.Table, new: pa.Table) -> tuple[Rows, Rows]:
    """One number a row, alike in both tables, rising where rows are sorted by station, metric and time."""
    series = np.zeros(old.num_rows + new.num_rows, dtype=np.int64)
    for name in _KEY[:2]:
        codes, size = _codes(old[name], new[name])
        series = series * size + codes
    times = np.concatenate([_times(old), _times(new)])
    first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
    times, span = times - first, last - first + 1
    if (int(series.max(initial=0)) + 1) * span >= 1 << 63:
        distinct, times = np.unique(times, return_inverse=True)
        span = len(distinct)
    keys = series * span + times
    return keys[: old.num_rows], keys[old.num_rows :]


def _codes(old: pa.ChunkedArray, new: pa.ChunkedArray) -> tuple[Rows, int]:
    """Names as their places among all names of both columns, sorted."""
    one, other = (_encoded(column) for column in (old, new))
    names = sorted({*one.dictionary.to_pylist(), *other.dictionary.to_pylist()})
    place = {name: number for number, name in enumerate(names)}
    parts = []
    for column in (one, other):
        places = np.array([place[name] for name in column.dictionary.to_pylist()], dtype=np.int64)
        indices = np.asarray(column.indices, dtype=np.int64)
        parts.append(places[indices] if len(indices) else indices)
    return np.concatenate(parts), max(len(names), 1)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = pa.table({"x": encoded}).unify_dictionaries()["x"].combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _times(table: pa.Table) -> Rows:
    return np.asarray(table["observed_at"].cast(pa.int64()), dtype=np.int64)


def _values(table: pa.Table) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(table["value"], np.nan), dtype=np.float64)


def _levels(table: pa.Table) -> npt.NDArray[np.int16]:
    if "source_quality" not in table.column_names:
        return np.full(table.num_rows, _NO_LEVEL, dtype=np.int16)
    levels = pc.fill_null(table["source_quality"].cast(pa.int16()), _NO_LEVEL)
    return np.asarray(levels, dtype=np.int16)


def _same(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))
