"""Reports that say the same more than once: copies of one report, and coarse reports of time that finer ones cover.

Archives mix senders. One report comes by UDP, by WebSocket and from REST, and not every copy says all of it; and REST
fills gaps in buckets of 5, 30 or 180 minutes, which reach over the gap's edges into minutes that are there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weather_backfill.model.intervals import SECOND_US, shift_to_middle
from weather_backfill.sources.table import Tags, latest_rows
from weather_backfill.sources.tempest.layouts import speaks_of
from weather_backfill.sources.tempest.messages import Observations

_MOST_COVERED = 0.5
"""Share of a coarse report's time from which it adds nothing: at a gap's edge the error is half a bucket at most."""

_Micros = npt.NDArray[np.int64]


def latest_only(parts: list[Observations]) -> tuple[Observations, _Micros, _Micros]:
    """Join the parts, given in the order received: sorted by station, time and length, of equal ones the last received.

    Returns them, and the middles (UTC microseconds) of the reports that a later copy replaced and, one a value, of
    those to which an earlier copy gave a value of which no later one says anything.
    """
    if not parts:
        return Observations(), np.empty(0, "i8"), np.empty(0, "i8")
    stations = Tags.of([station for part in parts for station in part.stations])
    times = np.concatenate([part.epoch_us for part in parts])
    seconds = np.concatenate([part.seconds for part in parts])
    values = np.concatenate([part.values for part in parts])
    said = np.concatenate([part.said for part in parts])
    rows = latest_rows(stations.codes, times, seconds)
    completed = rows.replaced[:0]
    if len(rows.replaced):
        completed = _complete((seconds, times, stations.codes), values, said)
    names = stations.names.to_pylist()
    kept = Observations(
        [names[code] for code in rows.series], rows.times, values[rows.order], said[rows.order],
        seconds=seconds[rows.order],
    )  # fmt: skip
    middles = np.asarray(times + shift_to_middle(seconds, 0), dtype=np.int64)
    return kept, middles[rows.replaced], middles[completed]


def _complete(keys: tuple[np.ndarray, ...], values: np.ndarray, said: np.ndarray) -> _Micros:
    """Give the last of reports with equal keys the values that only earlier ones have, in place.

    Returns the position of the report, one a value.
    """
    order = np.lexsort(keys)
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    copies = np.diff(np.append(np.flatnonzero(first), len(order)))
    order = order[np.repeat(copies > 1, copies)]
    copies = copies[copies > 1]
    at = np.cumsum(copies) - 1  # in `order`: of each report the last copy, which is the one that is kept
    completed = [order[:0]]
    for back in range(1, int(copies.max())):
        incomplete = np.isnan(values[order[at]]).any(axis=1)
        at, copies = at[incomplete & (copies > back)], copies[incomplete & (copies > back)]
        if not len(at):
            break
        last, earlier = order[at], order[at - back]
        before = values[earlier]
        report, element = np.nonzero(np.isnan(values[last]) & ~np.isnan(before))
        values[last[report], element] = before[report, element]
        said[last] |= said[earlier]
        completed.append(last[report])
    return np.concatenate(completed)


def drop_covered(kept: Observations) -> npt.NDArray[np.int64]:
    """Mark in `kept.covered` the values of coarse reports whose time finer ones of the station cover by half or more.

    It goes by element: a report that says nothing of the rain covers no rain. Returns how many values of each report
    are kept although finer reports cover a part of their time.
    """
    partly = np.zeros(len(kept.seconds), dtype=np.int64)
    if not len(kept.seconds) or kept.seconds.min() == kept.seconds.max():
        return partly
    codes = Tags.of(kept.stations).codes
    lowest, highest = np.full(codes.max() + 1, np.iinfo(np.int32).max), np.zeros(codes.max() + 1, dtype=np.int64)
    np.minimum.at(lowest, codes, kept.seconds)
    np.maximum.at(highest, codes, kept.seconds)
    mixed = np.flatnonzero((lowest != highest)[codes])
    if not len(mixed):
        return partly
    seconds = kept.seconds[mixed].astype(np.int64)
    begin = kept.epoch_us.min() - int(seconds.max()) * SECOND_US
    span = kept.epoch_us.max() - begin + 1
    ends = codes[mixed].astype(np.int64) * span + kept.epoch_us[mixed] - begin  # all stations on one line of time
    starts = ends - seconds * SECOND_US
    kept.covered = np.zeros(kept.values.shape, dtype=bool)
    for element in range(kept.values.shape[1]):
        said = ~np.isnan(kept.values[mixed, element])
        covered, some = _covered(starts, ends, seconds, said)
        kept.covered[mixed[covered], element] = True
        partly[mixed] += some
    kept.covered &= speaks_of(kept.said)
    return partly


def _covered(
    starts: _Micros, ends: _Micros, seconds: _Micros, said: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which reports finer ones cover, from the finest up, and which of the others they cover in part."""
    covered, partly = np.zeros(len(seconds), dtype=bool), np.zeros(len(seconds), dtype=bool)
    for length in np.unique(seconds)[1:]:
        finer = (seconds < length) & said & ~covered
        coarse = np.flatnonzero(seconds == length)
        share = _measure(starts[finer], ends[finer], starts[coarse], ends[coarse]) / (length * SECOND_US)
        covered[coarse] = share >= _MOST_COVERED
        partly[coarse] = (share > 0) & (share < _MOST_COVERED) & said[coarse]
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
