"""Stations come whole, days go out whole: this turns one into the other with bounded memory.

Series are collected until they fill the memory allowance, then sorted by day at once and kept as a *run*: in
memory if it is the only one, else in an Arrow file with one batch a day. Stations are added in order, so a
day is the concatenation of its slices of all runs, already sorted by station, metric and time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.schemas import MISSING, PASS, RAW, SOURCE_QUALITY
from weather_backfill.sources.dwd.stamps import DAY
from weather_backfill.sources.dwd.text import NO_LEVEL, Series

DAY_SCHEMA = pa.schema([*RAW, SOURCE_QUALITY])
MEMORY_BYTES = 256 << 20
_ROW_BYTES = 64  # a row while it is being sorted: its columns, their copy and the order


class DayIndex:
    """The wanted UTC days, sorted, and where a time (UTC microseconds) falls among them."""

    def __init__(self, dates: Sequence[date]) -> None:
        self.dates = sorted(set(dates))
        numbers = np.array([np.datetime64(d, "D").astype(np.int64) for d in self.dates], dtype=np.int64)
        self._first = int(numbers[0])
        self._starts = numbers * DAY
        self._gapless = int(numbers[-1] - numbers[0]) + 1 == len(numbers)
        self._table = np.full(int(numbers[-1]) - self._first + 1, -1, dtype=np.int32)
        self._table[numbers - self._first] = np.arange(len(numbers), dtype=np.int32)

    def lookup(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The position of each time's day; -1 if the day is not wanted."""
        at = np.asarray(times) // DAY - self._first
        inside = (at >= 0) & (at < len(self._table))
        return np.where(inside, self._table[np.where(inside, at, 0)], -1).astype(np.int32)

    def bounds(self, times: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where each wanted day begins and ends in rising times."""
        return np.searchsorted(times, self._starts), np.searchsorted(times, self._starts + DAY)

    def positions(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The positions of the wanted days that rising times fall on."""
        begins, ends = self.bounds(times)
        return np.flatnonzero(ends > begins)

    def wanted(self, series: Series) -> Series:
        """The part of a series that falls on wanted days."""
        start = self._first * DAY
        low, high = np.searchsorted(series.times, [start, start + len(self._table) * DAY])
        part = slice(int(low), int(high))
        times, values, levels = series.times[part], series.values[part], series.levels[part]
        if self._gapless:
            return Series(series.metric, times, values, levels)
        keep = self.lookup(times) >= 0
        return Series(series.metric, times[keep], values[keep], levels[keep])

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
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> DayStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runs.clear()
        if self._folder is not None:
            self._folder.cleanup()

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
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="weather-dwd-")
        path = Path(self._folder.name) / f"{len(self._runs)}.arrow"
        self._runs.append(_SpilledRun(path, self._sorted_run()))

    def _sorted_run(self) -> _Run:
        """All waiting rows by day, and within a day in the order they came: station, metric, time.

        Series are sorted already, so a day's part of each is one block: blocks are put in order, not rows.
        """
        sizes = np.array([len(s.times) for _, s in self._waiting], dtype=np.int64)
        bounds = [self._index.bounds(s.times) for _, s in self._waiting]
        begins, ends = np.array([b for b, _ in bounds]), np.array([e for _, e in bounds])
        source = (begins + (np.cumsum(sizes) - sizes)[:, None]).T.ravel()
        counts = (ends - begins).T.ravel()
        target = np.cumsum(counts) - counts
        order = np.repeat(source - target, counts) + np.arange(int(counts.sum()))
        days = len(self._index.dates)
        stations = np.tile(np.array([c for c, _ in self._waiting], dtype=np.int32), days)
        metrics = np.tile(np.array([self._metrics[s.metric] for _, s in self._waiting], dtype=np.int32), days)
        offsets = np.append(target[:: len(sizes)], len(order))
        batch = self._batch(order, np.repeat(stations, counts), np.repeat(metrics, counts))
        self._waiting, self._rows = [], 0
        return _Run(batch, offsets)

    def _batch(
        self, order: npt.NDArray[np.int64], stations: npt.NDArray[np.int32], metrics: npt.NDArray[np.int32]
    ) -> pa.RecordBatch:
        times = np.concatenate([s.times for _, s in self._waiting])[order]
        values = np.concatenate([s.values for _, s in self._waiting])[order]
        levels = np.concatenate([s.levels for _, s in self._waiting])[order]
        missing = np.isnan(values)
        quality = np.full(len(values), PASS, dtype=np.int8)
        quality[missing] = MISSING
        return pa.record_batch(
            [
                pa.array(times).view(DAY_SCHEMA.field("observed_at").type),
                _tags(stations, self._stations),
                _tags(metrics, self._metrics),
                pa.array(values, mask=missing),
                pa.array(quality),
                pa.array(levels, mask=levels == NO_LEVEL),
            ],
            schema=DAY_SCHEMA,
        )


class DayTables:
    """Days by position."""

    def __init__(self, runs: Sequence[_Run | _SpilledRun]) -> None:
        self._runs = runs

    def day(self, position: int) -> pa.Table:
        """The day's table: schema `DAY_SCHEMA`, sorted by station, metric and time."""
        return pa.Table.from_batches([run.day(position) for run in self._runs], DAY_SCHEMA)


class _Run:
    def __init__(self, batch: pa.RecordBatch, offsets: npt.NDArray[np.int64]) -> None:
        self._batch = batch
        self._offsets = offsets

    def day(self, position: int) -> pa.RecordBatch:
        start, end = int(self._offsets[position]), int(self._offsets[position + 1])
        return self._batch.slice(start, end - start)

    def __len__(self) -> int:
        return len(self._offsets) - 1


class _SpilledRun:
    def __init__(self, path: Path, run: _Run) -> None:
        with pa.ipc.new_file(str(path), DAY_SCHEMA) as file:
            for position in range(len(run)):
                file.write_batch(run.day(position))
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))

    def day(self, position: int) -> pa.RecordBatch:
        return self._reader.get_batch(position)


def _tags(codes: npt.NDArray[np.int32], names: dict[str, int]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(names), pa.string()))
