"""GHCNh's station list and inventory: which stations there are, and which years of them.

The list (`doc/ghcnh-station-list.csv`) is CSV with a header; its columns are taken by name, for 1.1.0 added one. The
inventory (`doc/ghcnh-inventory.txt`) has a line a station and year, fields separated by blanks: `GHCNh_ID YEAR` and the
rows of each month. It says which files there are, so that no request asks for one that is not.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from weather_backfill.model.errors import SchemaError

LIST = "doc/ghcnh-station-list.csv"
INVENTORY = "doc/ghcnh-inventory.txt"
_COLUMNS = ("GHCN_ID", "LATITUDE", "LONGITUDE", "ELEVATION", "STATE", "NAME")
_NO_ELEVATION = -999.9


@dataclass(frozen=True, slots=True)
class Station:
    """A line of the list; degrees, and metres above sea level (None where the list has none)."""

    id: str
    name: str
    latitude: float
    longitude: float
    elevation: float | None
    state: str


def parse_list(body: bytes, url: str) -> list[Station]:
    """The stations in the order of the list; raises `SchemaError` for what is no such list."""
    text = dict.fromkeys(_COLUMNS, pa.string())
    try:
        table = pa.csv.read_csv(
            io.BytesIO(body),
            convert_options=pa.csv.ConvertOptions(column_types=text, include_columns=list(_COLUMNS)),
        )
        columns = [[(cell or "").strip() for cell in table[name].to_pylist()] for name in _COLUMNS]
        found = [
            Station(id, name, float(latitude), float(longitude), _elevation(height), state)
            for id, latitude, longitude, height, state, name in zip(*columns, strict=True)
        ]
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise SchemaError(
            f"{url} is no station list of GHCNh: {' '.join(str(error).split())[:200]}. Expected CSV with the columns "
            f"{', '.join(_COLUMNS)}. Check base_url."
        ) from error
    return found


def _elevation(text: str) -> float | None:
    height = float(text) if text else _NO_ELEVATION
    return None if height <= _NO_ELEVATION else height


def parse_inventory(body: bytes, stations: Collection[str], url: str) -> dict[str, dict[int, int]]:
    """The rows of each year of some stations; a station that the inventory lacks is absent.

    Raises `SchemaError` for what is no such inventory.
    """
    header = body[: body.find(b"\n")].decode("utf-8", "replace").split()
    if header[:2] != ["GHCNh_ID", "YEAR"]:
        raise SchemaError(
            f"{url} is no inventory of GHCNh: it begins {' '.join(header)[:100]!r}, expected GHCNh_ID YEAR and months. "
            "Check base_url."
        )
    lines = _lines(body)
    wanted = pc.is_in(pc.utf8_slice_codeunits(lines, 0, 11), value_set=pa.array(sorted(stations), pa.string()))
    years: dict[str, dict[int, int]] = {}
    for line in lines.filter(wanted).to_pylist():
        id, year, *months = line.split()
        years.setdefault(id, {})[int(year)] = sum(int(rows) for rows in months[:12] if rows.isdigit())
    return years


def _lines(body: bytes) -> pa.ChunkedArray:
    """The lines below the header, as text."""
    table = pa.csv.read_csv(
        io.BytesIO(body),
        read_options=pa.csv.ReadOptions(column_names=["line"], skip_rows=1),
        parse_options=pa.csv.ParseOptions(delimiter="\x01", quote_char=False),
        convert_options=pa.csv.ConvertOptions(column_types={"line": pa.string()}, check_utf8=False),
    )
    return table["line"]


def history_rows(stations: Mapping[str, Station]) -> list[dict[str, object]]:
    """What is known of stations as rows of `schemas.STATION_HISTORY`: where they are listed now, without a past."""
    from datetime import date

    return [
        {
            "station_id": station.id, "valid_from": date(1700, 1, 1), "valid_to": None, "is_current": True,
            "name": station.name or None, "latitude": station.latitude, "longitude": station.longitude,
            "height": station.elevation, "instruments": [], "operator": None,
        }
        for _, station in sorted(stations.items())
    ]  # fmt: skip
