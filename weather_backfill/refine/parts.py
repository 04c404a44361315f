"""What the rows of a raw day stand for: the interval of each, its parts by window, and the time it covers.

A row's interval is `[end - length, end)`, `end` its stamp plus an offset; a row of length 0 is a reading at that
moment. A row of at most a window's length lies in one window or in two, so that only rows that straddle an edge are
split. All times are microseconds since 1970 (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np

from weather_backfill.model.intervals import DAY_US, SECOND_US
from weather_backfill.refine.rules import WINDOW_US

GOES_ON, MINOR, ELSEWHERE = 1, 2, 4
"""Marks of a part: its interval ends in the next window; less than half of it lies here; its midpoint lies not here."""

_SERIES, _BIAS = 1 << 32, 1 << 31
"""A key is the series times the one, and the window's number plus the other, so that it is not negative."""


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

    def take(self, order: np.ndarray) -> Samples:
        """The rows in another order."""
        seconds, offset = (None if column is None else column[order] for column in (self.seconds, self.offset))
        return Samples(self.series[order], self.time[order], self.value[order], self.quality[order], seconds, offset)

    def rows(self, block: slice) -> Rows:
        """Some of the rows with the ends and lengths of their intervals."""
        end = self.time[block]
        if self.offset is not None and (offset := self.offset[block]).any():
            end = end + offset.astype("i8") * SECOND_US
        length = np.zeros(len(end), "i8") if self.seconds is None else self.seconds[block].astype("i8") * SECOND_US
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
    """Parts of rows in order of `key`, which tells the window of a series, and in a window by the rows' order.

    `row` is the number of the part's row, `cover` the time in the window that it covers and no earlier row does.
    `share` is the part's share of its row, `weight` what it weighs in a mean: its length, a reading as much as its grid
    slot, as a share of the longest of the series, so that equal ones are exactly 1. `marks` is 0 for a row that lies
    whole in its window. None: every row is one part; parts cover their weight times `length`; shares or weights are 1;
    marks are 0.
    """

    key: np.ndarray
    row: np.ndarray | None = None
    cover: np.ndarray | None = None
    share: np.ndarray | None = None
    weight: np.ndarray | None = None
    marks: np.ndarray | None = None
    length: int = 0

    def __getitem__(self, chosen: np.ndarray) -> Parts:
        """Some of the parts in another order; `row` is never None then."""

        def some(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[chosen]

        share = some(self.share)
        return Parts(
            self.key[chosen],
            chosen if self.row is None else self.row[chosen],
            some(self.cover),
            share,
            share if self.weight is self.share else some(self.weight),
            some(self.marks),
            self.length,
        )

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
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND_US
        return cls(start, start + DAY_US)


def split(rows: Rows, slot_us: np.ndarray, day: Span | None) -> Parts:
    """Split rows of at most a window's length at the edges of windows.

    `rows` are in order, and `slot_us` holds the microseconds between two grid slots by series. What of a row lies
    outside the day belongs to the day's nearest window, but covers no time of it. Keys are read by `series_and_window`.
    """
    start = rows.end - rows.length
    window = start // WINDOW_US
    if not rows.length.any():
        return Parts(_key(rows, window if day is None else _of_day(window, day)))
    crosses = rows.end > (window + 1) * WINDOW_US
    cover_start, cover_end = _uncovered(rows, start), rows.end
    if day and (inside := _of_day(window, day)) is not window:
        crosses &= (start >= day.start) & (rows.end <= day.end)
        window, cover_start, cover_end = inside, np.maximum(cover_start, day.start), np.minimum(cover_end, day.end)
    known = None if cover_start is start and cover_end is rows.end else np.maximum(cover_end - cover_start, 0)
    weight = _weight(rows, slot_us)
    if known is None and weight is not None:
        known = rows.length
    parts = Parts(_key(rows, window), cover=known, weight=weight, length=int(rows.length[0]))
    if crosses.any():
        edge = (window[crosses] + 1) * WINDOW_US
        before, after = edge - start[crosses], rows.end[crosses] - edge
        covers = edge - cover_start[crosses], cover_end[crosses] - np.maximum(cover_start[crosses], edge)
        parts = _cut(parts, crosses, (before, after), covers)
    back = parts.key[1:] < parts.key[:-1]  # where intervals overlap each other
    return parts[np.argsort(parts.key, kind="stable")] if back.any() else parts


_Halves = tuple[np.ndarray, np.ndarray]


def _cut(parts: Parts, crosses: np.ndarray, overlaps: _Halves, covers: _Halves) -> Parts:
    """Cut the rows that cross an edge: `overlaps` are the lengths before and after it, `covers` what they cover."""
    cut = np.flatnonzero(crosses)
    row = np.repeat(np.arange(len(crosses)), 1 + crosses)
    head = cut + np.arange(len(cut))
    tail = head + 1
    key, cover = parts.key[row], parts.cover
    key[tail] += 1
    if cover is not None:
        cover = cover[row]
        cover[head], cover[tail] = (np.maximum(half, 0) for half in covers)
    before, after = overlaps
    share, marks = np.ones(len(row)), np.zeros(len(row), "i1")
    share[head], share[tail] = (half / (before + after) for half in overlaps)
    later = after >= before  # the midpoint lies in the second window, or on its first moment
    marks[head] = GOES_ON | np.where(before < after, MINOR, 0) | np.where(later, ELSEWHERE, 0)
    marks[tail] = np.where(later, 0, MINOR | ELSEWHERE)
    weight = share if parts.weight is None else parts.weight[row] * share
    return Parts(key, row, cover, share, weight, marks, parts.length)


def _of_day(window: np.ndarray, day: Span) -> np.ndarray:
    """The windows of the day that lie nearest; the same array where all lie in it, and no row can reach out of it."""
    first, last = day.start // WINDOW_US, day.end // WINDOW_US - 1
    within = first <= int(window.min()) and int(window.max()) < last
    return window if within else np.clip(window, first, last)


def _key(rows: Rows, window: np.ndarray) -> np.ndarray:
    key = rows.series.astype("i8")
    key *= _SERIES
    key += window
    key += _BIAS
    return key


def series_and_window(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The series and the window (numbered since 1970) of keys."""
    series = key // _SERIES
    return series.astype("i4"), key - series * _SERIES - _BIAS


def _weight(rows: Rows, slot_us: np.ndarray) -> np.ndarray | None:
    weight, shortest = rows.length, rows.length.min()
    if shortest == weight.max():
        return None
    if not shortest:
        weight = np.where(weight > 0, weight, slot_us[rows.series])
    first = np.flatnonzero(np.append(True, rows.series[1:] != rows.series[:-1]))
    return weight / np.repeat(np.maximum.reduceat(weight, first), np.diff(first, append=len(weight)))


def _uncovered(rows: Rows, start: np.ndarray) -> np.ndarray:
    """The moment from which each row covers time that no earlier row covers; `start` itself where none overlap."""
    overlapping = start[1:] < rows.end[:-1]
    overlapping &= rows.series[1:] == rows.series[:-1]
    if not overlapping.any():
        return start
    chosen = np.flatnonzero(rows.length)
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
    fresh = rows.end - _uncovered(rows, rows.end - rows.length)
    return np.bincount(rows.series, np.where(rows.length > 0, fresh, 0), minlength=series)
