"""Aggregation of sorted rows by window: sums, extremes and counts in one pass of numpy over runs of rows.

Rows of the lake are sorted by series and time, so the rows of a window follow each other: a window is a run, and
`reduceat` aggregates runs at a third of the cost of a database's hash table. It adds in the order of the rows on one
thread: the same rows give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from weather_backfill.model.schemas import FAIL
from weather_backfill.refine.rules import WINDOW_US

_BLOCK_ROWS = 150_000


def aggregate(
    series: np.ndarray, time: np.ndarray, value: np.ndarray, quality: np.ndarray, slot_us: np.ndarray
) -> pa.Table:
    """Aggregate rows into one row per series and window that has rows, in order of both.

    `series` is each row's series number, `time` in microseconds since 1970 (UTC), `value` NaN where missing, and
    `slot_us` the microseconds between two grid slots by series. Columns: `series`, `window_number` (windows of 900 s
    since 1970), `flags`, `good` (values that are neither failed nor missing), `slots` (grid slots that hold one), and
    of the good values `minimum`, `maximum`, `total`, `first_value`, `last_value`, `deviation`. Failed and missing
    values only count in `flags`, a bit per flag that occurs: 2 pass, 4 not evaluated, 8 suspect, 16 fail, 512 missing.
    Statistics are null where no value is good, `deviation` (of a sample) where fewer than two are.
    """
    if _disordered(series, time):
        order = np.lexsort((time, series))
        series, time, value, quality = (column[order] for column in (series, time, value, quality))
    blocks = [_aggregate(series[b], time[b], value[b], quality[b], slot_us) for b in _blocks(series)]
    return pa.concat_tables(blocks)


def _aggregate(
    series: np.ndarray, time: np.ndarray, value: np.ndarray, quality: np.ndarray, slot_us: np.ndarray
) -> pa.Table:
    window = (time // WINDOW_US).astype("i4")
    starts = _starts(series, window)
    flags = np.bitwise_or.reduceat(np.left_shift(1, quality, dtype="i2"), starts)
    columns = {"series": pa.array(series[starts]), "window_number": pa.array(window[starts]), "flags": pa.array(flags)}
    good = (quality != FAIL) & ~np.isnan(value)
    run = np.repeat(np.arange(len(starts), dtype="i4"), np.diff(starts, append=len(series)))
    if not good.all():
        run, time, value, series = run[good], time[good], value[good], series[good]
    return pa.table(columns | _statistics(run, value, _slots(time, series, slot_us), len(starts)))


def _blocks(series: np.ndarray) -> Iterator[slice]:
    """Slices of whole series with about `_BLOCK_ROWS` rows each: their columns fit the processor's cache."""
    edges = np.append(_starts(series), len(series))
    first = 0
    while first < len(edges) - 1:
        last = max(int(np.searchsorted(edges, edges[first] + _BLOCK_ROWS, side="right")) - 1, first + 1)
        yield slice(int(edges[first]), int(edges[last]))
        first = last


def _disordered(series: np.ndarray, time: np.ndarray) -> bool:
    back = time[1:] < time[:-1]
    back &= series[1:] == series[:-1]
    return bool(back.any() or (series[1:] < series[:-1]).any())


def _starts(*columns: np.ndarray) -> np.ndarray:
    """The numbers of the first rows of the runs in which no column changes."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def _slots(time: np.ndarray, series: np.ndarray, slot_us: np.ndarray) -> np.ndarray:
    """The grid slot of each row, counted from 1970."""
    # Dividing by a scalar is several times faster than by a column.
    slots: np.ndarray = time // (slot_us[0] if slot_us.min() == slot_us.max() else slot_us[series])
    return slots


def _statistics(run: np.ndarray, value: np.ndarray, slot: np.ndarray, windows: int) -> dict[str, pa.Array]:
    """The statistics of good values by window number `run`; windows without good values get nulls."""
    starts = _starts(run)
    present = run[starts]
    empty = np.ones(windows, dtype=bool)
    empty[present] = False

    def spread(statistic: np.ndarray, null: np.ndarray | None = empty) -> pa.Array:
        full = np.zeros(windows, dtype=statistic.dtype)
        full[present] = statistic
        return pa.array(full, mask=null)

    if not len(value):
        return {name: spread(np.empty(0)) for name in _FLOATS} | {n: spread(np.empty(0, "i8"), None) for n in _COUNTS}
    count = np.diff(starts, append=len(value))
    total = np.add.reduceat(value, starts)
    residual = value - np.repeat(total / count, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.sqrt(np.add.reduceat(np.square(residual, out=residual), starts) / (count - 1))
    first_of_slot = _starts(run, slot)
    single = empty.copy()
    single[present] |= count < 2
    return {
        "good": spread(count, None),
        "slots": spread(np.bincount(run[first_of_slot], minlength=windows)[present], None),
        "minimum": spread(np.minimum.reduceat(value, starts)),
        "maximum": spread(np.maximum.reduceat(value, starts)),
        "total": spread(total),
        "first_value": spread(value[starts]),
        "last_value": spread(value[starts + count - 1]),
        "deviation": spread(deviation, single),
    }


_COUNTS: Sequence[str] = ("good", "slots")
_FLOATS: Sequence[str] = ("minimum", "maximum", "total", "first_value", "last_value", "deviation")
