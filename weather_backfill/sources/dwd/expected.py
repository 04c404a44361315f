"""Which files of which stations a day should have, by what was asked for, by the station lists and by the listings.

A station that was asked for, is active by its product's list and has no file that could hold the day is lacking, and so
is one that no list names: mistyped, or not measured there. A server that is being refilled looks like this.

* Ids are asked for by name: each of them should have each product.
* A state or a box asks for the stations of the lists; `all` for those that have any file in any folder.
* A `recent` or `now` file may hold any day: its rows say whether it does. A historical one holds what its name says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from weather_backfill.model.expectation import Lack
from weather_backfill.sources.dwd.connection import InBox, InState
from weather_backfill.sources.dwd.directory_index import Station
from weather_backfill.sources.dwd.file_index import FileIndex, covered_by_history, read_station_list
from weather_backfill.sources.dwd.products import Period, ProductFile
from weather_backfill.sources.dwd.remote import Remote


@dataclass(frozen=True, slots=True)
class _Pair:
    """A station and a product of which no file may hold just any day: what the historical names claim, and the list."""

    station: str
    rank: int
    history: tuple[ProductFile, ...]
    spans: tuple[tuple[date, date], ...]
    declared: bool
    has_list: bool
    list_end: date

    def lack(self, day: date, product: str) -> Lack | None:
        """What is lacking of the day, if anything is."""
        if any(f.start and f.end and f.start <= day <= f.end for f in self.history):
            return None
        nothing = f"no file of {product} in any folder" if not self.history else f"no file of {product} for the day"
        if self.spans:
            # A list that has not been brought up to date says of no station that it has ended.
            active = any(first <= day and last >= min(day, self.list_end) for first, last in self.spans)
            cause = f"active by its station list, and has {nothing}" if active else None
        elif not self.declared:
            cause = None
        else:
            cause = f"has {nothing}, and no station list names it" if self.has_list else f"has {nothing}"
        return Lack(self.station, part=product, cause=cause) if cause else None


class Expectation:
    """What a range of days should have beyond the listed files; station lists are read only where they matter."""

    def __init__(self, catalogue: FileIndex, remote: Remote) -> None:
        self._catalogue, self._remote = catalogue, remote
        self._pairs = self._suspects()

    def lacks(self, day: date) -> list[Lack]:
        """The stations and products of which the day should have a file and none is listed."""
        found = (pair.lack(day, self._catalogue.products[pair.rank].name) for pair in self._pairs)
        return [lack for lack in found if lack is not None]

    def _suspects(self) -> list[_Pair]:
        selection, listed = self._catalogue.selection, self._catalogue.listed
        by_list = isinstance(selection, InState | InBox)
        declared = isinstance(selection, tuple)
        pairs: list[_Pair] = []
        for rank in range(len(self._catalogue.products)):
            lists: Mapping[str, list[Station]] | None = self._stations(rank) if by_list else None
            if lists is not None:
                candidates: Iterable[str] = sorted(n for n, lines in lists.items() if any(map(selection.holds, lines)))
            else:
                candidates = selection if declared else sorted({station for station, _ in listed})
            for station in candidates:
                files = listed.get((station, rank), [])
                if any(f.period is not Period.HISTORICAL or f.start is None for f in files):
                    continue
                lists = self._stations(rank) if lists is None else lists
                ends = [line.end for lines in lists.values() for line in lines if line.end]
                spans = [(line.start or date.min, line.end or date.max) for line in lists.get(station, ())]
                pairs.append(
                    _Pair(station, rank, tuple(files), tuple(spans), declared, bool(lists), max(ends, default=date.max))
                )
        return pairs

    def _stations(self, rank: int) -> dict[str, list[Station]]:
        """The lines of a product's station lists by station."""
        found: dict[str, list[Station]] = {}
        for path in self._catalogue.lists.get(rank, ()):
            if path not in self._catalogue.read:
                self._catalogue.read[path] = read_station_list(self._remote, path)
            for line in self._catalogue.read[path].stations:
                found.setdefault(line.id, []).append(line)
        return found


def missing_folders(catalogue: FileIndex, day: date, lately: bool, empty: bool) -> list[Lack]:
    """The folders that ought to be on the server for a day and are not: then the day is not whole, whatever was read.

    A `recent` folder that is not there although no historical file claims the day; for a day that came out `empty` and
    is too old for `recent`, a `historical` folder.
    """
    due = Period.RECENT if lately else Period.HISTORICAL
    lacks = []
    for folder in catalogue.missing_folders if lately or empty else ():
        product, period = folder.rsplit("/", 1)
        if period != due.folder:
            continue
        files = ([f for f in own if f.path.startswith(f"{product}/")] for own in catalogue.stations.values())
        if not all(own and covered_by_history(own, day) for own in files):
            name = next((p.name for p in catalogue.products if f"{p.resolution}/{p.folder}" == product), "")
            lacks.append(Lack("", part=name, cause=f"folder {folder} is not on the server"))
    return lacks
