"""Reports that say the same more than once: copies of one report, and coarse reports of time that finer ones cover.

Archives mix senders. One report comes by UDP, by WebSocket and from REST, and not every copy says all of it; and REST
fills gaps in buckets of 5, 30 or 180 minutes, which reach over the gap's edges into minutes that are there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weather_backfill.sources.table import Tags, latest_rows
from weather_backfill.sources.tempest.messages import Observations

_MOST_COVERED = 0.5
"""Share of a coarse report's time from which it adds nothing. The middle of its time lies in its day, so what the day
itself covers suffices to tell; at the edge of a gap the error is half a bucket at most."""

_Micros = npt.NDArray[np.int64]


def latest_only(parts: list[Observations]) -> tuple[Observations, int, int]:
    """Join the parts, given in the order received: sorted by station and time, of equal ones the last received kept.

    Returns them, how many reports were replaced by a later one, and how many values of those were kept because no later
    one says anything of them.
    """
    if not parts:
        return Observations(), 0, 0
    stations = Tags.of([station for part in parts for station in part.stations])
    times = np.concatenate([part.epoch_us for part in parts])
    seconds = np.concatenate([part.seconds for part in parts])
    values = np.concatenate([part.values for part in parts])
    length = np.concatenate([part.length for part in parts])
    rows = latest_rows(stations.codes, times, seconds)
    completed = _complete((seconds, times, stations.codes), values, length) if len(rows.replaced) else 0
    names = stations.names.to_pylist()
    kept = Observations(
        [names[code] for code in rows.series],
        rows.times,
        values[rows.order],
        length[rows.order],
        seconds=seconds[rows.order],
    )
    return kept, len(rows.replaced), completed


def _complete(keys: tuple[np.ndarray, ...], values: np.ndarray, length: np.ndarray) -> int:
    """Give the last of reports with equal keys the values that only earlier ones have, in place; returns how many."""
    order = np.lexsort(keys)
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    copies = np.diff(np.append(np.flatnonzero(first), len(order)))
    order = order[np.repeat(copies > 1, copies)]
    copies = copies[copies > 1]
    at = np.cumsum(copies) - 1  # in `order`: of each report the last copy, which is the one that is kept
    completed = 0
    for back in range(1, int(copies.max())):
        incomplete = np.isnan(values[order[at]]).any(axis=1)
        at, copies = at[incomplete & (copies > back)], copies[incomplete & (copies > back)]
        if not len(at):
            break
        last, earlier = order[at], order[at - back]
        said = values[earlier]
        report, element = np.nonzero(np.isnan(values[last]) & ~np.isnan(said))
        values[last[report], element] = said[report, element]
        length[last] = np.maximum(length[last], length[earlier])
        completed += len(report)
    return completed


def drop_covered(kept: Observations) -> tuple[int, int]:
    """Mark in `kept.covered` the values of coarse reports whose time finer ones of the station cover by half or more.

    It goes by element: a report that says nothing of the rain covers no rain. Returns how many are marked, which are
    rows less, and how many values are kept although finer reports cover a part of their time.
    """
    if not len(kept.seconds) or kept.seconds.min() == kept.seconds.max():
        return 0, 0
    codes = Tags.of(kept.stations).codes
    lowest, highest = np.full(codes.max() + 1, np.iinfo(np.int32).max), np.zeros(codes.max() + 1, dtype=np.int64)
    np.minimum.at(lowest, codes, kept.seconds)
    np.maximum.at(highest, codes, kept.seconds)
    mixed = np.flatnonzero((lowest != highest)[codes])
    if not len(mixed):
        return 0, 0
    seconds = kept.seconds[mixed].astype(np.int64)
    begin = kept.epoch_us.min() - int(seconds.max()) * 1_000_000
    span = kept.epoch_us.max() - begin + 1
    ends = codes[mixed].astype(np.int64) * span + kept.epoch_us[mixed] - begin  # all stations on one line of time
    starts = ends - seconds * 1_000_000
    kept.covered = np.zeros(kept.values.shape, dtype=bool)
    partly = 0
    for element in range(kept.values.shape[1]):
        said = ~np.isnan(kept.values[mixed, element])
        covered, some = _covered(starts, ends, seconds, said)
        kept.covered[mixed[covered], element] = True
        partly += some
    present = np.arange(kept.values.shape[1]) + 1 < kept.length[:, None]
    return int((kept.covered & present).sum()), partly


def _covered(
    starts: _Micros, ends: _Micros, seconds: _Micros, said: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], int]:
    """Which reports finer ones cover, from the finest up, and how many of the others they cover in part."""
    covered = np.zeros(len(seconds), dtype=bool)
    partly = 0
    for length in np.unique(seconds)[1:]:
        finer = (seconds < length) & said & ~covered
        coarse = np.flatnonzero(seconds == length)
        share = _measure(starts[finer], ends[finer], starts[coarse], ends[coarse]) / (length * 1_000_000)
        covered[coarse] = share >= _MOST_COVERED
        partly += int(((share > 0) & (share < _MOST_COVERED) & said[coarse]).sum())
    return covered, partly


def _measure(starts: _Micros, ends: _Micros, of_starts: _Micros, of_ends: _Micros) -> _Micros:
    """How much of each of some spans the union of others covers."""
    if not len(starts):
        return np.zeros(len(of_starts), dtype=np.int64)
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    first = np.append(True, starts[1:] > reach[:-1])  # where a gap lies before
    begins, stops = starts[first], reach[np.append(first[1:], True)]
    before = np.append(0, np.cumsum(stops - begins))

    def until(moments: _Micros) -> _Micros:
        at = np.searchsorted(begins, moments, side="right")
        inside = np.minimum(moments, stops[at - 1]) - begins[at - 1]
        return np.where(at > 0, before[at - 1] + inside, 0)

    return until(of_ends) - until(of_starts)
