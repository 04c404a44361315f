"""A source over files whose keys hold their date, in a folder or bucket.

A subclass decodes one file; everything else is here: the files of a day, the rows of a UTC day out of them and of
those beside them (a local day is no UTC day, and a file may hold a month), the last of equal rows, rejects.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.model.days import Cadence, DayFailure, DayInventory, RawDay
from weather_backfill.model.intervals import in_day, shift_to_middle
from weather_backfill.model.partitions import days_between
from weather_backfill.sources.base import ClosingSource
from weather_backfill.sources.table import (
    BEFORE_FIRST_DAY,
    READING,
    Interval,
    Reject,
    Tags,
    latest_rows,
    raw_batch,
    reject_table,
)
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.util.day_stream import each_day

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FileRows:
    """A file's rows in the order of the file; times are UTC microseconds, NaN is missing. `facts` are counts.

    `interval` is what they stand for: one number for all, or a column each.
    """

    stations: npt.NDArray[np.object_]
    metrics: npt.NDArray[np.object_]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    rejects: list[Reject] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)
    interval: Interval = READING


class DailyFilesSource(ClosingSource, ABC):
    """A `Source` over one connection's files; listings are kept for its life, a run, and a day's files for
    the next day.

    `template` is a key below the folder with the date as in strftime; `*` and `?` match as in a shell.
    """

    def __init__(self, folder: ObjectStore, template: str, cadence: Cadence, expected: tuple[str, ...] = ()) -> None:
        self.folder, self._template, self._cadence, self._expected = folder, template, cadence, expected
        self._listing = lru_cache(maxsize=None)(folder.list)
        self._kept: dict[str, FileRows] = {}

    @abstractmethod
    def decode(self, key: str) -> FileRows:
        """Read one file; raises `UnreadableObjectError` or `SchemaError` for one whose rows cannot be known."""

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """The days from start to end (both included) that have a file: objects and bytes, from listings."""
        held = {day: self._files(day) for day in days_between(start, end)}
        return {day: DayInventory(len(files), sum(f.size for f in files)) for day, files in held.items() if files}

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Read days in order, one ahead of the consumer."""
        return each_day(dates, self._read)

    def _files(self, day: date) -> list[StoredObject]:
        pattern = day.strftime(self._template)
        below = re.split(r"[*?[]", pattern)[0].rpartition("/")[0]
        return [stored for stored in self._listing(below) if fnmatchcase(stored.key, pattern)]

    def _decoded(self, keys: Iterable[str]) -> dict[str, FileRows]:
        """The rows of a day's files, in the order given. They alone stay in memory, for the next day."""
        wanted = dict.fromkeys(keys)
        self._kept = {key: rows for key, rows in self._kept.items() if key in wanted}
        for key in wanted:
            if key not in self._kept:
                self._kept[key] = self.decode(key)
        return {key: self._kept[key] for key in wanted}

    def _read(self, day: date) -> RawDay:
        before, own, after = (self._files(day + n * _DAY) for n in (-1, 0, 1))
        first_told = {f.key for f in own} - {
            f.key for f in before
        }  # a month's file tells its bad rows on its first day
        files = self._decoded(dict.fromkeys(f.key for f in (*before, *own, *after)))
        told = [rows for key, rows in files.items() if key in first_told]
        start = int(np.datetime64(day, "us").astype("i8"))
        table, replaced = _rows_of(start, list(files.values()))
        facts = {"source_objects": len(own), "source_bytes": sum(f.size for f in own), "duplicates": replaced}
        rejects = [reject for rows in told for reject in rows.rejects]
        if not before:  # nobody reads that day
            rejects += [reject for file in own for reject in _before(start, file.key, files[file.key])]
        return RawDay(
            day,
            table,
            self._cadence,
            rejects=reject_table(rejects, key=lambda r: (r.source_object, r.observed_at or 0, r.reason, r.raw_text)),
            facts=facts | dict(sum((rows.facts for rows in told), Counter())),
            lineage={"source": f"{self.folder.url}/{self._template}"},
            expected_stations=self._expected,
        )


def _middles(rows: FileRows) -> npt.NDArray[np.int64]:
    return np.asarray(rows.times + shift_to_middle(*rows.interval))


def _before(start: int, key: str, rows: FileRows) -> list[Reject]:
    """The rows stamped in the day that starts at `start` whose interval belongs to the day before, as rejects."""
    early = (rows.times >= start) & (_middles(rows) < start)
    texts = {n: f"{rows.metrics[n]}={rows.values[n]:g}" for n in map(int, np.flatnonzero(early))}
    return [Reject(BEFORE_FIRST_DAY, key, text, rows.stations[n], int(rows.times[n])) for n, text in texts.items()]


def _rows_of(start: int, files: list[FileRows]) -> tuple[pa.Table, int]:
    """The rows of the UTC day that starts at `start`, of equal ones the last, and how many were replaced."""
    inside = [(rows, in_day(_middles(rows), start)) for rows in files]
    station = Tags.of([name for rows, here in inside for name in rows.stations[here]])
    metric = Tags.of([name for rows, here in inside for name in rows.metrics[here]])
    times = np.concatenate([np.empty(0, "i8"), *(rows.times[here] for rows, here in inside)])
    values = np.concatenate([np.empty(0, "f8"), *(rows.values[here] for rows, here in inside)])
    lengths, offsets = (
        np.concatenate(
            [np.empty(0, "i4"), *(np.broadcast_to(rows.interval[n], len(here))[here] for rows, here in inside)]
        )
        for n in (0, 1)
    )
    latest = latest_rows(station.codes * np.int64(max(len(metric.names), 1)) + metric.codes, times, lengths)
    tags = [Tags(tag.codes[latest.order], tag.names) for tag in (station, metric)]
    interval = Interval(lengths[latest.order], offsets[latest.order])
    batch = raw_batch(latest.times, tags[0], tags[1], values[latest.order], interval=interval)
    return pa.Table.from_batches([batch]), len(latest.replaced)
