"""Which held days the upstream has restated: cheap evidence first, then rows.

A day's file in the lake names the station files its rows came from, with their digests. A station whose files
are all still those needs no look at its rows, and asking costs one conditional request a file. `recent` files
are replaced every day, so a new digest proves nothing yet: the station is read once and its rows compared with
the lake's, day by day.

What is no restatement: rows that expired at the head of the rolling window, and a station whose files are all
gone (closed, or renamed). Their rows stay in the lake.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta

from weather_backfill.model.errors import WeatherError
from weather_backfill.sources.dwd.file_index import FileIndex, StationFile
from weather_backfill.sources.dwd.products import Period
from weather_backfill.sources.restatements import HeldFiles, Restated

WINDOW = timedelta(days=731)
"""No `recent` file reaches back further: they hold about 550 days."""


@dataclass(slots=True)
class Suspects:
    """The stations to be read (`catalogue`), and for which days each is compared (`days`)."""

    catalogue: FileIndex
    days: dict[date, set[str]]
    report: Restated


def find_suspects(
    catalogue: FileIndex, held: HeldFiles, digest: Callable[[StationFile], str], workers: int
) -> Suspects:
    """The stations and days whose evidence is not the upstream's any more."""
    files = [item for found in catalogue.stations.values() for item in found]
    report = Restated(files=len(files))
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="dwd") as pool:
        for item, found in zip(files, pool.map(lambda item: _attempt(item, digest), files), strict=True):
            if isinstance(found, WeatherError):
                report.problems[item.file.station] = f"{item.file.name}: {found}"
            else:
                digests[item.path] = found[:12]
    evidence = _Evidence(held)
    days: dict[date, set[str]] = {}
    for station, items in catalogue.stations.items():
        if station in report.problems:
            continue
        for item in items:
            if not evidence.only_version(item, digests[item.path]):
                report.changed_files[item.file.name] = digests[item.path]
            for day in evidence.doubtful_days(item, digests[item.path]):
                days.setdefault(day, set()).add(station)
    wanted = set().union(*days.values()) if days else set()
    remaining = {station: items for station, items in catalogue.stations.items() if station in wanted}
    return Suspects(FileIndex(remaining, catalogue.missing_folders, catalogue.without_files), days, report)


class _Evidence:
    """What the held days' lineage says about a file."""

    def __init__(self, held: HeldFiles) -> None:
        self._held = held
        self._rolling_since = max(held) - WINDOW
        self._versions: dict[str, set[str]] = {}
        for names in held.values():
            for name, digest in names.items():
                self._versions.setdefault(name, set()).add(digest)

    def only_version(self, item: StationFile, digest: str) -> bool:
        """Whether every row in the lake that came from this file came from this version of it."""
        return self._versions.get(item.file.name) == {digest}

    def doubtful_days(self, item: StationFile, digest: str) -> list[date]:
        """The held days whose rows this version may change."""
        return [day for day, names in self._held.items() if item.may_hold(day, day) and self._doubt(item, digest, day)]

    def _doubt(self, item: StationFile, digest: str, day: date) -> bool:
        names = self._held[day]
        known = names.get(item.file.name)
        if known is not None:
            return known != digest
        if item.file.period is not Period.HISTORICAL and day < self._rolling_since:
            return False  # before the window: it had no rows then, and it only rolls on
        # The file gave this day no rows. The version that gave them to other days would have, unless the day was
        # read before: a day that has nothing of the station is looked at again.
        if self.only_version(item, digest):
            return not any(f"_{item.file.station}_" in name for name in names)
        return True


def _attempt(item: StationFile, digest: Callable[[StationFile], str]) -> str | WeatherError:
    try:
        return digest(item)
    except WeatherError as error:
        return error
