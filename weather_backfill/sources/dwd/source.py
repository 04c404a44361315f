"""DWD's open data as a source: station files in, days out.

A station's file holds years, a partition holds a day. So a range is read file by file: each needed file once,
parsed once, merged with the station's other periods (the more final row wins) and cut into days in one pass.
A file that cannot be read fails its station's days: those days are yielded with the other stations' rows and
`lacks` saying whose rows are unknown; a day with no rows at all because of it is a `DayFailure`.

So it is with what ought to be listed and is not (`expected.py`): an outage is not "no data".

DWD's stamps are kept as they are, in UTC. What a value stands for follows from its product (`products.Interval`):
`facts["intervals"]` says it with the evidence, and what is assumed. A value belongs to the day of its interval's
middle, so a day's last values bear the stamp of the next day's midnight and can lie in the next file.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.model.days import Cadence, DayFailure, DayInventory, RawDay
from weather_backfill.model.errors import NotFoundError, SourceUnavailableError, WeatherError
from weather_backfill.model.expectation import Lack, words
from weather_backfill.model.schemas import REJECTS
from weather_backfill.sources.base import ClosingSource
from weather_backfill.sources.dwd.connection import METRICS_MADE, DwdConnection
from weather_backfill.sources.dwd.day_store import MEMORY_BYTES, DayIndex, DayStore, DayTables
from weather_backfill.sources.dwd.directory_index import DirectoryEntry
from weather_backfill.sources.dwd.expected import Expectation, missing_folders
from weather_backfill.sources.dwd.file_index import RECENT_DAYS, FileIndex, StationFile, find_files, read_metadata
from weather_backfill.sources.dwd.history import station_history
from weather_backfill.sources.dwd.metadata import StationMetadata
from weather_backfill.sources.dwd.products import Period, Product
from weather_backfill.sources.dwd.remote import Remote
from weather_backfill.sources.dwd.restatements import find_suspects
from weather_backfill.sources.dwd.station_loader import Bodies, Contribution, StationLoad, bodies_of, load_station
from weather_backfill.sources.dwd.timestamps import DAY
from weather_backfill.sources.dwd.zip_file import open_archive, require_zip
from weather_backfill.sources.file_cache import Download, FileCache
from weather_backfill.sources.restatements import HeldFiles, Restated
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util.day_stream import pool_ahead

OUTAGE_AFTER = 5  # stations in a row that the server does not answer for: it is down, asking on is no use
PARSERS = min(os.cpu_count() or 1, 4)  # stations parsed at a time: each holds the text of a file, up to 100 MB
CLOSED_AFTER = timedelta(days=30)  # a station that has been silent for longer is taken for a closed one
_BYTES_AHEAD = 64 << 20  # of zips, as listed: what is read ahead of the reader, unless one station alone is larger
_FAILURES_NAMED = 20


@dataclass
class _Range:
    """What is known of a range once all its stations are read."""

    index: DayIndex
    catalogue: FileIndex
    products: Sequence[Product]
    contributions: list[Contribution] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    lacks: list[list[Lack]] = field(default_factory=list)
    expectation: Expectation | None = None
    errors: dict[int, Exception] = field(default_factory=dict)
    rejects: list[list[pa.Table]] = field(default_factory=list)
    unknown_columns: set[str] = field(default_factory=set)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    lineages: dict[bytes, str] = field(default_factory=dict)

    @cached_property
    def given(self) -> npt.NDArray[np.bool_]:
        """Which contributions a day has: a row a day, a column a contribution, once all are in."""
        flags = [c.days for c in self.contributions]
        return np.array(flags, dtype=bool).reshape(len(flags), len(self.index.dates)).T.copy()

    def sources(self, position: int) -> tuple[list[Contribution], str]:
        """The files that gave rows to a day, and their names and digests as JSON, which most days share."""
        given = self.given[position]
        sources = [self.contributions[at] for at in np.flatnonzero(given)]
        which = given.tobytes()
        if which not in self.lineages:
            self.lineages[which] = json.dumps({c.name: c.digest[:12] for c in sources}, sort_keys=True)
        return sources, self.lineages[which]

    def expected(self, position: int) -> tuple[str, ...]:
        """The stations of which a day should have rows: their files hold rows of earlier and later days, or earlier
        ones of which the last is not older than `CLOSED_AFTER`. No file says when a station was closed.
        """
        start = self.index.starts[position]
        reach = start - CLOSED_AFTER // timedelta(microseconds=1)
        return tuple(s for s, (first, last) in self.spans.items() if first < start + DAY and last >= reach)

    def begun(self, position: int) -> bool:
        """Whether the files of all stations hold rows of the day or of earlier ones: what lies after these is no
        matter of a missing history.
        """
        end = self.index.starts[position] + DAY
        return all(s in self.spans and self.spans[s][0] < end for s in self.catalogue.stations)

    def take(self, load: StationLoad) -> None:
        """Note what a station's files gave and what they failed to give."""
        self.contributions += load.contributions
        self.unknown_columns |= load.unknown_columns
        if load.span is not None:
            self.spans[load.station] = load.span
        for position, table in load.rejects:
            self.rejects[position].append(table)
        for failure in load.failures:
            for position in map(int, failure.days.nonzero()[0]):
                reason = f"{failure.name}: {failure.error}"
                known = self.failed[position].get(load.station)
                self.failed[position][load.station] = f"{known}; {reason}" if known else reason
                self.lacks[position].append(Lack(load.station, part=failure.product, cause=reason))
                self.errors.setdefault(position, failure.error)


class DwdSource(ClosingSource):
    """One connection's stations and products, opened; `cache` keeps downloaded files between runs."""

    def __init__(
        self,
        connection: DwdConnection,
        cache: ObjectStore | None = None,
        *,
        remote: Remote | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._connection = connection
        self._remote = remote or connection.remote()
        self._files = FileCache(cache, self._remote, "dwd")
        self._memory = memory_bytes
        self._products = connection.opened_products()
        self._metrics = sorted({c.metric for p in self._products for c in p.columns.values()} | METRICS_MADE)
        self.cadence = Cadence(max(p.cadence for p in self._products))

    def close(self) -> None:
        """Close the server's client."""
        self._remote.close()

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """The days from start to end that files may hold, by the names and times in the directory pages.

        History says its days in its name. `recent` and `now` do not, so every day up to the file's own date
        counts: a day counted too many comes out empty, a day counted too few would never be filled.
        """
        catalogue = find_files(self._connection, self._remote, start, end)
        counts: dict[date, tuple[int, int]] = {}
        today = datetime.now(UTC).date()
        for item in (f for files in catalogue.stations.values() for f in files):
            modified = item.entry.modified.date() if item.entry.modified else today
            first = max(item.file.start or start, start)
            last = min(item.file.end or min(modified, today), end)
            span = max((last - first).days + 1, 0)
            for offset in range(span):
                day = first + timedelta(days=offset)
                objects, size = counts.get(day, (0, 0))
                counts[day] = (objects + 1, size + (item.entry.size or 0) // span)
        return {day: DayInventory(n, size, requests=n) for day, (n, size) in sorted(counts.items())}

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Each wanted UTC day in order; every station file is fetched and parsed once for all of them.

        Memory holds the files of a few stations and an allowance of rows; what goes beyond waits on disk.
        """
        if not dates:
            return
        index = DayIndex(dates)
        with ExitStack() as stack:
            try:
                known, tables = self._read(index, stack)
                known.expectation = Expectation(known.catalogue, self._remote)
            except WeatherError as error:
                yield from (DayFailure(day, error) for day in index.dates)
                return
            for position in range(len(index.dates)):
                yield self._day(position, tables, known)

    def restated(self, held: HeldFiles, read: Callable[[date], pa.Table]) -> Restated:
        """Compare the days that are held with what the upstream holds now; see `restated.py`."""
        if not held:
            return Restated()
        catalogue = find_files(self._connection, self._remote, min(held), max(held))
        suspects = find_suspects(catalogue, held, self._digest, self._connection.parallel_downloads)
        report = suspects.report
        if not suspects.days:
            return report
        index = DayIndex(sorted(suspects.days))
        with ExitStack() as stack:
            known, tables = self._read(index, stack, suspects.catalogue)
            first_times = {station: first for station, (first, _) in known.spans.items()}
            for position, day in enumerate(index.dates):
                skipped = known.failed[position]
                report.problems |= skipped
                stations = suspects.days[day] - skipped.keys()
                report.note(day, read(day), tables.day(position), stations, first_times)
        return report

    def _digest(self, item: StationFile) -> str:
        return self._files.digest(item.path, lambda body: require_zip(body, item.path))

    def _read(self, index: DayIndex, stack: ExitStack, catalogue: FileIndex | None = None) -> tuple[_Range, DayTables]:
        """Read all files of the range; raises if the server does not list or answer."""
        catalogue = catalogue or find_files(self._connection, self._remote, index.dates[0], index.dates[-1])
        known = _Range(
            index, catalogue, self._products, failed=[{} for _ in index.dates], lacks=[[] for _ in index.dates],
            rejects=[[] for _ in index.dates],
        )  # fmt: skip
        store = stack.enter_context(DayStore(index, list(catalogue.stations), self._metrics, self._memory))
        for load in self._loads(known):
            store.add(load.station, load.series)
            known.take(load)
        return known, store.tables()

    def station_history(self) -> tuple[pa.Table, dict[str, str]]:
        """The type-2 table of `history.py` for the connection's stations, and why a station is not in it."""
        today = datetime.now(UTC).date()
        catalogue = find_files(self._connection, self._remote, date(1700, 1, 1), today)
        found: list[tuple[str, StationMetadata]] = []
        failed: dict[str, str] = {}
        listed = cache(self._remote.folder)
        for station, files in catalogue.stations.items():
            newest = [max(g, key=lambda f: (f.file.period is Period.RECENT, f.path)) for g in _by_product(files)]
            try:
                found += [(station, self._metadata(item, listed)) for item in newest]
            except WeatherError as error:
                failed[station] = str(error)
        return station_history(found), failed

    def _metadata(self, item: StationFile, listed: Callable[[str], list[DirectoryEntry]]) -> StationMetadata:
        if item.product.resolution == "hourly":
            return open_archive(self._fetch(item).body, item.path).metadata
        return read_metadata(self._remote, item.product, item.file.station, listed)

    def _fetch(self, item: StationFile) -> Download:
        return self._files.fetch(item.path, lambda body: require_zip(body, item.path))

    def _loads(self, known: _Range) -> Iterator[StationLoad]:
        """Stations in order; raises where one after the other gets no answer."""
        silent = 0
        for load, problem in self._ahead(known):
            silent = silent + 1 if problem else 0
            if silent >= OUTAGE_AFTER:
                raise SourceUnavailableError(
                    f"{self._remote.url('')} did not answer for {silent} stations in a row, last "
                    f"{load.station}: {problem} The server is down or unreachable; try again later."
                )
            yield load

    def _ahead(self, known: _Range) -> Iterator[tuple[StationLoad, Exception | None]]:
        """Stations in order, while the next few are being downloaded and parsed: as many as their bytes allow."""
        workers = self._connection.parallel_downloads
        parsing = BoundedSemaphore(PARSERS)
        ahead: deque[tuple[Future[tuple[StationLoad, Exception | None]], int]] = deque()
        with pool_ahead(workers, "dwd", self._remote.close) as pool:
            for station, files in known.catalogue.stations.items():
                size = sum(item.entry.size or 0 for item in files)
                while ahead and (len(ahead) > workers or size + sum(s for _, s in ahead) > _BYTES_AHEAD):
                    yield ahead.popleft()[0].result()
                ahead.append((pool.submit(self._load, station, files, known.index, parsing), size))
            while ahead:
                yield ahead.popleft()[0].result()

    def _load(
        self, station: str, files: list[StationFile], index: DayIndex, parsing: BoundedSemaphore
    ) -> tuple[StationLoad, Exception | None]:
        """A station read, and the problem if the server did not answer for any of its files."""
        bodies = bodies_of(files, self._fetch)
        with parsing:
            load = load_station(station, files, bodies, index)
        return load, _unanswered(bodies)

    def _day(self, position: int, tables: DayTables, known: _Range) -> RawDay | DayFailure:
        day, failed = known.index.dates[position], known.failed[position]
        table = tables.day(position)
        today = datetime.now(UTC).date()
        empty = table.num_rows == 0 and not known.begun(position)
        gone = missing_folders(known.catalogue, day, today - day < RECENT_DAYS, empty)
        gone += known.expectation.lacks(day) if known.expectation else []
        lacks = (*known.lacks[position], *gone)
        if table.num_rows == 0 and lacks:
            return DayFailure(
                day, known.errors.get(position) or NotFoundError(f"{words(lacks)}: it may be being refilled.")
            )
        sources, source_objects = known.sources(position)
        rejects = pa.concat_tables([REJECTS.empty_table(), *known.rejects[position]])
        return RawDay(
            date=day,
            table=table,
            cadence=self.cadence,
            rejects=rejects,
            facts=_facts(table, sources, known, failed),
            lineage={"source_objects": source_objects},
            lacks=lacks,
            expected_stations=known.expected(position),
            expected_metrics=self._expected_metrics(lacks),
        )

    def _expected_metrics(self, lacks: Sequence[Lack]) -> dict[str, frozenset[str]]:
        """The metrics of the products whose files a station lacks: they cover nothing, and count."""
        metrics = {p.name: frozenset(c.metric for c in p.columns.values()) for p in self._products}
        expected: dict[str, frozenset[str]] = {}
        for lack in lacks:
            if lack.station and lack.part in metrics:
                expected[lack.station] = expected.get(lack.station, frozenset()) | metrics[lack.part]
        return expected


def _facts(table: pa.Table, sources: list[Contribution], known: _Range, failed: dict[str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "source_objects": len(sources),
        "source_bytes": sum(c.size for c in sources),
        "stations": _distinct(table),
        "intervals": {f"{p.resolution}/{p.name}": str(p.interval) for p in known.products},
    }
    optional = {
        "failed_stations": dict(sorted(failed.items())),
        "unknown_columns": sorted(known.unknown_columns),
        "missing_folders": known.catalogue.missing_folders,
        "stations_without_files": known.catalogue.without_files,
        "unreadable_station_lines": known.catalogue.unreadable_lines[:_FAILURES_NAMED],
        "superseded_files": known.catalogue.superseded[:_FAILURES_NAMED],
    }
    return facts | {name: value for name, value in optional.items() if value}


def _distinct(table: pa.Table) -> int:
    return len(table["station_id"].unique()) if table.num_rows else 0


def _unanswered(bodies: Bodies) -> Exception | None:
    problems = [b for b in bodies if isinstance(b, WeatherError) and b.retryable]
    return problems[-1] if problems and len(problems) == len(bodies) else None


def _by_product(files: list[StationFile]) -> list[list[StationFile]]:
    return [[f for f in files if f.rank == rank] for rank in sorted({f.rank for f in files})]
