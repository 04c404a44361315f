"""Stations come whole, days go out whole: this turns one into the other with bounded memory.

Series are collected until they fill the memory allowance, then kept as a *run* that gives them day by day: in
memory if it is the only one, else in an Arrow file with one batch a day. Stations are added in order, so a
day is the concatenation of its slices of all runs, already sorted by station, metric and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.sources.dwd.product_parser import NO_LEVEL, Series
from weather_backfill.sources.dwd.timestamps import DAY
from weather_backfill.sources.table import RAW_WITH_SOURCE_QUALITY, Interval, Tags, raw_batch
from weather_backfill.util.scratch import Scratch

MEMORY_BYTES = 256 << 20
_BLOCK_ROWS = 1 << 18  # cut at once: some ten megabytes
_ROW_BYTES = 32  # a row while it waits: its columns, and what arrays may be a part of
_EMPTY = pa.RecordBatch.from_pylist([], RAW_WITH_SOURCE_QUALITY)
_Bounds = npt.NDArray[np.int32]


class DayIndex:
    """The wanted UTC days, sorted, and where a time (UTC microseconds) falls among them.

    Rows fall on days by the middle of their intervals, which lies a `shift` (microseconds) after their stamps.
    """

    def __init__(self, dates: Sequence[date]) -> None:
        self.dates = sorted(set(dates))
        numbers = np.array([np.datetime64(d, "D").astype(np.int64) for d in self.dates], dtype=np.int64)
        self._first = int(numbers[0])
        self.starts = numbers * DAY  # UTC microseconds
        self._gapless = int(numbers[-1] - numbers[0]) + 1 == len(numbers)
        self._table = np.full(int(numbers[-1]) - self._first + 1, -1, dtype=np.int32)
        self._table[numbers - self._first] = np.arange(len(numbers), dtype=np.int32)

    def lookup(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The position of each time's day; -1 if the day is not wanted."""
        at = np.asarray(times) // DAY - self._first
        inside = (at >= 0) & (at < len(self._table))
        return np.where(inside, self._table[np.where(inside, at, 0)], -1).astype(np.int32)

    def bounds(self, times: npt.NDArray[np.int64], shift: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where each wanted day begins and ends in rising stamps."""
        starts = self.starts - shift
        return np.searchsorted(times, starts), np.searchsorted(times, starts + DAY)

    def positions(self, times: npt.NDArray[np.int64], shift: int) -> npt.NDArray[np.int64]:
        """The positions of the wanted days that rising stamps fall on."""
        begins, ends = self.bounds(times, shift)
        return np.flatnonzero(ends > begins)

    def wanted(self, series: Series) -> Series:
        """The part of a series that falls on wanted days."""
        start = self._first * DAY - series.shift
        low, high = np.searchsorted(series.times, [start, start + len(self._table) * DAY])
        part = slice(int(low), int(high))
        times, values, levels = series.times[part], series.values[part], series.levels[part]
        if 2 * len(times) < len(series.times):  # a slice would keep the whole file in memory
            times, values, levels = times.copy(), values.copy(), levels.copy()
        if self._gapless:
            return replace(series, times=times, values=values, levels=levels)
        keep = self.lookup(times + series.shift) >= 0
        return replace(series, times=times[keep], values=values[keep], levels=levels[keep])

    def no_days(self) -> npt.NDArray[np.bool_]:
        """One False a day."""
        return np.zeros(len(self.dates), dtype=bool)

    def all_days(self) -> npt.NDArray[np.bool_]:
        """One True a day."""
        return np.ones(len(self.dates), dtype=bool)


class DayStore:
    """Collects series station by station, gives tables day by day. A context manager: it owns a folder."""

    def __init__(
        self, index: DayIndex, stations: Sequence[str], metrics: Sequence[str], memory: int = MEMORY_BYTES
    ) -> None:
        self._index = index
        self._stations = {station: code for code, station in enumerate(stations)}
        self._metrics = {metric: code for code, metric in enumerate(metrics)}
        self._limit = max(memory // _ROW_BYTES, 1)
        self._waiting: list[tuple[int, Series]] = []
        self._rows = 0
        self._runs: list[_Run | _SpilledRun] = []
        self._scratch: Scratch | None = None

    def __enter__(self) -> DayStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runs.clear()
        if self._scratch is not None:
            self._scratch.close()

    def add(self, station: str, series: Sequence[Series]) -> None:
        """A station's series, sorted by metric; stations must come in the order given at the start."""
        for one in series:
            self._waiting.append((self._stations[station], one))
            self._rows += len(one.times)
        if self._rows >= self._limit:
            self._spill()

    def tables(self) -> DayTables:
        """All days, once every station is in."""
        if self._waiting:
            if self._runs:
                self._spill()
            else:
                self._runs.append(self._sorted_run())
        return DayTables(self._runs)

    def _spill(self) -> None:
        self._scratch = self._scratch or Scratch("dwd")
        path = self._scratch.folder / f"{len(self._runs)}.arrow"
        self._runs.append(_SpilledRun(path, self._sorted_run()))

    def _sorted_run(self) -> _Run:
        run = _Run(self._index, self._waiting, self._stations, self._metrics)
        self._waiting, self._rows = [], 0
        return run


class DayTables:
    """Days by position."""

    def __init__(self, runs: Sequence[_Run | _SpilledRun]) -> None:
        self._runs = runs

    def day(self, position: int) -> pa.Table:
        """The day's table: schema `RAW_WITH_SOURCE_QUALITY`, sorted by station, metric and time."""
        parts = (run.day(position) for run in self._runs)
        return pa.Table.from_batches([part for part in parts if part.num_rows] or [_EMPTY], RAW_WITH_SOURCE_QUALITY)


class _Run:
    """Series by day, and within a day in the order they came: station, metric, time.

    Days are cut in blocks of some hundred thousand rows: one slice a series, joined, and one gather that puts day
    before station. A day is then a slice of its block, so what a day costs does not grow with the number of series.
    """

    def __init__(
        self,
        index: DayIndex,
        waiting: list[tuple[int, Series]],
        stations: dict[str, int],
        metrics: dict[str, int],
    ) -> None:
        self._series = [s for _, s in waiting]
        self._stations = np.array([code for code, _ in waiting], dtype=np.int32)
        self._metrics = np.array([metrics[s.metric] for _, s in waiting], dtype=np.int32)
        self._names = (pa.array(list(stations), pa.string()), pa.array(list(metrics), pa.string()))
        self._intervals = np.array([s.interval for s in self._series], dtype=np.int32).reshape(-1, 2)
        bounds = [index.bounds(s.times, s.shift) for s in self._series]
        self._begins = np.array([begin for begin, _ in bounds], dtype=np.int32).T
        self._ends = np.array([end for _, end in bounds], dtype=np.int32).T
        rows = (self._ends - self._begins).sum(axis=1, dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(rows)])
        self._block, self._days = _EMPTY, range(0)

    def day(self, position: int) -> pa.RecordBatch:
        """The day's rows; a day without any has the run's dictionaries too, as a file of batches needs it."""
        start, stop = self._starts[position : position + 2]
        if position not in self._days:
            end = int(np.searchsorted(self._starts, start + _BLOCK_ROWS, side="right")) - 1
            self._days = range(position, max(end, position + 1))
            self._block = self._cut(self._days)
        return self._block.slice(start - self._starts[self._days.start], stop - start)

    def _cut(self, days: range) -> pa.RecordBatch:
        """The rows of some days below one another."""
        begins, ends = self._begins[days.start : days.stop], self._ends[days.start : days.stop]
        parts = [
            (series, slice(begin, end))
            for series, begin, end in zip(self._series, begins[0].tolist(), ends[-1].tolist(), strict=True)
        ]
        counts = ends - begins
        lengths = counts.ravel()
        rows = self._gather(begins, ends, counts) if len(days) > 1 else slice(None)
        values = np.concatenate([series.values[part] for series, part in parts])[rows]
        levels = np.concatenate([series.levels[part] for series, part in parts])[rows]
        times = np.concatenate([series.times[part] for series, part in parts])[rows]
        stations, metrics = (
            Tags(np.repeat(np.tile(codes, len(days)), lengths), names)
            for codes, names in zip((self._stations, self._metrics), self._names, strict=True)
        )
        interval = Interval(*(np.repeat(np.tile(part, len(days)), lengths) for part in self._intervals.T))
        level = pa.array(levels, mask=levels == NO_LEVEL)
        return raw_batch(times, stations, metrics, values, interval=interval, source_quality=level)

    @staticmethod
    def _gather(begins: _Bounds, ends: _Bounds, counts: _Bounds) -> npt.NDArray[np.int64]:
        """Where each row of the block, by day and series, lies in the series' slices joined."""
        joined = np.concatenate([[0], np.cumsum((ends[-1] - begins[0])[:-1], dtype=np.int64)])
        sources = (joined - begins[0] + begins).ravel()
        lengths = counts.ravel()
        targets = np.cumsum(lengths, dtype=np.int64) - lengths
        return np.repeat(sources - targets, lengths) + np.arange(counts.sum(dtype=np.int64))

    def __len__(self) -> int:
        return len(self._begins)


class _SpilledRun:
    def __init__(self, path: Path, run: _Run) -> None:
        with pa.ipc.new_file(str(path), RAW_WITH_SOURCE_QUALITY) as file:
            for position in range(len(run)):
                file.write_batch(run.day(position))
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))

    def day(self, position: int) -> pa.RecordBatch:
        return self._reader.get_batch(position)
