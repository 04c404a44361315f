"""What the rows of a raw day stand for: the interval of each, its parts by window, and the time it covers.

A row's interval is `[end - length, end)`, `end` its stamp plus an offset; a row of length 0 is a reading at that
moment. A row of at most a window's length lies in one window or in two, so that only rows that straddle an edge are
split. All times are microseconds since 1970 (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np

from weather_backfill.refine.rules import WINDOW_US

DAY_US = 86_400_000_000
GOES_ON, MINOR, ELSEWHERE = 1, 2, 4
"""Marks of a part: its interval ends in the next window; less than half of it lies here; its midpoint lies not here."""


class Samples(NamedTuple):
    """Columns of raw rows in order of series: `series` numbers, `time` in microseconds, `value` NaN where missing.

    `seconds` and `offset` are the interval's columns of `schemas.RAW`, 0 where it is not known; None: of no row.
    """

    series: np.ndarray
    time: np.ndarray
    value: np.ndarray
    quality: np.ndarray
    seconds: np.ndarray | None = None
    offset: np.ndarray | None = None

    def rows(self, block: slice) -> Rows:
        """Some of the rows with the ends and lengths of their intervals."""
        end = self.time[block]
        if self.offset is not None and (offset := self.offset[block]).any():
            end = end + offset.astype("i8") * 1_000_000
        length = np.zeros(len(end), "i8") if self.seconds is None else self.seconds[block].astype("i8") * 1_000_000
        return Rows(self.series[block], end, length, self.value[block], self.quality[block])


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of raw rows in order of series: `series` numbers, `end` and `length` in microseconds, `value` NaN where
    missing, `quality`.
    """

    series: np.ndarray
    end: np.ndarray
    length: np.ndarray
    value: np.ndarray
    quality: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows(*(getattr(self, f.name)[rows] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.series)

    def ordered(self) -> Rows:
        """The rows in order of series, end and start of the interval, as they stand where they are in order."""
        onward = self.end[1:] > self.end[:-1]
        onward |= self.series[1:] != self.series[:-1]
        if onward.all():
            return self
        return self[np.lexsort((-self.length, self.end, self.series))]


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of rows in order of series and window (numbered since 1970), in a window by the rows' order.

    `row` is the number of the part's row, `cover` the time in the window that it covers and no earlier row does.
    `share` is the part's share of its row, `weight` what it weighs in a mean: its length, a reading as much as its grid
    slot, as a share of the longest of the series, so that equal ones are exactly 1. `marks` is 0 for a row that lies
    whole in its window. None: every row is one part; readings alone, which cover no time; shares or weights are 1;
    marks are 0.
    """

    window: np.ndarray
    row: np.ndarray | None = None
    cover: np.ndarray | None = None
    share: np.ndarray | None = None
    weight: np.ndarray | None = None
    marks: np.ndarray | None = None

    def __getitem__(self, chosen: np.ndarray) -> Parts:
        """Some of the parts; `row` is never None then."""
        columns = (getattr(self, f.name) for f in fields(self))
        some = Parts(*(None if column is None else column[chosen] for column in columns))
        return some if self.row is not None else replace(some, row=chosen)

    def of(self, column: np.ndarray) -> np.ndarray:
        """The parts' values in a column of the rows."""
        return column if self.row is None else column[self.row]


class Span(NamedTuple):
    """A span of time `[start, end)` in microseconds."""

    start: int
    end: int

    @classmethod
    def of(cls, day: date) -> Span:
        """The span of a UTC day."""
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
        return cls(start, start + DAY_US)


def split(rows: Rows, good: np.ndarray, slot_us: np.ndarray, day: Span | None) -> Parts:
    """Split rows of at most a window's length at the edges of windows; `good` rows cover time.

    `rows` are in order, and `slot_us` holds the microseconds between two grid slots by series. What of a row lies
    outside the day belongs to the day's nearest window, but covers no time of it.
    """
    start = rows.end - rows.length
    first = start // WINDOW_US
    crosses = rows.end > (first + 1) * WINDOW_US
    cover_start, cover_end = _uncovered(rows, start, good), rows.end
    if day:
        edges = day.start // WINDOW_US, day.end // WINDOW_US - 1
        if int(first.min()) < edges[0] or int(first.max()) >= edges[1]:
            crosses &= (first >= edges[0]) & (first < edges[1])
            first = np.clip(first, *edges)
            cover_start, cover_end = np.maximum(cover_start, day.start), np.minimum(cover_end, day.end)
    window = first.astype("i4")
    if not rows.length.any():
        return Parts(window)
    cover, weight = np.maximum(cover_end - cover_start, 0), _weight(rows, slot_us)
    cut = np.flatnonzero(crosses)
    if not len(cut):
        return _in_order(rows, Parts(window, cover=cover, weight=weight))
    row = np.repeat(np.arange(len(rows)), 1 + crosses)
    head = cut + np.arange(len(cut))
    tail = head + 1
    edge, length = (first[cut] + 1) * WINDOW_US, rows.length[cut]
    before, after = edge - start[cut], rows.end[cut] - edge
    window, cover = window[row], cover[row]
    window[tail] += 1
    cover[head] = np.maximum(edge - cover_start[cut], 0)
    cover[tail] = np.maximum(cover_end[cut] - np.maximum(cover_start[cut], edge), 0)
    share, marks = np.ones(len(row)), np.zeros(len(row), "i1")
    share[head], share[tail] = before / length, after / length
    later = after >= before  # the midpoint lies in the second window, or on its first moment
    marks[head] = GOES_ON | np.where(before < after, MINOR, 0) | np.where(later, ELSEWHERE, 0)
    marks[tail] = np.where(later, 0, MINOR | ELSEWHERE)
    weight = share if weight is None else weight[row] * share
    return _in_order(rows, Parts(window, row, cover, share, weight, marks))


def _weight(rows: Rows, slot_us: np.ndarray) -> np.ndarray | None:
    weight, shortest = rows.length, rows.length.min()
    if shortest == weight.max():
        return None
    if not shortest:
        weight = np.where(weight > 0, weight, slot_us[rows.series])
    first = np.flatnonzero(np.append(True, rows.series[1:] != rows.series[:-1]))
    return weight / np.repeat(np.maximum.reduceat(weight, first), np.diff(first, append=len(weight)))


def _in_order(rows: Rows, parts: Parts) -> Parts:
    """The parts in order of series and window: intervals that overlap each other give parts out of order."""
    back = parts.window[1:] < parts.window[:-1]
    if not back.any():  # of one series alone
        return parts
    series = parts.of(rows.series)
    back &= series[1:] == series[:-1]
    return parts[np.lexsort((parts.window, series))] if back.any() else parts


def _uncovered(rows: Rows, start: np.ndarray, good: np.ndarray) -> np.ndarray:
    """The moment from which each good row covers time that no earlier row covers; of others any moment."""
    overlapping = start[1:] < rows.end[:-1]
    overlapping &= rows.series[1:] == rows.series[:-1]
    if not overlapping.any():
        return start
    chosen = np.flatnonzero(good & (rows.length > 0))
    series, begin, end = (column[chosen] for column in (rows.series, start, rows.end))
    same = series[1:] == series[:-1]
    if not ((begin[1:] < begin[:-1]) & same).any():  # in order of both, the row before ends last
        covered = np.append(begin[:1], np.where(same, end[:-1], begin[1:]))
    else:
        covered = _ended_before(series, begin, end)
    result = start.copy()
    result[chosen] = np.minimum(np.maximum(begin, covered), end)
    return result


def _ended_before(series: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The latest end among the rows of the series that start before each row; its own start for the first one."""
    order = np.lexsort((end, start, series))
    lowest = start.min()
    span = end.max() - lowest + 1
    rank = np.cumsum(np.append(0, series[order][1:] != series[order][:-1]))
    latest = np.maximum.accumulate(end[order] - lowest + rank * span) - rank * span + lowest
    covered = np.empty_like(start)
    before = np.append(latest[:1], latest[:-1])
    fresh = np.append(True, rank[1:] != rank[:-1])
    covered[order] = np.where(fresh, start[order], before)
    return covered


def covered_by_series(rows: Rows, series: int) -> np.ndarray:
    """The microseconds that the intervals of each series cover together; values are not looked at."""
    rows = rows.ordered()
    fresh = rows.end - _uncovered(rows, rows.end - rows.length, np.ones(len(rows), dtype=bool))
    return np.bincount(rows.series, np.where(rows.length > 0, fresh, 0), minlength=series)
