"""What there is of a connection's stations: the chosen ones of the list, and the years of each in the inventory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from weather_backfill.model.errors import ConfigurationError, NotFoundError
from weather_backfill.sources.file_cache import FileCache
from weather_backfill.sources.ghcnh.connection import GhcnhConnection
from weather_backfill.sources.ghcnh.stations import INVENTORY, LIST, Station, parse_inventory, parse_list
from weather_backfill.sources.remote import Remote

ROW_BYTES = 750
"""Of a row in a file; 660 to 850 in those that we have. The inventory says rows, no page says sizes."""
HEADER_BYTES = 9_748
_ONE_DAY = timedelta(days=1)
_LATE_YEARS = 1
"""The inventory may lag behind the files of so many years."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The chosen stations in order of their ids, with those of the list by id, and rows by station and year.

    `inventory` is None where the server has none: then any year may have a file.
    """

    stations: tuple[str, ...]
    listed: Mapping[str, Station]
    inventory: Mapping[str, Mapping[int, int]] | None = None
    not_listed: tuple[str, ...] = field(default=())

    def years(self, station: str, wanted: Iterable[int]) -> list[int]:
        """The wanted years of a station that may have a file, in order."""
        recent = datetime.now(UTC).year - _LATE_YEARS
        known = None if self.inventory is None else self.inventory.get(station, {})
        return sorted(y for y in set(wanted) if known is None or y in known or y >= recent)

    def promised(self, station: str, year: int) -> bool:
        """Whether the inventory says that the station has rows of the year."""
        return self.inventory is not None and self.inventory.get(station, {}).get(year, 0) > 0

    def size(self, station: str, year: int) -> int:
        """The bytes of a file, about; those of an hourly station where no inventory says its rows."""
        rows = (self.inventory or {}).get(station, {}).get(year)
        return HEADER_BYTES + ROW_BYTES * (8766 if rows is None else rows)


def years_of(dates: Iterable[date]) -> set[int]:
    """The years whose files hold rows of these days: the last values of a day can bear stamps of the next one."""
    return {day.year for each in dates for day in (each, each + _ONE_DAY)}


def path_of(station: str, year: int) -> str:
    """The path of a station's file of a year below the base URL."""
    return f"access/by-year/{year}/psv/{name_of(station, year)}"


def name_of(station: str, year: int) -> str:
    """The name of a station's file of a year."""
    return f"GHCNh_{station}_{year}.psv"


def read_catalogue(connection: GhcnhConnection, remote: Remote, files: FileCache) -> Catalogue:
    """Read list and inventory through the cache. Raises what the server answers, `SchemaError` for other files, and
    `ConfigurationError` where no station of the list is chosen.
    """
    listed = {s.id: s for s in parse_list(files.fetch(LIST).body, remote.url(LIST))}
    chosen = connection.stations
    if isinstance(chosen, tuple):
        stations, not_listed = chosen, tuple(id for id in chosen if id not in listed)
    else:
        stations, not_listed = tuple(s.id for s in listed.values() if chosen.holds(s)), ()
        if not stations:
            raise ConfigurationError(
                f"no station of {remote.url(LIST)} is in {chosen.model_dump()}: check country (the first two letters "
                "of GHCNh ids, FIPS 10-4), state or box."
            )
    try:
        body = files.fetch(INVENTORY).body
    except NotFoundError:
        return Catalogue(tuple(sorted(stations)), listed, None, not_listed)
    return Catalogue(
        tuple(sorted(stations)), listed, parse_inventory(body, stations, remote.url(INVENTORY)), not_listed
    )
