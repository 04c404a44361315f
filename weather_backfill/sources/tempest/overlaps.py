"""Reports that say the same twice: copies of one report, and buckets beside the finer reports that they sum up.

Copies (same station, time and length): the last received wins, but what it does not say, absent or null, takes nothing
away from what an earlier one said. A UDP message has 18 of 22 elements, and the API answers with null rain for days.

Overlapping lengths: after an outage an archive is filled up with buckets of 5 to 180 minutes, which lie over minutes
that had arrived. The finer report wins: a coarser one of whose time finer ones cover at least half adds nothing and is
dropped, as it cannot be split by what it says of the rest.
"""

from __future__ import annotations

import numpy as np

from weather_backfill.model.intervals import SECOND_US
from weather_backfill.sources.table import Tags, latest_rows
from weather_backfill.sources.tempest.messages import Observations


def joined(parts: list[Observations]) -> tuple[Observations, np.ndarray]:
    """Join the parts, given in the order received: sorted by station, time and length, of copies one.

    Returns them and the middles (UTC microseconds) of the reports that a later copy replaced.
    """
    if not parts:
        return Observations(), np.empty(0, "i8")
    stations = Tags.of([station for part in parts for station in part.stations])
    times = np.concatenate([part.epoch_us for part in parts])
    seconds = np.concatenate([part.seconds for part in parts])
    values = np.concatenate([part.values for part in parts])
    length = np.concatenate([part.length for part in parts])
    rows = latest_rows(stations.codes, times, seconds)
    if len(rows.replaced):
        values, length = _completed(np.lexsort((seconds, times, stations.codes)), rows.order, values, length)
    names = stations.names.to_pylist()
    kept = Observations(
        [names[code] for code in rows.series], rows.times, values[rows.order], length[rows.order],
        seconds=seconds[rows.order],
    )  # fmt: skip
    return kept, times[rows.replaced] - seconds[rows.replaced] * np.int64(SECOND_US // 2)


def _completed(
    order: np.ndarray, kept: np.ndarray, values: np.ndarray, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fill the kept rows from their earlier copies; `order` sorts copies together, in the order received."""
    last = np.flatnonzero(np.isin(order, kept))
    first = np.concatenate([[0], last[:-1] + 1])
    values, length = values.copy(), length.copy()
    for back in range(1, int((last - first).max()) + 1):
        copies = last - back >= first
        row, earlier = order[last[copies]], order[last[copies] - back]
        values[row] = np.where(np.isnan(values[row]), values[earlier], values[row])
        length[row] = np.maximum(length[row], length[earlier])
    return values, length


def covered_by_finer(kept: Observations) -> np.ndarray:
    """Mark the reports of whose time finer reports of their station cover at least half; `kept` comes from `joined`."""
    covered = np.zeros(len(kept.stations), dtype=bool)
    lengths = np.unique(kept.seconds)
    if len(lengths) < 2:
        return covered
    # One line of time for all stations: each has its own stretch of it.
    ends = kept.epoch_us - kept.epoch_us.min() + int(lengths[-1]) * SECOND_US
    ends = ends + Tags.of(kept.stations).codes.astype("i8") * int(ends.max() + SECOND_US)
    starts = ends - kept.seconds.astype("i8") * SECOND_US
    for length in lengths[1:]:
        coarse = np.flatnonzero(kept.seconds == length)
        finer = np.flatnonzero((kept.seconds < length) & ~covered)
        share = _overlap(starts[coarse], ends[coarse], starts[finer], ends[finer]) / (int(length) * SECOND_US)
        covered[coarse] = share >= 0.5
    return covered


def _overlap(starts: np.ndarray, ends: np.ndarray, finer_starts: np.ndarray, finer_ends: np.ndarray) -> np.ndarray:
    """How much of each interval the finer ones cover together."""
    if not len(finer_starts):
        return np.zeros(len(starts), "i8")
    order = np.argsort(finer_starts, kind="stable")
    begins, reach = finer_starts[order], np.maximum.accumulate(finer_ends[order])
    apart = np.concatenate([[True], begins[1:] > reach[:-1]])
    firsts = np.flatnonzero(apart)
    begins, reach = begins[firsts], reach[np.append(firsts[1:], len(reach)) - 1]
    before = np.concatenate([[0], np.cumsum(reach - begins)])

    def until(moment: np.ndarray) -> np.ndarray:
        at = np.searchsorted(begins, moment, side="right") - 1
        inside = np.minimum(moment, reach[np.maximum(at, 0)]) - begins[np.maximum(at, 0)]
        return np.where(at < 0, 0, before[np.maximum(at, 0)] + inside)

    return until(ends) - until(starts)
