"""Stations come whole, days go out whole: this turns one into the other with bounded memory.

A station's rows are sorted by day, so a day is a slice of every station's. What goes beyond the allowance waits in an
Arrow file, with a batch a station and block of days, and is read block after block.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.sources.ghcnh.decode import NO_LEVEL
from weather_backfill.sources.ghcnh.elements import METRICS
from weather_backfill.sources.ghcnh.station_loader import StationDays
from weather_backfill.sources.table import RAW_WITH_SOURCE_QUALITY, Interval, Tags, raw_batch
from weather_backfill.util.scratch import Scratch

MEMORY_BYTES = 64 << 20
BLOCK_DAYS = 16
_WAITING = pa.schema([
    ("times", pa.int64()), ("metrics", pa.int8()), ("values", pa.float64()), ("flags", pa.int8()),
    ("levels", pa.int8()), ("seconds", pa.int32()), ("sources", pa.int16()), ("days", pa.int64()),
])  # fmt: skip
_NAMES = _WAITING.names[:-1]


class DayStore:
    """Collects stations in order, gives days by number (since 1970-01-01), which must be asked for in order too.

    A context manager: it owns a folder.
    """

    def __init__(self, dates: Sequence[date], stations: Sequence[str], memory: int = MEMORY_BYTES) -> None:
        self._stations = pa.array(stations, pa.string())
        self._codes = {station: code for code, station in enumerate(stations)}
        self._days = np.array([(day - date(1970, 1, 1)).days for day in dates], dtype=np.int64)
        self._memory, self._held = memory, 0
        self._batches: list[tuple[int, pa.RecordBatch]] = []
        self._scratch: Scratch | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._reader: pa.ipc.RecordBatchFileReader | None = None
        self._spilled: list[int] = []
        self._block, self._parts = -1, list[tuple[int, pa.RecordBatch]]()

    def __enter__(self) -> DayStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches, self._parts = [], []
        if self._writer is not None:
            self._writer.close()
        if self._scratch is not None:
            self._scratch.close()

    def add(self, station: StationDays) -> None:
        """A station's rows; stations must come in the order given at the start."""
        if not len(station.days):
            return
        columns = [np.asarray(getattr(station.rows, name)) for name in _NAMES]
        batch = pa.record_batch([pa.array(column) for column in (*columns, station.days)], schema=_WAITING)
        self._batches.append((self._codes[station.station], batch))
        self._held += batch.nbytes
        if self._held > self._memory:
            self._spill()

    def _spill(self) -> None:
        """Move what waits in memory to the file, cut into blocks of days."""
        if self._writer is None:
            self._scratch = Scratch("ghcnh")
            self._writer = pa.ipc.new_file(str(self._scratch.folder / "stations.arrow"), _WAITING)
        edges = self._days[::BLOCK_DAYS]
        for code, batch in self._batches:
            bounds = np.append(np.searchsorted(np.asarray(batch["days"]), edges), len(batch))
            for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                self._writer.write_batch(batch.slice(start, end - start))
            self._spilled.append(code)
        self._batches, self._held = [], 0

    def day(self, position: int) -> tuple[pa.Table, npt.NDArray[np.int16]]:
        """The day's table, schema `RAW_WITH_SOURCE_QUALITY`, sorted by station, metric, time and interval; and the
        source of each row, by number.
        """
        block = position // BLOCK_DAYS
        if block != self._block:
            self._block, self._parts = block, self._of_block(block)
        number = self._days[position]
        parts = []
        for code, batch in self._parts:
            start, end = np.searchsorted(np.asarray(batch["days"]), [number, number + 1])
            if end > start:
                parts.append((code, batch.slice(int(start), int(end - start))))
        return self._table(parts)

    def _of_block(self, block: int) -> list[tuple[int, pa.RecordBatch]]:
        """The batches of stations that have rows in a block of days, in order of stations."""
        if self._writer is None:
            return self._batches
        if self._reader is None:
            self._spill()
            assert self._scratch is not None
            self._writer.close()
            self._reader = pa.ipc.open_file(pa.OSFile(str(self._scratch.folder / "stations.arrow")))
        blocks = -(-len(self._days) // BLOCK_DAYS)
        found = [(code, self._reader.get_batch(at * blocks + block)) for at, code in enumerate(self._spilled)]
        return [(code, batch) for code, batch in found if len(batch)]

    def _table(self, parts: list[tuple[int, pa.RecordBatch]]) -> tuple[pa.Table, npt.NDArray[np.int16]]:
        if not parts:
            return RAW_WITH_SOURCE_QUALITY.empty_table(), np.zeros(0, np.int16)
        columns = [np.concatenate([np.asarray(batch[name]) for _, batch in parts]) for name in _NAMES]
        times, metrics, values, flags, levels, seconds, sources = columns
        codes = np.repeat(np.array([code for code, _ in parts], np.int32), [len(batch) for _, batch in parts])
        batch = raw_batch(
            times, Tags(codes, self._stations), Tags(metrics.astype(np.int32), pa.array(METRICS, pa.string())), values,
            interval=Interval(seconds), source_quality=pa.array(levels, mask=levels == NO_LEVEL),
        )  # fmt: skip
        position = batch.schema.get_field_index("quality")
        flags = np.where(np.isnan(values), np.asarray(batch["quality"]), flags).astype(np.int8)
        table = pa.Table.from_batches([batch])
        return table.set_column(position, table.schema.field("quality"), pa.array(flags)), sources
