"""The `Metadaten_*.txt` inside hourly zips and beside 10-minute ones: parameters, places, names, instruments.

Latin-1, `;`-separated, last column `eor` or nothing, footers like "generiert: ...", days as `YYYYMMDD`, both
ends included; a blank end means "still so". Columns are found by their names, because their order and case
differ between the kinds of files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from weather_backfill.model.errors import SchemaError
from weather_backfill.sources.dwd.products import parse_day


@dataclass(frozen=True, slots=True)
class ParameterEntry:
    """What a column of the product meant in a span of days, and by which clock it was stamped."""

    parameter: str
    start: date | None
    end: date | None
    unit: str = ""
    source: str = ""
    time_reference: str = ""


@dataclass(frozen=True, slots=True)
class PlaceEntry:
    """Where the station stood in a span of days (degrees, metres above sea level)."""

    start: date | None
    end: date | None
    latitude: float | None
    longitude: float | None
    height: float | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """A name, an operator or an instrument in a span of days; `subject` says what an instrument measures."""

    text: str
    start: date | None
    end: date | None
    subject: str = ""


@dataclass(frozen=True, slots=True)
class StationMetadata:
    """All the metadata files of one station."""

    parameters: tuple[ParameterEntry, ...] = ()
    places: tuple[PlaceEntry, ...] = ()
    names: tuple[NamedEntry, ...] = ()
    operators: tuple[NamedEntry, ...] = ()
    instruments: tuple[NamedEntry, ...] = ()


def parse_metadata(files: Mapping[str, bytes]) -> StationMetadata:
    """Metadata from the text files of a zip, by name; files of other kinds are left alone.

    Raises `SchemaError` naming the file whose header is not what its name promises.
    """
    parameters: list[ParameterEntry] = []
    places: list[PlaceEntry] = []
    named: dict[str, list[NamedEntry]] = {"name": [], "operator": [], "instrument": []}
    for name, data in sorted(files.items()):
        kind = name.rsplit("/", 1)[-1].lower()
        if not kind.endswith(".txt"):
            continue
        text = data.decode("latin-1")
        if kind.startswith("metadaten_parameter"):
            parameters += _parameters(name, text)
        elif kind.startswith(("metadaten_geographie", "stationsmetadaten")):
            places += _places(name, text)
        elif kind.startswith("metadaten_stationsname"):
            named["name"] += _named(name, text, "stationsname")
            named["operator"] += _named(name, text, "betreibername", required=False)
        elif kind.startswith("metadaten_geraete"):
            named["instrument"] += _instruments(name, text)
    return StationMetadata(
        tuple(parameters), tuple(places), tuple(named["name"]), tuple(named["operator"]),
        tuple(named["instrument"]),
    )  # fmt: skip


def _rows(name: str, text: str, *needed: str, required: bool = True) -> Iterator[dict[str, str]]:
    """Rows of every table in a text whose header holds all `needed` columns, keyed by lower-case name."""
    header: list[str] = []
    found = False
    for line in text.replace("\x1a", "").splitlines():
        cells = [cell.strip() for cell in line.split(";")]
        if cells[0].lower() == "stations_id":
            lowered = [cell.lower() for cell in cells]
            header = lowered if set(needed) <= set(lowered) else []
            found = found or bool(header)
        elif header and cells[0].isdigit():
            row = dict(zip(header, cells, strict=False))
            if not set(needed) <= set(row):
                raise SchemaError(
                    f"{name}: the line {line[:100]!r} has {len(cells)} columns; expected {len(header)}, as its header. "
                    "The file is damaged, or the format of the metadata has changed."
                )
            yield row
    if required and not found:
        raise SchemaError(
            f"{name}: no table with the columns {', '.join(needed)}; it begins with {text[:80]!r}. "
            "The format of the metadata has changed, or the file is not what its name says."
        )


def _parameters(name: str, text: str) -> Iterator[ParameterEntry]:
    for row in _rows(name, text, "parameter", "von_datum", "bis_datum", "zusatz-info"):
        source = next((v for k, v in row.items() if k.startswith("datenquelle")), "")
        reference = row.get("zusatz-info", "")
        if not reference and "Zeitbezug ist" in source:
            reference = source.split("Zeitbezug ist", 1)[1]
        yield ParameterEntry(
            row["parameter"], parse_day(row["von_datum"]), parse_day(row.get("bis_datum")),
            row.get("einheit", ""), source, reference,
        )  # fmt: skip


def _places(name: str, text: str) -> Iterator[PlaceEntry]:
    for row in _rows(name, text, "stationshoehe", "geogr.breite", "geogr.laenge", "von_datum"):
        yield PlaceEntry(
            parse_day(row["von_datum"]), parse_day(row.get("bis_datum")), number(row["geogr.breite"]),
            number(row["geogr.laenge"]), number(row["stationshoehe"]), row.get("stationsname", ""),
        )  # fmt: skip


def _named(name: str, text: str, column: str, required: bool = True) -> Iterator[NamedEntry]:
    for row in _rows(name, text, column, "von_datum", required=required):
        yield NamedEntry(row[column], parse_day(row["von_datum"]), parse_day(row.get("bis_datum")))


def _instruments(name: str, text: str) -> Iterator[NamedEntry]:
    stem = name.rsplit("/", 1)[-1].removesuffix(".txt")
    subject = " ".join(stem.split("_")[2:-1])
    for row in _rows(name, text, "geraetetyp name", "von_datum"):
        yield NamedEntry(row["geraetetyp name"], parse_day(row["von_datum"]), parse_day(row.get("bis_datum")), subject)


def number(text: str) -> float | None:
    """A number, or None for blanks and `-999`."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if value == -999 or not math.isfinite(value) else value
