"""Aggregation of sorted rows by window: sums, extremes and counts in one pass of numpy over runs of rows.

Rows of the lake are sorted by series and time, so the rows of a window follow each other: a window is a run, and
`reduceat` aggregates runs at a third of the cost of a database's hash table. It adds in the order of the rows on one
thread: the same rows give the same bits, whatever other series stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from weather_backfill.model.intervals import SECOND_US
from weather_backfill.model.schemas import FAIL
from weather_backfill.refine.parts import (
    ELSEWHERE,
    GOES_ON,
    MINOR,
    Parts,
    Rows,
    Samples,
    Span,
    series_and_window,
    split,
)
from weather_backfill.refine.rules import WINDOW_SECONDS, WINDOW_US

_BLOCK_ROWS = 80_000


def aggregate(samples: Samples, slot_us: np.ndarray, day: Span | None) -> pa.Table:
    """Aggregate rows into one row per series and window that has any.

    `slot_us` holds the microseconds between two grid slots by series. A row of at most 900 s counts in the windows that
    its interval overlaps, a longer one in a window of its own. Columns: `series`, `start_us`, `window_seconds`,
    `flags`, and of the good values (neither failed nor missing) `good` (how many have their midpoint in the window),
    `parts` (how many lie in it in part or whole), `slots` (grid slots that hold a reading), `covered_us` (time that
    intervals cover), `minimum`, `maximum` (of those of which half or more lies in it), `total` (by share), `mean` and
    `deviation` (weighted by overlap), `first_value`, `last_value` (of those that end in it). Failed and missing values
    only count in `flags`, a bit per flag that occurs: 2 pass, 4 not evaluated, 8 suspect, 16 fail, 512 missing.
    Statistics are null where there is no value for them, `deviation` (of a sample) where there are fewer than two.
    """
    if (samples.series[1:] < samples.series[:-1]).any():
        samples = samples.take(np.argsort(samples.series, kind="stable"))
    tables: list[pa.Table] = []
    for block in _blocks(samples.series):
        rows = samples.rows(block).ordered()
        long = rows.length > WINDOW_US
        if long.any():
            tables += _long(rows[long], slot_us)
            rows = rows[~long]
        if len(rows):
            tables += _short(rows, slot_us, day)
    return pa.concat_tables(tables)


def _short(rows: Rows, slot_us: np.ndarray, day: Span | None) -> Iterator[pa.Table]:
    """The windows of rows of at most their length."""

    def columns(keys: np.ndarray) -> _Columns:
        series, window = series_and_window(keys)
        seconds = np.full(len(keys), WINDOW_SECONDS, "i4")
        return {"series": series, "start_us": window * WINDOW_US, "window_seconds": seconds}

    return _windows(rows, lambda some: split(some, slot_us, day), columns, slot_us)


def _long(rows: Rows, slot_us: np.ndarray) -> Iterator[pa.Table]:
    """A window for each interval longer than a window; rows of one interval share theirs."""
    start = rows.end - rows.length
    order = np.lexsort((rows.length, start, rows.series))
    rows, start = rows[order], start[order]
    starts = _starts(rows.series, start, rows.length)
    key = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))
    series, start, seconds = rows.series[starts], start[starts], (rows.length[starts] // SECOND_US).astype("i4")

    def columns(keys: np.ndarray) -> _Columns:
        return {"series": series[keys], "start_us": start[keys], "window_seconds": seconds[keys]}

    by_key = replace(rows, series=key)
    return _windows(by_key, _wholes, columns, slot_us)


def _wholes(rows: Rows) -> Parts:
    """Each row as one part of its own window, whose number is its series: of rows of one interval one covers it."""
    cover = np.zeros(len(rows), "i8")
    first = _starts(rows.series)
    cover[first] = rows.length[first]
    return Parts(rows.series, cover=cover)


def _windows(
    rows: Rows, parts_of: Callable[[Rows], Parts], columns: Callable[[np.ndarray], _Columns], slot_us: np.ndarray
) -> Iterator[pa.Table]:
    """The windows that hold good values, and those of failed and missing ones alone, without statistics."""
    bad = (rows.quality == FAIL) | np.isnan(rows.value)
    lost, lost_flags = np.empty(0, "i8"), np.empty(0, "i2")
    if bad.any():
        rows, others = rows[np.flatnonzero(~bad)], rows[np.flatnonzero(bad)]
        parts = parts_of(others)
        starts = _starts(parts.key)
        lost, lost_flags = parts.key[starts], _flags(others, parts, starts)
    if len(rows):
        parts = parts_of(rows)
        starts = _starts(parts.key)
        keys, flags = parts.key[starts], _flags(rows, parts, starts)
        if len(lost):
            at = np.minimum(np.searchsorted(keys, lost), len(keys) - 1)
            found = keys[at] == lost
            flags[at[found]] |= lost_flags[found]
            lost, lost_flags = lost[~found], lost_flags[~found]
        yield _table(columns(keys) | {"flags": flags} | _statistics(rows, parts, starts, slot_us))
    if len(lost):
        counts = {name: np.zeros(len(lost), "i8") for name in _COUNTS}
        nothing = {name: pa.nulls(len(lost), pa.float64()) for name in _FLOATS}
        yield _table(columns(lost) | {"flags": lost_flags} | counts | nothing)


def _flags(rows: Rows, parts: Parts, starts: np.ndarray) -> np.ndarray:
    """A bit for each flag of a window's parts."""
    if rows.quality.min() == rows.quality.max():
        return np.full(len(starts), 1 << int(rows.quality[0]), "i2")
    flags: np.ndarray = np.bitwise_or.reduceat(np.left_shift(1, parts.of(rows.quality), dtype="i2"), starts)
    return flags


def _table(columns: _Columns) -> pa.Table:
    return pa.table({name: pa.array(columns[name]) for name in _ORDER})


def _blocks(series: np.ndarray) -> Iterator[slice]:
    """Slices of whole series with about `_BLOCK_ROWS` rows each: their columns fit the processor's cache."""
    edges = np.append(_starts(series), len(series))
    first = 0
    while first < len(edges) - 1:
        last = max(int(np.searchsorted(edges, edges[first] + _BLOCK_ROWS, side="right")) - 1, first + 1)
        yield slice(int(edges[first]), int(edges[last]))
        first = last


def _starts(*columns: np.ndarray) -> np.ndarray:
    """The numbers of the first rows of the runs in which no column changes."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def _statistics(rows: Rows, parts: Parts, starts: np.ndarray, slot_us: np.ndarray) -> _Columns:
    """The statistics of good rows by window, of which the parts begin at `starts`."""
    value = parts.of(rows.value)
    windows, count = len(starts), np.diff(starts, append=len(value))
    run = np.repeat(np.arange(windows, dtype="i4"), count)
    marks = _Marks(parts.marks, run, windows)
    ended, major = count - marks.count(GOES_ON), count - marks.count(MINOR)
    minimum, maximum = _extremes(value, starts, marks.where(MINOR))
    weights, total, mean, deviation = _moments(value, parts, starts, run, count)
    covered = np.rint(weights * parts.length) if parts.cover is None else np.add.reduceat(parts.cover, starts)
    return {
        "good": count - marks.count(ELSEWHERE),
        "parts": count,
        "slots": _slots(run, rows, parts, slot_us, windows),
        "covered_us": covered.astype("i8"),
        "minimum": pa.array(minimum, mask=major == 0),
        "maximum": pa.array(maximum, mask=major == 0),
        "total": total,
        "mean": mean,
        # In order of their ends, those that go on come last.
        "first_value": pa.array(value[starts], mask=ended == 0),
        "last_value": pa.array(value[starts + np.maximum(ended, 1) - 1], mask=ended == 0),
        "deviation": pa.array(deviation, mask=count < 2),
    }


def _moments(
    value: np.ndarray, parts: Parts, starts: np.ndarray, run: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The weights, the sum by share, the mean and the deviation of each run: of equal weights that of a sample."""
    weight = parts.weight
    total = np.add.reduceat(value if parts.share is None else value * parts.share, starts)
    weights = count if weight is None else np.add.reduceat(weight, starts)
    mean = (total if weight is parts.share else np.add.reduceat(value * weight, starts)) / weights
    residual = mean[run]
    np.subtract(value, residual, out=residual)
    np.square(residual, out=residual)
    if weight is not None:
        residual *= weight
    with np.errstate(divide="ignore", invalid="ignore"):
        return weights, total, mean, np.sqrt(np.add.reduceat(residual, starts) / (weights - weights / count))


def _extremes(value: np.ndarray, starts: np.ndarray, minor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The minimum and maximum of each run, leaving out the `minor` parts."""
    if not len(minor):
        return np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
    value = value.copy()
    value[minor] = np.inf
    minimum = np.minimum.reduceat(value, starts)
    value[minor] = -np.inf
    return minimum, np.maximum.reduceat(value, starts)


class _Marks:
    """The marked parts, a few of all."""

    def __init__(self, marks: np.ndarray | None, run: np.ndarray, windows: int) -> None:
        self._rows = np.empty(0, "i8") if marks is None else np.flatnonzero(marks)
        self._marks = np.empty(0, "i1") if marks is None else marks[self._rows]
        self._run, self._windows = run[self._rows], windows

    def where(self, mark: int) -> np.ndarray:
        """The numbers of the parts with a mark."""
        return self._rows[(self._marks & mark) > 0]

    def count(self, mark: int) -> np.ndarray:
        """Count the parts with a mark by window."""
        return np.bincount(self._run[(self._marks & mark) > 0], minlength=self._windows)


def _slots(run: np.ndarray, rows: Rows, parts: Parts, slot_us: np.ndarray, windows: int) -> np.ndarray:
    """Count the grid slots that hold a reading by window; slots are counted from 1970."""
    if rows.length.min():
        return np.zeros(windows, "i8")
    series, end = parts.of(rows.series), parts.of(rows.end)
    if rows.length.any():
        readings = parts.of(rows.length == 0)
        run, series, end = run[readings], series[readings], end[readings]
    # Dividing by a scalar is several times faster than by a column.
    slots = end // (slot_us[0] if slot_us.min() == slot_us.max() else slot_us[series])
    return np.bincount(run[_starts(run, slots)], minlength=windows)


_Columns = dict[str, np.ndarray | pa.Array]
_COUNTS: Sequence[str] = ("good", "parts", "slots", "covered_us")
_FLOATS: Sequence[str] = ("minimum", "maximum", "total", "mean", "first_value", "last_value", "deviation")
_ORDER = ("series", "start_us", "window_seconds", "flags", *_COUNTS, *_FLOATS)
