"""GHCNh as a source: station files of a year in, days out.

A station's file holds a year, a partition holds a day. So a range is read station by station: each file once, parsed
once, and cut into days in one pass. A file that cannot be read costs its station's days: those days come with the
other stations' rows, `incomplete` saying whose rows are unknown. A file that has lost a month is refused for it
(`lost_months.py`).

`lineage["source_objects"]` names for each station the file of the day's year with a digest of the rows it holds of the
day: a file that is rewritten every day changes nothing where its rows of a day are the same.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from weather_backfill.model.days import Cadence, DayFailure, DayInventory, RawDay
from weather_backfill.model.errors import NotFoundError, SourceUnavailableError, WeatherError
from weather_backfill.model.expectation import Lack, words
from weather_backfill.model.intervals import DAY_US
from weather_backfill.model.partitions import days_between
from weather_backfill.model.schemas import STATION_HISTORY
from weather_backfill.sources.base import ClosingSource
from weather_backfill.sources.file_cache import Download, FileCache
from weather_backfill.sources.ghcnh.catalogue import Catalogue, name_of, path_of, read_catalogue, years_of
from weather_backfill.sources.ghcnh.connection import GhcnhConnection
from weather_backfill.sources.ghcnh.day_store import MEMORY_BYTES, DayStore
from weather_backfill.sources.ghcnh.decode import Decoded, decode
from weather_backfill.sources.ghcnh.elements import HOUR, SPORADIC
from weather_backfill.sources.ghcnh.lost_months import lost_months
from weather_backfill.sources.ghcnh.psv import check_psv, read_psv
from weather_backfill.sources.ghcnh.station_loader import StationDays, StationFile, load_station
from weather_backfill.sources.ghcnh.stations import history_rows
from weather_backfill.sources.remote import Remote
from weather_backfill.sources.restatements import HeldFiles, Restated
from weather_backfill.sources.table import Reject, reject_table
from weather_backfill.util.day_stream import pool_ahead

OUTAGE_AFTER = 5  # stations in a row that the server does not answer for: it is down, asking on is no use
CLOSED_AFTER = timedelta(days=30)  # a station that has been silent for longer is taken for a closed one
_NAMED = 20
_BYTES_AHEAD = 32 << 20
_EPOCH = date(1970, 1, 1)
_ALWAYS = -(1 << 53)  # no stamp is older: nothing expires here


@dataclass(slots=True)
class _Load:
    """A station's rows, and why those of some days are unknown; `unanswered` if the server said nothing of any file."""

    days: StationDays
    failed: dict[date, str] = field(default_factory=dict)
    lost: dict[date, str] = field(default_factory=dict)
    error: WeatherError | None = None
    unanswered: bool = False
    without_files: bool = False


@dataclass(slots=True)
class _Station:
    """What is kept of a station once its rows are in the store."""

    digests: dict[int, str]
    cadences: dict[int, Any]
    spans: dict[int, tuple[int, int]]
    facts: dict[int, Counter[str]]
    sizes: dict[int, int]
    year_facts: dict[int, Counter[str]]


@dataclass(slots=True)
class _Range:
    """What is known of a range once all its stations are read."""

    dates: Sequence[date]
    catalogue: Catalogue
    stations: dict[str, _Station] = field(default_factory=dict)
    failed: dict[date, dict[str, str]] = field(default_factory=dict)
    lost: dict[date, dict[str, str]] = field(default_factory=dict)
    rejects: dict[int, list[Reject]] = field(default_factory=dict)
    unknown_columns: set[str] = field(default_factory=set)
    without_files: list[str] = field(default_factory=list)
    error: WeatherError | None = None

    def take(self, load: _Load) -> None:
        """Note what a station's files gave and what they failed to give."""
        days, station = load.days, load.days.station
        self.stations[station] = _Station(
            days.digests, days.cadences, days.spans, days.facts, days.sizes, days.year_facts
        )  # fmt: skip
        for number, found in days.rejects.items():
            self.rejects.setdefault(number, []).extend(found)
        for day, why in load.failed.items():
            self.failed.setdefault(day, {})[station] = why
        for day, why in load.lost.items():
            self.lost.setdefault(day, {})[station] = why
        self.unknown_columns |= days.unknown_columns
        self.error = self.error or load.error
        if load.without_files:
            self.without_files.append(station)

    def cadence(self, day: date) -> Cadence:
        """The cadence of each station that has a file of the day's year."""
        own = {name: s.cadences[day.year] for name, s in self.stations.items() if day.year in s.cadences}
        return Cadence(HOUR, by_station=own, sporadic=frozenset(SPORADIC))

    def expected(self, day: date) -> tuple[str, ...]:
        """The stations of which a day should have rows: their files of its year hold rows of before and of after it, or
        of before it and not longer ago than `CLOSED_AFTER`. So a day is judged alike in any range.
        """
        start = (day - _EPOCH).days * DAY_US
        reach = start - CLOSED_AFTER // timedelta(microseconds=1)
        spans = {name: s.spans[day.year] for name, s in self.stations.items() if day.year in s.spans}
        return tuple(name for name, (first, last) in spans.items() if first < start + DAY_US and last >= reach)


class GhcnhSource(ClosingSource):
    """One connection's stations, opened; `cache` keeps downloaded files between runs."""

    def __init__(
        self, connection: GhcnhConnection, remote: Remote, cache: Any = None, *, memory_bytes: int = MEMORY_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC), requests_per_minute: int | None = None,
    ) -> None:  # fmt: skip
        self._connection, self._remote, self._memory, self._clock = connection, remote, memory_bytes, clock
        self.requests_per_minute = requests_per_minute
        self._files = FileCache(cache, remote, "ghcnh", packed=True)

    @cached_property
    def _catalogue(self) -> Catalogue:
        return read_catalogue(self._connection, self._remote, self._files)

    def close(self) -> None:
        """Close the server's client."""
        self._remote.close()

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """The days from start to end that files may hold, by the years of the inventory, up to today.

        A file begins and ends within its year where it likes, so every day of the year counts: a day counted too many
        comes out empty, a day counted too few would never be filled. Bytes are shares of whole files; `cost` says what
        some days take together.
        """
        counts: dict[date, tuple[int, int]] = {}
        catalogue, last = self._catalogue, min(end, self._clock().date())
        for year in range(start.year, last.year + 1):
            days = days_between(max(start, date(year, 1, 1)), min(last, date(year, 12, 31)))
            sizes = [catalogue.size(s, year) for s in catalogue.stations if catalogue.years(s, [year])]
            if sizes:
                counts |= dict.fromkeys(days, (len(sizes), sum(sizes) // 365))
        return {day: DayInventory(objects, size) for day, (objects, size) in counts.items()}

    def cost(self, chunks: Sequence[Sequence[date]]) -> DayInventory:
        """Files, bytes and requests of loading days in runs of these: a file is transferred once and asked for once a
        run, and every run asks for list and inventory.
        """
        catalogue, files, requests = self._catalogue, set[tuple[str, int]](), 0
        for days in chunks:
            years = years_of(days)
            found = {(station, year) for station in catalogue.stations for year in catalogue.years(station, years)}
            requests += 2 + len(found)
            files |= found
        return DayInventory(len(files), sum(catalogue.size(*file) for file in files), requests)

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Each wanted UTC day in order; every station file is fetched and parsed once for all of them."""
        if not dates:
            return
        wanted = sorted(set(dates))
        with ExitStack() as stack:
            try:
                known, store = self._read(wanted, stack)
            except WeatherError as error:
                yield from (DayFailure(day, error) for day in wanted)
                return
            for position in range(len(wanted)):
                yield self._day(position, store, known)

    def restated(self, held: HeldFiles, read: Callable[[date], pa.Table]) -> Restated:
        """Compare the days that are held with what the upstream holds now: by digests, then rows where those differ.

        Stations whose rows of a day are unknown or lost keep their rows, and are named in `problems`.
        """
        report = Restated()
        if not held:
            return report
        wanted = sorted(held)
        with ExitStack() as stack:
            known, store = self._read(wanted, stack)
            report.files = sum(len(station.sizes) for station in known.stations.values())
            for position, day in enumerate(wanted):
                unknown = {**known.failed.get(day, {}), **known.lost.get(day, {})}
                report.problems |= unknown
                digests = known_digests(known, day)
                changed = {
                    name for name in digests.keys() | held[day].keys() if digests.get(name) != held[day].get(name)
                }
                stations = {name.split("_")[1] for name in changed} - unknown.keys()
                if stations:
                    report.changed_files |= {name: digests.get(name, "") for name in sorted(changed)}
                    table, _ = store.day(position)
                    report.note(day, read(day), table, stations, dict.fromkeys(stations, _ALWAYS))
        return report

    def station_history(self) -> tuple[pa.Table, dict[str, str]]:
        """The listed position of each station as its only span, and why a station has none."""
        catalogue = self._catalogue
        listed = {id: catalogue.listed[id] for id in catalogue.stations if id in catalogue.listed}
        absent = dict.fromkeys(catalogue.not_listed, "the station list does not have it")
        return pa.Table.from_pylist(history_rows(listed), STATION_HISTORY), absent

    def _read(self, wanted: list[date], stack: ExitStack) -> tuple[_Range, DayStore]:
        """Read all files of the range; raises if the server does not answer or its list cannot be read."""
        known = _Range(wanted, self._catalogue)
        store = stack.enter_context(DayStore(wanted, self._catalogue.stations, self._memory))
        silent = 0
        for load in self._loads(wanted):
            silent = silent + 1 if load.unanswered else 0
            if silent >= OUTAGE_AFTER:
                raise SourceUnavailableError(
                    f"{self._remote.url('')} did not answer for {silent} stations in a row, last {load.days.station}: "
                    f"{load.error} The server is down or unreachable; try again later."
                )
            store.add(load.days)
            known.take(load)
        return known, store

    def _loads(self, wanted: list[date]) -> Iterator[_Load]:
        """Stations in order, while the next few are being downloaded and parsed: as many as their bytes allow."""
        catalogue, years = self._catalogue, years_of(wanted)
        numbers = np.array([(day - _EPOCH).days for day in wanted], dtype=np.int64)
        ahead: deque[tuple[Future[_Load], int]] = deque()
        with pool_ahead(self._connection.parallel_downloads, "ghcnh", self._remote.close) as pool:
            for station in catalogue.stations:
                of_station = catalogue.years(station, years)
                size = sum(catalogue.size(station, year) for year in of_station)
                while ahead and size + sum(waiting for _, waiting in ahead) > _BYTES_AHEAD:
                    yield ahead.popleft()[0].result()
                ahead.append((pool.submit(self._load, station, of_station, wanted, numbers), size))
                if len(ahead) > self._connection.parallel_downloads:
                    yield ahead.popleft()[0].result()
            while ahead:
                yield ahead.popleft()[0].result()

    def _load(self, station: str, years: list[int], wanted: list[date], numbers: Any) -> _Load:
        files: list[StationFile] = []
        failed: dict[date, str] = {}
        lost: dict[date, str] = {}
        problem: WeatherError | None = None
        for year in years:
            name = name_of(station, year)
            try:
                found = self._file(station, year)
            except NotFoundError as error:
                if not self._catalogue.promised(station, year):
                    continue
                failed |= _all_days(wanted, year, f"{name}: {error} The inventory has it: it may be being replaced.")
                problem = problem or error
                continue
            except WeatherError as error:
                failed |= _all_days(wanted, year, f"{name}: {error}")
                problem = error
                continue
            except Exception as error:  # a fault of ours must cost a station's days, not everybody's
                failed |= _all_days(wanted, year, f"{name}: {type(error).__name__}: {error}")
                continue
            file, months = found
            files.append(file)
            lost |= {day: months[f"{day:%Y-%m}"] for day in wanted if f"{day:%Y-%m}" in months}
        unanswered = problem is not None and problem.retryable and not files
        begins = {file.year for file in files if not self._catalogue.years(station, [file.year - 1])}
        return _Load(
            load_station(station, files, numbers, begins), failed, lost, problem, unanswered, not files and not failed
        )

    def _file(self, station: str, year: int) -> tuple[StationFile, dict[str, str]]:
        """A file, fetched and decoded, and why it is refused for a month, by month."""
        path, name = path_of(station, year), name_of(station, year)
        download = self._files.fetch(path, lambda body: check_psv(body, name))
        decoded = self._decoded(download, station, name)
        lost, note = lost_months(name, download.note, decoded.stamps, self._connection.accept_lost_months)
        if note != download.note:
            self._files.keep_note(path, note)
        return StationFile(name, year, len(download.body), decoded), lost

    def _decoded(self, download: Download, station: str, name: str) -> Decoded:
        now = int(self._clock().timestamp() * 1_000_000)
        psv = read_psv(download.body, name)
        return decode(psv, station, name, now, restricted=self._connection.resolution_40)

    def _day(self, position: int, store: DayStore, known: _Range) -> RawDay | DayFailure:
        day = known.dates[position]
        table, sources = store.day(position)
        failed, lost = known.failed.get(day, {}), known.lost.get(day, {})
        if table.num_rows == 0 and failed:
            lacks = [Lack(station, cause=cause) for station, cause in failed.items()]
            return DayFailure(day, known.error or NotFoundError(words(lacks)))
        number = (day - _EPOCH).days
        rejects = known.rejects.get(number, [])
        return RawDay(
            date=day,
            table=table,
            cadence=known.cadence(day),
            rejects=reject_table(rejects, lambda r: (r.source_object, r.observed_at or 0, r.reason, r.raw_text)),
            facts=_facts(day, table, sources, known),
            lineage={"source_objects": json.dumps(known_digests(known, day), sort_keys=True)},
            expected_stations=known.expected(day),
            lacks=tuple(Lack(station, cause=cause) for station, cause in sorted({**failed, **lost}.items())),
        )


def known_digests(known: _Range, day: date) -> dict[str, str]:
    """By file of the day's year the digest of the rows it holds of the day."""
    number = (day - _EPOCH).days
    return {name_of(id, day.year): s.digests[number] for id, s in known.stations.items() if number in s.digests}


def _facts(day: date, table: pa.Table, sources: Any, known: _Range) -> dict[str, Any]:
    number = (day - _EPOCH).days
    with_rows = [station for station in known.stations.values() if number in station.digests]
    numbers, counts = np.unique(sources, return_counts=True)
    facts: dict[str, Any] = {
        "source_objects": len(with_rows),
        "source_bytes": sum(station.sizes.get(day.year, 0) for station in with_rows) // 365,
        "stations": len(with_rows),
        "values_by_source": {str(n): int(c) for n, c in zip(numbers.tolist(), counts.tolist(), strict=True)},
        **sum((s.facts.get(number, Counter()) for s in known.stations.values()), Counter()),
    }
    optional = {
        "of_the_year": dict(sum((s.year_facts.get(day.year, Counter()) for s in with_rows), Counter[str]())),
        "unknown_columns": sorted(known.unknown_columns)[:_NAMED],
        "failed_stations": dict(sorted(known.failed.get(day, {}).items())),
        "lost_months": dict(sorted(known.lost.get(day, {}).items())),
        "stations_without_files": known.without_files[:_NAMED],
        "stations_not_listed": list(known.catalogue.not_listed)[:_NAMED],
    }
    return facts | {name: value for name, value in optional.items() if value}


def _all_days(wanted: Sequence[date], year: int, why: str) -> dict[date, str]:
    """The wanted days whose rows a file of a year may hold: also the last day before it."""
    return {day: why for day in wanted if date(year, 1, 1) - timedelta(days=1) <= day <= date(year, 12, 31)}
