"""Directory pages and station lists, read defensively: an outage must never look like "no stations".

Directory pages come from nginx and Apache in several styles; only links count, and what stands beside them
(time, size) is used where it can be read. Station lists are fixed-width in name only: the header's dashes do
not give the column widths, so lines are split on their numeric columns.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import unquote, urlsplit

from weather_backfill.model.errors import SchemaError
from weather_backfill.sources.dwd.products import parse_day

# Bounded everywhere: a page without the ends that a pattern looks for must not be searched to its end for each start.
_LINK = re.compile(
    r"<a\s[^<>]{0,1000}?href\s{0,9}=\s{0,9}[\"']?([^\"'\s<>]{1,1000})[\"']?[^<>]{0,1000}>", re.IGNORECASE
)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_BESIDE = re.compile(r"(\d{2}-[A-Za-z]{3}-\d{4}|\d{4}-\d{2}-\d{2})\s+(\d{2}:\d{2})(?::\d{2})?\s+([\d.]{1,20}[KMG]?)?")
_BESIDE_LENGTH = 5000
_FACTOR = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}

STATES = (
    "Baden-Württemberg", "Bayern", "Berlin", "Brandenburg", "Bremen", "Hamburg", "Hessen",
    "Mecklenburg-Vorpommern", "Niedersachsen", "Nordrhein-Westfalen", "Rheinland-Pfalz", "Saarland",
    "Sachsen", "Sachsen-Anhalt", "Schleswig-Holstein", "Thüringen",
)  # fmt: skip
"""The states of Germany, as station lists write them."""

_STATION = re.compile(
    r"(\d{1,5})\s+(\d{8})\s+(\d{8})\s+(-?\d{1,9}(?:\.\d+)?)\s+(-?\d{1,9}\.\d+)\s+(-?\d{1,9}\.\d+)\s+(\S.*)"
)
_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A file of a folder; size (bytes, rounded by some servers) and time (UTC) where the server tells."""

    name: str
    size: int | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Station:
    """A line of a station list; `start` and `end` bound what any period of the product holds."""

    id: str
    name: str
    state: str
    latitude: float
    longitude: float
    height: float
    start: date | None
    end: date | None


@dataclass(frozen=True, slots=True)
class StationList:
    """The stations of a list, and the lines in it that could not be read."""

    stations: tuple[Station, ...]
    unreadable: tuple[str, ...] = ()


def parse_directory(page: str, url: str) -> list[DirectoryEntry]:
    """The files a directory page links to, sorted by name; folders and names with `_` in front left out.

    Raises `SchemaError` if the page links to no file or folder: an error page or an empty folder is an outage
    of ours or theirs, never an answer.
    """
    here = urlsplit(url).path.rstrip("/") + "/"
    found: dict[str, DirectoryEntry] = {}
    links = list(_LINK.finditer(page))
    folders = 0
    ends = [link.start() for link in links[1:]] + [len(page)]
    for link, end in zip(links, ends, strict=bool(links)):
        name = _name_below(html.unescape(link.group(1)), here)
        if name is None:
            continue
        if name.endswith("/"):
            folders += 1
        elif not name.startswith("_"):
            found[name] = _entry(name, _beside(page[link.end() : min(end, link.end() + _BESIDE_LENGTH)]))
    if not found and not folders:
        text = " ".join(_TAG.sub(" ", page).split())[:150]
        raise SchemaError(
            f"{url} is no directory listing: it links to no file and reads {text!r}. Expected an index of "
            "station files; the server may be down for maintenance, or the base URL is wrong."
        )
    return [found[name] for name in sorted(found)]


def _name_below(target: str, here: str) -> str | None:
    """The plain name a link means if it lies directly in this folder."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("#"):
        return None
    path = unquote(parts.path)
    if path.startswith("/"):
        if not path.startswith(unquote(here)):
            return None
        path = path[len(unquote(here)) :]
    path = path.removeprefix("./")
    if not path or ".." in path or "/" in path.rstrip("/") or "\\" in path or "\0" in path:
        return None
    return path


def _beside(text: str) -> str:
    """What follows a link's own text."""
    return text[text.lower().find("</a>") + 1 :]


def _entry(name: str, beside: str) -> DirectoryEntry:
    match = _BESIDE.search(" ".join(html.unescape(_TAG.sub(" ", beside)).split()) + " ")
    if match is None:
        return DirectoryEntry(name)
    day, clock, size = match.groups()
    return DirectoryEntry(name, _size(size), _time(day, clock))


def _size(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return int(float(text.rstrip("KMG")) * _FACTOR.get(text[-1], 1))
    except ValueError:
        return None


def _time(day: str, clock: str) -> datetime | None:
    try:
        if day[2] == "-":
            number, month, year = day.split("-")
            day = f"{year}-{_MONTHS[month.lower()]:02d}-{number}"
        return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)
    except (ValueError, KeyError):
        return None


def parse_station_list(data: bytes, source: str) -> StationList:
    """The stations of a `*_Beschreibung_Stationen.txt`, in the order of the list.

    Raises `SchemaError` if it has no readable line.
    """
    text = data.decode("latin-1").replace("\x1a", "")
    lines = [line for line in text.splitlines() if line.strip()]
    released = bool(lines) and "Abgabe" in lines[0]
    body = [line for line in lines if not _is_heading(line)]
    stations: list[Station] = []
    unreadable: list[str] = []
    for line in body:
        match = _STATION.fullmatch(line.strip()) if len(line) < _LONGEST_LINE else None
        if match is None:
            unreadable.append(line.strip()[:200])
        else:
            stations.append(_station(match.groups(), released))
    if not stations:
        raise SchemaError(
            f"{source} is no station list: no line has a station's id, dates, height and position; it begins "
            f"with {text[:100]!r}. The server may have answered with an error page."
        )
    return StationList(tuple(stations), tuple(unreadable))


def _is_heading(line: str) -> bool:
    return line.lower().lstrip().startswith("stations_id") or not line.strip("- ")


def _station(fields: Iterable[str], released: bool) -> Station:
    number, start, end, height, latitude, longitude, rest = fields
    if released:  # the last word says whether the data is free; the name may hold any number of words
        head, _, last = rest.rpartition(" ")
        rest = head.rstrip() if head and last.isalpha() and last not in STATES else rest
    name, state = _name_and_state(rest)
    return Station(
        f"{int(number):05d}", name, state, float(latitude), float(longitude), float(height),
        parse_day(start), parse_day(end),
    )  # fmt: skip


def _name_and_state(rest: str) -> tuple[str, str]:
    for state in sorted(STATES, key=len, reverse=True):
        if rest.endswith(" " + state):
            return rest[: -len(state)].strip(), state
    parts = re.split(r"\s{2,}", rest)
    return (" ".join(parts[:-1]), parts[-1]) if len(parts) > 1 else (rest, "")
