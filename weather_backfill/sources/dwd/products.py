"""The products of the Climate Data Center we read: where they lie, how files are named, what columns mean.

Units of the columns are those of DWD's data set descriptions (BESCHREIBUNG_obsgermany_climate_*); each column
says how it becomes the metric table's unit. Two schemas are known side by side: today's short names (`TT_TU`)
and the long ones of 2016 (`LUFTTEMPERATUR`). This module reads nothing.

What departs from a description's table of parameters says at its column where that is from (`Column.source`), and
every product what its interval goes by (`Interval.evidence`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import IntEnum
from typing import Literal

from weather_backfill.model.errors import ConfigurationError

Resolution = Literal["hourly", "10_minutes", "1_minute"]
MISSING = -999.0


class Period(IntEnum):
    """The overlapping parts of a product; the lowest number is the most final and wins."""

    HISTORICAL = 0
    RECENT = 1
    NOW = 2

    @property
    def folder(self) -> str:
        """The period's folder on the server."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Column:
    """How a product column becomes a metric: `value * scale`, or `codes[text]` for letters.

    `missing` are the numbers that mean "no value"; `-999` is always one of them. `indicator`: under quality level 1,
    2 and 3 mean 0 and 1, with the gauge's heating on. `sensor`: a file that holds one constant alone measured nothing.
    `source` is the document and its section, or the measurement, that says so; a column without it holds the metric in
    its unit, as its product's data set description says (table of parameters), and -999 where it has none.
    """

    metric: str
    scale: float = 1.0
    codes: Mapping[str, float] | None = None
    missing: tuple[float, ...] = (MISSING,)
    indicator: bool = False
    sensor: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """What the values of a product stand for: the `seconds` that end `end_offset` seconds after their stamp.

    0 seconds are a reading. `evidence` is the document or the measurement that says so; `assumed` where it is an
    analogy.
    """

    seconds: int
    end_offset: int
    evidence: str
    assumed: bool = False

    def __str__(self) -> str:
        at = "at the stamp" if not self.end_offset else f"{-self.end_offset // 60} min before the stamp"
        what = f"{self.seconds // 60} min that end {at}" if self.seconds else f"reading {at}"
        return f"{what} ({'assumed: ' if self.assumed else ''}{self.evidence})"


@dataclass(frozen=True, slots=True)
class Product:
    """One product at one resolution. `cadence` is the seconds between its rows."""

    name: str
    resolution: Resolution
    folder: str
    codes: tuple[str, ...]
    columns: Mapping[str, Column]
    cadence: int
    interval: Interval
    periods: tuple[Period, ...] = (Period.HISTORICAL, Period.RECENT)
    period_folders: bool = True
    yearly_history: bool = False
    ignored: frozenset[str] = field(default_factory=frozenset)

    def folders(self, period: Period, start: date, end: date) -> list[str]:
        """The server folders that hold a period's files for the days from start to end, both included."""
        base = f"{self.resolution}/{self.folder}"
        if not self.period_folders:
            return [base]
        if period is Period.HISTORICAL and self.yearly_history:
            # The last minute of a year bears the next year's first stamp; before 2000, in MEZ, so does its last hour.
            # And whether a year's first stamp opens a history is known by the names of the year before.
            first, last = start - timedelta(days=1), end + timedelta(days=1)
            return [f"{base}/historical/{year}" for year in range(first.year, last.year + 1)]
        return [f"{base}/{period.folder}"]


@dataclass(frozen=True, slots=True)
class ProductFile:
    """What a file's name says. `start` and `end` (both included) stand in the names of history only."""

    name: str
    station: str
    period: Period
    start: date | None = None
    end: date | None = None


_SHEET = "DWD's sheet, table of parameters, as wetterdienst quotes it"
_SYNOP = "WMO-No. 306, SYNOP code tables, as DWD's files use them"
_ENERGY = "DWD's data set description, table of parameters: J/cm2 of the interval"
_CONSTANT = "counted: in 761 of 1,314 files one constant from the first row to the last; -99.9 beside -999"
_LETTERS = "DWD's data set description, table of parameters: P observed by a person, I by an instrument"
_COUNTED = "counted: the files hold -99.9 beside the description's -999"
_HEATED = f"{_SHEET}: under QN 1 2 and 3 are 0 and 1 with the heating on"
_J_PER_CM2 = 10_000.0  # J/cm2 to J/m2; divided by the interval's seconds it is a flux in W/m2
_METHOD = {"P": 0.0, "I": 1.0}
_MOISTURE_MISSING = (MISSING, -99.9)
_NO_FORM = (MISSING, 9.0)
_NO_DIRECTION = (MISSING, 990.0)  # variable: from no direction
_IGNORED = frozenset({"STRUKTUR_VERSION"})

_HOURLY: dict[str, tuple[str, tuple[str, ...], dict[str, Column]]] = {
    "air_temperature": ("air_temperature", ("TU",), {
        "TT_TU": Column("air_temperature"),
        "RF_TU": Column("relative_humidity"),
        "LUFTTEMPERATUR": Column("air_temperature"),
        "REL_FEUCHTE": Column("relative_humidity"),
    }),
    "precipitation": ("precipitation", ("RR",), {
        "R1": Column("precipitation_amount"),
        "RS_IND": Column("precipitation_indicator"),
        "WRTR": Column("precipitation_type", missing=_NO_FORM, source=_SYNOP),
        "NIEDERSCHLAGSHOEHE": Column("precipitation_amount"),
        "NIEDERSCHLAG_GEFALLEN_IND": Column("precipitation_indicator"),
        "NIEDERSCHLAGSFORM": Column("precipitation_type", missing=_NO_FORM, source=_SYNOP),
    }),
    "wind": ("wind", ("FF",), {
        "F": Column("wind_speed"),
        "D": Column("wind_from_direction", missing=_NO_DIRECTION, source=_SYNOP),
        "WINDGESCHWINDIGKEIT": Column("wind_speed"),
        "WINDRICHTUNG": Column("wind_from_direction", missing=_NO_DIRECTION, source=_SYNOP),
    }),
    "pressure": ("pressure", ("P0",), {
        "P": Column("air_pressure_at_mean_sea_level"),
        "P0": Column("surface_air_pressure"),
        "LUFTDRUCK_REDUZIERT": Column("air_pressure_at_mean_sea_level"),
        "LUFTDRUCK_STATIONSHOEHE": Column("surface_air_pressure"),
    }),
    "cloud_cover": ("cloudiness", ("N",), {
        "V_N_I": Column("cloud_observation_method", codes=_METHOD, source=_LETTERS),
        "V_N": Column("cloud_area_fraction"),
        "GESAMT_BEDECKUNGSGRAD": Column("cloud_area_fraction"),
    }),
    "moisture": ("moisture", ("TF", "TD"), {
        "ABSF_STD": Column("mass_concentration_of_water_vapor_in_air", missing=_MOISTURE_MISSING, source=_COUNTED),
        "VP_STD": Column("water_vapor_partial_pressure_in_air", missing=_MOISTURE_MISSING, source=_COUNTED),
        "TF_STD": Column("wet_bulb_temperature", missing=_MOISTURE_MISSING, source=_COUNTED),
        "P_STD": Column("surface_air_pressure", missing=_MOISTURE_MISSING, sensor=True, source=_CONSTANT),
        "TT_STD": Column("air_temperature", missing=_MOISTURE_MISSING, source=_COUNTED),
        "RF_STD": Column("relative_humidity", missing=_MOISTURE_MISSING, source=_COUNTED),
        "TD_STD": Column("dew_point_temperature", missing=_MOISTURE_MISSING, source=_COUNTED),
        "TT": Column("air_temperature"),
        "TD": Column("dew_point_temperature"),
    }),
    "dew_point": ("dew_point", ("TD",), {
        "TT": Column("air_temperature"),
        "TD": Column("dew_point_temperature"),
    }),
    "sun": ("sun", ("SD",), {
        "SD_SO": Column("duration_of_sunshine"),
        "STUNDENSUMME_SONNENSCHEIN": Column("duration_of_sunshine"),
    }),
    "extreme_wind": ("extreme_wind", ("FX",), {"FX_911": Column("wind_speed_of_gust")}),
    "visibility": ("visibility", ("VV",), {"V_VV": Column("visibility_in_air")}),
}  # fmt: skip

_TEN_MINUTES: dict[str, tuple[str, tuple[str, ...], dict[str, Column]]] = {
    "air_temperature": ("air_temperature", ("TU",), {
        "PP_10": Column("surface_air_pressure"),
        "TT_10": Column("air_temperature"),
        "TM5_10": Column("air_temperature_at_5_cm"),
        "RF_10": Column("relative_humidity"),
        "TD_10": Column("dew_point_temperature"),
    }),
    "precipitation": ("precipitation", ("nieder",), {
        "RWS_DAU_10": Column("precipitation_duration"),
        "RWS_10": Column("precipitation_amount"),
        "RWS_IND_10": Column("precipitation_indicator", indicator=True, source=_HEATED),
    }),
    "wind": ("wind", ("wind",), {
        "FF_10": Column("wind_speed"),
        "DD_10": Column("wind_from_direction", missing=_NO_DIRECTION, source=_SYNOP),
    }),
    "extreme_wind": ("extreme_wind", ("extrema_wind",), {
        "FX_10": Column("wind_speed_of_gust"),
        "FNX_10": Column("wind_speed_lull", source=f"{_SHEET}: the lowest of the ten minutes"),
        "FMX_10": Column("wind_speed_maximum_of_1_minute_mean",
                         source=f"{_SHEET}: the highest one-minute mean of the 3-second maxima"),
        "DX_10": Column("wind_gust_from_direction", missing=_NO_DIRECTION, source=_SYNOP),
    }),
    "solar": ("solar", ("SOLAR",), {
        "DS_10": Column("surface_diffuse_downwelling_shortwave_flux_in_air", _J_PER_CM2 / 600, source=_ENERGY),
        "GS_10": Column("surface_downwelling_shortwave_flux_in_air", _J_PER_CM2 / 600, source=_ENERGY),
        "SD_10": Column("duration_of_sunshine", 60.0, source="DWD's data set description, table of parameters: hours"),
        "LS_10": Column("surface_downwelling_longwave_flux_in_air", _J_PER_CM2 / 600, source=_ENERGY),
    }),
}  # fmt: skip

_SOLAR_HOURLY = {
    "ATMO_LBERG": Column("surface_downwelling_longwave_flux_in_air", _J_PER_CM2 / 3600, source=_ENERGY),
    "FD_LBERG": Column("surface_diffuse_downwelling_shortwave_flux_in_air", _J_PER_CM2 / 3600, source=_ENERGY),
    "FG_LBERG": Column("surface_downwelling_shortwave_flux_in_air", _J_PER_CM2 / 3600, source=_ENERGY),
    "SD_LBERG": Column("duration_of_sunshine"),
}


_PRECEDING = "DWD's data set descriptions: the preceding minutes"
_READING = Interval(0, -600, "as hourly temperature", assumed=True)
_HOURLY_INTERVALS: Mapping[str, Interval] = {
    # Where DWD's descriptions are silent, pairs of real files are the evidence, or an analogy that says it is one.
    "air_temperature": Interval(
        0, -600, "measured: 12,959 of 12,959 hours of 03379 equal the 10-minute value 10 min before, at lag 0 3,155"
    ),
    "precipitation": Interval(3600, -600, "DWD's data set description: from (x-2):51 to (x-1):50"),
    "wind": Interval(
        3600, -600, "measured: 7,055 of 7,055 hours of 05705 in 2020 within 0.05 m/s of the mean of these six"
    ),
    "pressure": _READING,
    "cloud_cover": _READING,
    "moisture": _READING,
    "dew_point": _READING,
    "visibility": _READING,
    "sun": Interval(3600, 0, "as hourly radiation", assumed=True),
    "extreme_wind": Interval(3600, -600, "as hourly wind", assumed=True),
    "solar": Interval(3600, 0, "measured: on clear days of 05906 the centroid lies 29 min after solar noon"),
}


def _table() -> dict[tuple[str, str], Product]:
    every = (Period.HISTORICAL, Period.RECENT, Period.NOW)
    found = [
        Product(name, "hourly", folder, codes, columns, 3600, _HOURLY_INTERVALS[name], ignored=_IGNORED | {"V_VV_I"})
        for name, (folder, codes, columns) in _HOURLY.items()
    ]
    # Hourly radiation is one file a station, whole history, in a folder without periods.
    found.append(
        Product("solar", "hourly", "solar", ("ST",), _SOLAR_HOURLY, 3600, _HOURLY_INTERVALS["solar"],
                (Period.RECENT,), period_folders=False, ignored=frozenset({"ZENIT", "MESS_DATUM_WOZ"}))
    )  # fmt: skip
    found += [
        Product(name, "10_minutes", folder, codes, columns, 600, Interval(600, 0, _PRECEDING), every)
        for name, (folder, codes, columns) in _TEN_MINUTES.items()
    ]
    found.append(
        Product("precipitation", "1_minute", "precipitation", ("nieder",),
                {"RS_01": Column("precipitation_amount"),
                 "RS_IND_01": Column("precipitation_indicator", indicator=True,
                                     source="assumed: the gauge's indicator, as RWS_IND_10")},
                60, Interval(60, 0, _PRECEDING), every, yearly_history=True, ignored=frozenset({"RTH_01", "RWH_01"}))
    )  # fmt: skip
    return {(p.resolution, p.name): p for p in found}


PRODUCTS = _table()
"""Every known product by (resolution, name). A metric of two products is taken from the one named earlier."""

_PREFIX = {"hourly": "stundenwerte", "10_minutes": "10minutenwerte", "1_minute": "1minutenwerte"}
_SUFFIX = {"hist": Period.HISTORICAL, "akt": Period.RECENT, "now": Period.NOW, "row": Period.RECENT}
_IN_ARCHIVE = re.compile(r"produkt_.*?_(\d{8})_(\d{8})_\d{5}\.txt", re.IGNORECASE)


_NAME_OF_FOLDER = {p.folder: p.name for p in PRODUCTS.values() if p.folder != p.name}


def product_name(name: str) -> str:
    """Our name of a product that may be given by DWD's name of its folder, as `cloudiness` for `cloud_cover`."""
    return _NAME_OF_FOLDER.get(name, name)


def product(resolution: str, name: str) -> Product:
    """The product of that name; raises `ConfigurationError` naming those that exist at the resolution."""
    found = PRODUCTS.get((resolution, product_name(name)))
    if found is None:
        known = sorted(n for r, n in PRODUCTS if r == resolution)
        raise ConfigurationError(
            f"DWD has no product {name!r} at resolution {resolution!r} that we read: expected one of "
            f"{', '.join(known) or 'the resolutions hourly, 10_minutes, 1_minute'}."
        )
    return found


def parse_file_name(wanted: Product, name: str) -> ProductFile | None:
    """What the name of a product's zip says; None for anything else in the folder (lists, PDF, `_` names).

    A few names on the server have start > end: their range is taken as unknown, the file is still read.
    """
    pattern = (
        rf"{_PREFIX[wanted.resolution]}_(?:{'|'.join(map(re.escape, wanted.codes))})_(\d{{5}})"
        r"(?:_(\d{8})_(\d{8}))?_(hist|akt|now|row)\.zip"
    )
    match = re.fullmatch(pattern, name, re.IGNORECASE)
    if match is None:
        return None
    station, first, last, suffix = match.groups()
    start, end = _range(first, last)
    return ProductFile(name, station, _SUFFIX[suffix.lower()], start, end)


def range_in_member_name(name: str) -> tuple[date, date] | None:
    """The first and last day that the name of a `produkt_*.txt` claims, or None."""
    match = _IN_ARCHIVE.search(name)
    start, end = _range(*match.groups()) if match else (None, None)
    return (start, end) if start and end else None


def parse_day(text: str | None) -> date | None:
    """`YYYYMMDD` as a date; None for blanks and for what is no date."""
    digits = (text or "").strip()
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def _range(first: str | None, last: str | None) -> tuple[date | None, date | None]:
    start, end = parse_day(first), parse_day(last)
    return (start, end) if start and end and start <= end else (None, None)
