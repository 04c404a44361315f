"""Which files of which stations a range of days needs, learned from directory pages and station lists."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from weather_backfill.model.errors import NotFoundError, SchemaError
from weather_backfill.sources.dwd.connection import DwdConnection, InBox, InState
from weather_backfill.sources.dwd.directory_index import DirectoryEntry, StationList, parse_station_list
from weather_backfill.sources.dwd.history_versions import newest_first, superseded
from weather_backfill.sources.dwd.metadata import StationMetadata
from weather_backfill.sources.dwd.products import Period, Product, ProductFile, parse_file_name
from weather_backfill.sources.dwd.remote import Remote
from weather_backfill.sources.dwd.zip_file import open_metadata
from weather_backfill.sources.remote import Fetched

_ONE_DAY = timedelta(days=1)
RECENT_DAYS = timedelta(days=500)
"""How far `recent` reaches back, about; what is older lies in `historical` alone."""


@dataclass(frozen=True, slots=True)
class StationFile:
    """One file to read: where it lies and what its name and listing say. `rank` orders products.

    `beside` are the days, first and last, that the names of the station's listed files of the product claim.
    """

    product: Product
    rank: int
    path: str
    file: ProductFile
    entry: DirectoryEntry
    beside: tuple[tuple[date, date], ...] = ()

    def may_hold(self, first: date, last: date) -> bool:
        """Whether the file can hold UTC days from first to last: a MEZ day begins on the day before."""
        if self.file.start is None or self.file.end is None:
            return True
        return self.file.start - _ONE_DAY <= last and self.file.end >= first


@dataclass(slots=True)
class FileIndex:
    """The files by station (ids sorted), folders the server does not have, and asked ids without a file.

    `listed` are all files that the folders list, by station and place of the product in `products`, also those that
    hold no day of the range; `lists` the paths of the products' station lists, `read` those that were read.
    `superseded` are paths of historical files of which a newer version is read instead, `unreadable_lines` those of
    station lists of which nobody knows which stations they are, after their list's path.
    """

    stations: dict[str, list[StationFile]] = field(default_factory=dict)
    missing_folders: list[str] = field(default_factory=list)
    without_files: list[str] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    unreadable_lines: list[str] = field(default_factory=list)
    selection: Any = "all"
    products: list[Product] = field(default_factory=list)
    listed: dict[tuple[str, int], list[ProductFile]] = field(default_factory=dict)
    lists: dict[int, list[str]] = field(default_factory=dict)
    read: dict[str, StationList] = field(default_factory=dict)


def find_files(connection: DwdConnection, remote: Remote, first: date, last: date) -> FileIndex:
    """List what the connection's stations have for the days from first to last, both included.

    A missing period folder is noted (not every mirror has all); a product without any folder, a folder
    without product files, or no file for any asked station is an error.
    """
    found: list[StationFile] = []
    catalogue = FileIndex(selection=connection.stations, products=connection.opened_products())
    for rank, wanted in enumerate(catalogue.products):
        listed, selected = _product_files(connection, remote, wanted, rank, first, last, catalogue)
        chosen = [f for f in listed if selected is None or f.file.station in selected]
        old = _superseded(chosen)
        found += [f for f in chosen if f.path not in old]
        catalogue.superseded += sorted(old)
    claims: dict[tuple[str, int], tuple[tuple[date, date], ...]] = {}
    for item in found:
        catalogue.listed.setdefault((item.file.station, item.rank), []).append(item.file)
        if item.file.start and item.file.end:
            key = (item.file.station, item.rank)
            claims[key] = (*claims.get(key, ()), (item.file.start, item.file.end))
    for item in sorted(found, key=_finality):
        if item.may_hold(first, last):
            beside = claims.get((item.file.station, item.rank), ())
            catalogue.stations.setdefault(item.file.station, []).append(replace(item, beside=beside))
    if isinstance(connection.stations, tuple):
        known = {f.file.station for f in found}
        catalogue.without_files = [s for s in connection.stations if s not in known]
    if not found:
        raise NotFoundError(
            f"{remote.url(connection.resolution)} has no file of {', '.join(connection.products)} for the "
            f"stations {_words(connection)}: check the ids against the station list of the product."
        )
    return catalogue


def _finality(item: StationFile) -> tuple[Any, ...]:
    """Sorts files by station, product and period, and within a period from the newest version on."""
    return item.file.station, item.rank, item.file.period, newest_first(item.file, item.entry), item.path


def _superseded(files: list[StationFile]) -> set[str]:
    """The paths of one product's files that are older versions of a station's history."""
    histories: dict[str, list[StationFile]] = {}
    for item in files:
        if item.file.period is Period.HISTORICAL:
            histories.setdefault(item.file.station, []).append(item)
    found: set[str] = set()
    for history in histories.values():
        if len(history) > 1:
            chunked = history[0].product.resolution != "hourly"
            old = superseded(((f.file, f.entry) for f in history), chunked)
            found |= {f.path for f in history if f.file.name in old}
    return found


def _words(connection: DwdConnection) -> str:
    asked = connection.stations
    return ", ".join(asked[:10]) if isinstance(asked, tuple) else str(asked)


def _product_files(
    connection: DwdConnection,
    remote: Remote,
    wanted: Product,
    rank: int,
    first: date,
    last: date,
    catalogue: FileIndex,
) -> tuple[list[StationFile], Collection[str] | None]:
    """The files of a product in all its periods, and the selected stations (None: all)."""
    found: list[StationFile] = []
    lists: list[str] = []
    reached = 0
    for period in wanted.periods:
        for folder in wanted.folders(period, first, last):
            try:
                entries = remote.folder(folder)
            except NotFoundError:
                catalogue.missing_folders.append(folder)
                continue
            reached += 1
            lists += [f"{folder}/{e.name}" for e in entries if e.name.endswith("_Beschreibung_Stationen.txt")]
            found += _matching(wanted, rank, folder, entries, remote)
    if not reached:
        raise NotFoundError(
            f"{remote.url(f'{wanted.resolution}/{wanted.folder}')} has none of the folders "
            f"{', '.join(p.folder for p in wanted.periods)}: check base_url, resolution and product."
        )
    catalogue.lists[rank] = lists
    return found, _selected(connection, remote, wanted, lists, catalogue)


def _matching(
    wanted: Product, rank: int, folder: str, entries: list[DirectoryEntry], remote: Remote
) -> list[StationFile]:
    parsed = [(e, parse_file_name(wanted, e.name)) for e in entries]
    files = [StationFile(wanted, rank, f"{folder}/{e.name}", f, e) for e, f in parsed if f is not None]
    if not files:
        names = ", ".join(e.name for e in entries[:5])
        raise SchemaError(
            f"{remote.url(folder)} lists no station file of {wanted.name} (it lists {names or 'nothing'}): "
            "the folder belongs to another product, or the server is being rebuilt."
        )
    return files


def _selected(
    connection: DwdConnection, remote: Remote, wanted: Product, lists: list[str], catalogue: FileIndex
) -> Collection[str] | None:
    chosen = connection.stations
    if chosen == "all":
        return None
    if isinstance(chosen, tuple):
        return set(chosen)
    assert isinstance(chosen, InState | InBox)
    if not lists:
        raise NotFoundError(
            f"{remote.url(f'{wanted.resolution}/{wanted.folder}')} has no station list "
            "(*_Beschreibung_Stationen.txt): selecting by state or box needs it. Name station ids instead."
        )
    read = {path: read_station_list(remote, path) for path in lists}
    catalogue.read |= read
    catalogue.unreadable_lines += [f"{path}: {line}" for path, found in read.items() for line in found.unreadable]
    stations = [s for found in read.values() for s in found.stations]
    inside = {s.id for s in stations if chosen.holds(s)}
    if not inside:
        raise NotFoundError(f"no station of {wanted.name} lies in {chosen}: widen the box or check the state.")
    return inside


def read_station_list(remote: Remote, path: str) -> StationList:
    """The station list at a path."""
    return parse_station_list(_body(remote, path), remote.url(path))


def _body(remote: Remote, path: str) -> bytes:
    answer = remote.fetch(path)
    assert isinstance(answer, Fetched)  # a plain request is never "not modified"
    return answer.body


def read_metadata(
    remote: Remote, wanted: Product, station: str, listed: Callable[[str], list[DirectoryEntry]]
) -> StationMetadata:
    """The metadata of a sub-hourly product's station, whose zip lies in a folder of its own (hourly zips hold theirs).
    `listed` lists a folder, once for all stations.

    Raises `NotFoundError` where there is none.
    """
    folder = f"{wanted.resolution}/{wanted.folder}/meta_data"
    for entry in listed(folder):
        if entry.name.startswith("Meta_Daten_") and entry.name.endswith(f"_{station}.zip"):
            path = f"{folder}/{entry.name}"
            return open_metadata(_body(remote, path), path)
    raise NotFoundError(f"{remote.url(folder)} has no Meta_Daten_*_{station}.zip: nothing is known of the station.")


def covered_by_history(files: list[StationFile], day: date) -> bool:
    """Whether the name of a historical file among these claims the day."""
    historical = (f.file for f in files if f.file.period is Period.HISTORICAL)
    return any(f.start and f.end and f.start <= day <= f.end for f in historical)
