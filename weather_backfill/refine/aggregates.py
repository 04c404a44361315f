"""Aggregation of sorted rows by window: sums, extremes and counts in one pass of numpy over runs of rows.

Rows of the lake are sorted by series and time, so the rows of a window follow each other: a window is a run, and
`reduceat` aggregates runs at a third of the cost of a database's hash table. It adds in the order of the rows on one
thread: the same rows give the same bits, whatever other series stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from weather_backfill.model.schemas import FAIL
from weather_backfill.refine.parts import ELSEWHERE, GOES_ON, MINOR, Parts, Rows, Samples, Span, split
from weather_backfill.refine.rules import WINDOW_SECONDS, WINDOW_US

_BLOCK_ROWS = 150_000


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
        order = np.argsort(samples.series, kind="stable")
        samples = Samples(*(None if column is None else column[order] for column in samples))
    tables = []
    for block in _blocks(samples.series):
        rows = samples.rows(block).ordered()
        long = rows.length > WINDOW_US
        if long.any():
            tables.append(_long(rows[long]))
            rows = rows[~long]
        if len(rows):
            tables.append(_short(rows, slot_us, day))
    return pa.concat_tables(tables)


def _short(rows: Rows, slot_us: np.ndarray, day: Span | None) -> pa.Table:
    """The windows of rows of at most their length."""
    good = (rows.quality != FAIL) & ~np.isnan(rows.value)
    parts = split(rows, good, slot_us, day)
    series = parts.of(rows.series)
    starts = _starts(series, parts.window)
    columns = _keys(series, parts.of(rows.quality), starts) | {
        "start_us": pa.array(parts.window[starts].astype("i8") * WINDOW_US),
        "window_seconds": pa.array(np.full(len(starts), WINDOW_SECONDS, "i4")),
    }
    return _table(columns | _statistics(rows, parts, good, starts, slot_us))


def _long(rows: Rows) -> pa.Table:
    """A window for each interval longer than a window; rows of one interval share theirs."""
    start = rows.end - rows.length
    order = np.lexsort((rows.length, start, rows.series))
    rows, start = rows[order], start[order]
    starts = _starts(rows.series, start, rows.length)
    columns = _keys(rows.series, rows.quality, starts) | {
        "start_us": pa.array(start[starts]),
        "window_seconds": pa.array((rows.length[starts] // 1_000_000).astype("i4")),
    }
    good = (rows.quality != FAIL) & ~np.isnan(rows.value)
    return _table(columns | _statistics(rows, Parts(starts, cover=rows.length), good, starts, np.ones(1)))


def _keys(series: np.ndarray, quality: np.ndarray, starts: np.ndarray) -> dict[str, pa.Array]:
    flags = np.bitwise_or.reduceat(np.left_shift(1, quality, dtype="i2"), starts)
    return {"series": pa.array(series[starts]), "flags": pa.array(flags)}


def _table(columns: dict[str, pa.Array]) -> pa.Table:
    return pa.table({name: columns[name] for name in _COLUMNS})


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


def _statistics(
    rows: Rows, parts: Parts, good: np.ndarray, starts: np.ndarray, slot_us: np.ndarray
) -> dict[str, pa.Array]:
    """The statistics of the good rows by window, of which the parts begin at `starts`; nulls where there are none."""
    windows, number = len(starts), len(rows) if parts.row is None else len(parts.row)
    run = np.repeat(np.arange(windows, dtype="i4"), np.diff(starts, append=number))
    if not good.all():
        chosen = np.flatnonzero(parts.of(good))
        run, parts = run[chosen], parts[chosen]
    if not len(run):
        nulls = {name: pa.nulls(windows, pa.float64()) for name in _FLOATS}
        return nulls | {name: pa.array(np.zeros(windows, "i8")) for name in _COUNTS}
    starts = _starts(run)
    present = run[starts]

    def spread(statistic: np.ndarray, there: np.ndarray | None = None) -> pa.Array:
        """Put a statistic of the windows with good values into an array of all, null where none is `there`."""
        full = np.zeros(windows, dtype=statistic.dtype)
        full[present] = statistic
        if statistic.dtype.kind == "i":
            return pa.array(full)
        empty = np.ones(windows, dtype=bool)
        empty[present] = False if there is None else ~there
        return pa.array(full, mask=empty)

    value, count = parts.of(rows.value), np.diff(starts, append=len(run))
    marks = _Marks(parts.marks, run, windows)
    ended = count - marks.count(GOES_ON)[present]
    minimum, maximum = _extremes(value, starts, marks.where(MINOR))
    major = count - marks.count(MINOR)[present]
    total, mean, deviation = _moments(value, parts, starts, count)
    return {
        "good": spread(count - marks.count(ELSEWHERE)[present]),
        "parts": spread(count),
        "slots": spread(_slots(run, rows, parts, slot_us, windows)[present]),
        "covered_us": spread(np.zeros(len(starts), "i8") if parts.cover is None else _covered(parts.cover, starts)),
        "minimum": spread(minimum, major > 0),
        "maximum": spread(maximum, major > 0),
        "total": spread(total),
        "mean": spread(mean),
        # In order of their ends, those that go on come last.
        "first_value": spread(value[starts], ended > 0),
        "last_value": spread(value[starts + np.maximum(ended, 1) - 1], ended > 0),
        "deviation": spread(deviation, count > 1),
    }


def _moments(
    value: np.ndarray, parts: Parts, starts: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sum by share, the weighted mean and the deviation of each run: of equal weights that of a sample."""
    total = np.add.reduceat(value if parts.share is None else value * parts.share, starts)
    weight = parts.weight
    weights = count if weight is None else np.add.reduceat(weight, starts)
    mean = (total if weight is parts.share else np.add.reduceat(value * weight, starts)) / weights
    residual = np.repeat(mean, count)
    np.subtract(value, residual, out=residual)
    np.square(residual, out=residual)
    if weight is not None:
        residual *= weight
    with np.errstate(divide="ignore", invalid="ignore"):
        return total, mean, np.sqrt(np.add.reduceat(residual, starts) / (weights - weights / count))


def _covered(cover: np.ndarray, starts: np.ndarray) -> np.ndarray:
    covered: np.ndarray = np.add.reduceat(cover, starts)
    return covered


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
    series, end = parts.of(rows.series), parts.of(rows.end)
    if parts.cover is not None:
        readings = parts.of(rows.length == 0)
        if not readings.any():
            return np.zeros(windows, "i8")
        run, series, end = run[readings], series[readings], end[readings]
    # Dividing by a scalar is several times faster than by a column.
    slots = end // (slot_us[0] if slot_us.min() == slot_us.max() else slot_us[series])
    return np.bincount(run[_starts(run, slots)], minlength=windows)


_COUNTS: Sequence[str] = ("good", "parts", "slots", "covered_us")
_FLOATS: Sequence[str] = ("minimum", "maximum", "total", "mean", "first_value", "last_value", "deviation")
_COLUMNS = ("series", "start_us", "window_seconds", "flags", *_COUNTS, *_FLOATS)
