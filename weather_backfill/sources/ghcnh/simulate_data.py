"""Made GHCNh files in the real shape (version 1.1.0, 329 columns), with the values that must come of them.

Three kinds of stations, in turn: an airport of the US (METAR at minute 53, specials with running totals when it rains,
SYNOP every three hours), a half-hourly airport, and a 3-hourly SYNOP station whose rain is a growing total since
03 UTC. Each year is drawn from a seed, station and year, so it is the same wherever and whenever it is made. The last
60 days up to the network's end are as those of real files: of sources 412 and 413, without codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np

_TEXT = ("REM",)
_WEATHER = tuple(f"pres_wx_{kind}{n}" for kind in ("MW", "AU", "AW") for n in (1, 2, 3))
_SKY = tuple(
    f"sky_cover_{kind}_{n}" for kind in ("layer", "layer_baseht", "summation", "summation_baseht") for n in (1, 2, 3, 4)
)
ELEMENT_NAMES = (
    "temperature", "dew_point_temperature", "station_level_pressure", "sea_level_pressure", "wind_direction",
    "wind_speed", "wind_gust", "precipitation", "relative_humidity", "wet_bulb_temperature", *_WEATHER, "snow_depth",
    "visibility", "altimeter", "pressure_3hr_change", "sky_condition", "sky_condition_baseht", "ceiling_height", *_SKY,
    "precipitation_5_minute", "precipitation_15_minute",
    *(f"precipitation_{hours}_hour" for hours in (3, 6, 9, 12, 15, 18, 21, 24)), *_TEXT,
)  # fmt: skip
_ENDS = ("", "_Measurement_Code", "_Quality_Code", "_Report_Type", "_Source_Code", "_Source_Station_ID")
BASE = (
    "STATION",
    "Station_name",
    "DATE",
    "Year",
    "Month",
    "Day",
    "Hour",
    "Minute",
    "LATITUDE",
    "LONGITUDE",
    "ELEVATION",
)
HEADER = "|".join([*BASE, *(name + end for name in ELEMENT_NAMES for end in _ENDS)])
_PLACE = {name: number for number, name in enumerate(ELEMENT_NAMES)}
_EMPTY = "|||||"
RECENT = timedelta(days=60)
KINDS = ("us_airport", "airport", "synop")


@dataclass(frozen=True, slots=True)
class Value:
    """What the lake must hold of a cell: metric, value, seconds that it stands for, and the flag of its source."""

    time: datetime
    metric: str
    value: float | None
    seconds: int
    flag: int
    source: str


@dataclass(slots=True)
class Row:
    """A row of a file: its time, and cells by element: value, measurement, quality, report type, source."""

    time: datetime
    cells: dict[str, tuple[str, str, str, str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Network:
    """Stations from `start` up to `end` (both UTC days, included)."""

    start: date
    end: date
    stations: int = 3
    seed: int = 1

    @property
    def ids(self) -> list[str]:
        """The stations' ids."""
        return [_id(number) for number in range(self.stations)]

    def years(self) -> range:
        """The years with files."""
        return range(self.start.year, self.end.year + 1)

    def year(self, station: str, year: int) -> tuple[list[Row], list[Value]]:
        """A station's rows of a year, and what must come of them."""
        first, last = max(self.start, date(year, 1, 1)), min(self.end, date(year, 12, 31))
        return _year(station, first, last, self.end - RECENT, self.seed)

    def truth(self, station: str) -> list[Value]:
        """What must come of all of a station's files."""
        return [value for year in self.years() for value in self.year(station, year)[1]]

    def list(self) -> bytes:
        """The station list."""
        lines = ["GHCN_ID,LATITUDE,LONGITUDE,ELEVATION,STATE,NAME,GSN,(US)HCN_(US)CRN,WMO_ID,ICAO,ISO_CODE"]
        for number, station in enumerate(self.ids):
            latitude, longitude = _position(number)
            state, name = ("AZ", "MADE AP") if station.startswith("US") else ("", '"MADE, WITH A COMMA"')
            lines.append(f"{station},{latitude:.4f},{longitude:.4f},{_height(number)},{state},{name},,,,,")
        return ("\n".join(lines) + "\n").encode()

    def inventory(self) -> bytes:
        """The rows of each station, year and month."""
        lines = ["GHCNh_ID    YEAR " + " ".join(f"{month:>6}" for month in _MONTHS)]
        for station in self.ids:
            for year in self.years():
                counts = np.bincount([row.time.month for row in self.year(station, year)[0]], minlength=13)
                lines.append(f"{station} {year} " + " ".join(f"{n:>6}" for n in counts[1:]))
        return ("\n".join(lines) + "\n").encode()


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def _id(number: int) -> str:
    kind = KINDS[number % len(KINDS)]
    return f"USW000{90_000 + number:05d}" if kind == "us_airport" else f"INI0000V{number:03d}"


def kind_of(station: str) -> str:
    """The kind of a station by its id."""
    return KINDS[0] if station.startswith("US") else KINDS[int(station[-3:]) % len(KINDS)]


def _position(number: int) -> tuple[float, float]:
    return (33.4 + number / 100, -112.0) if KINDS[number % 3] == "us_airport" else (28.5 + number / 100, 77.2)


def _height(number: int) -> float:
    return -999.9 if number % 5 == 4 else 100.0 + number  # where the list has none


def body_of(station: str, rows: list[Row]) -> bytes:
    """Rows as a file."""
    number = int(station[-3:]) if not station.startswith("US") else int(station[-5:]) - 90_000
    latitude, longitude = _position(number)
    place = f"{latitude:.4f}|{longitude:.4f}|{_height(number)}"
    lines = [HEADER]
    for row in rows:
        cells = [_EMPTY] * len(ELEMENT_NAMES)
        for name, (value, measurement, quality, report, source) in row.cells.items():
            cells[_PLACE[name]] = f"{value}|{measurement}|{quality}|{report}|{source}|{station[-4:]}-{source}"
        at = row.time
        clock = f"{at:%Y-%m-%dT%H:%M:%S|%Y|%m|%d|%H|%M}"
        lines.append(f"{station}|MADE AP|{clock}|{place}|{'|'.join(cells)}")
    return ("\n".join(lines) + "\n").encode()


@lru_cache(maxsize=6)
def _year(station: str, first: date, last: date, recent: date, seed: int) -> tuple[list[Row], list[Value]]:
    draw = np.random.default_rng([seed, *station.encode(), first.year])
    rows: list[Row] = []
    values: list[Value] = []
    day = first
    while day <= last:
        for row, found in _DAYS[kind_of(station)](day, day > recent, draw):
            rows.append(row)
            values += found
        day += timedelta(days=1)
    rows.sort(key=lambda row: row.time)
    return rows, values


_Made = Iterator[tuple[Row, list[Value]]]


class _Report:
    """One row in the making."""

    def __init__(self, time: datetime, report: str, source: str, quality: str) -> None:
        self.row, self.values = Row(time), list[Value]()
        self._codes = (report, source)
        self._quality = quality

    def put(
        self, element: str, text: str, metric: str, value: float | None, seconds: int = 0, *,
        measurement: str = "", quality: str | None = None, flag: int | None = None, kept: bool = True,
    ) -> None:  # fmt: skip
        """Write a cell, and what must come of it."""
        code = self._quality if quality is None else quality
        report, source = self._codes
        self.row.cells[element] = (text, measurement, code, report, source)
        if kept:
            told = (1 if code else 2) if flag is None else flag
            self.values.append(Value(self.row.time, metric, value, seconds, told, source))

    def weather(self, draw: np.random.Generator, coded: bool) -> None:
        """Temperature, dew point, wind, humidity, visibility."""
        hour = self.row.time.hour + self.row.time.minute / 60
        temperature = round(15 + 8 * np.sin((hour - 9) / 24 * 2 * np.pi) + draw.normal(0, 0.3), 1)
        dew = round(temperature - 3 - draw.random(), 1)
        self.put("temperature", f"{temperature}", "air_temperature", temperature)
        self.put("dew_point_temperature", f"{dew}", "dew_point_temperature", dew)
        if draw.random() < 0.1:
            self._calm(coded)
        else:
            direction, speed = int(draw.integers(1, 37)) * 10, round(0.5 + 5 * draw.random(), 1)
            text, measurement = (f"{direction:03d}", "N") if coded else (f"{direction}", "")
            self.put("wind_direction", text, "wind_from_direction", float(direction), measurement=measurement)
            self.put("wind_speed", f"{speed}", "wind_speed", speed, measurement=measurement)
        humidity = int(draw.integers(30, 95))
        self.put(
            "relative_humidity",
            f"{humidity}",
            "relative_humidity",
            float(humidity),
            measurement="D",
            quality="",
            flag=2,
        )
        kilometres = int(draw.integers(20, 160))
        self.put("visibility", f"{kilometres / 10}", "visibility_in_air", kilometres * 100.0)

    def _calm(self, coded: bool) -> None:
        if not coded:  # a direction that varies is an empty one
            self.put("wind_speed", "1.0", "wind_speed", 1.0)
            return
        removed = "5" if self._codes[1] == "223" else self._quality
        self.put("wind_direction", "999", "wind_from_direction", 0.0, measurement="C", quality=removed, flag=1)
        self.put("wind_speed", "0.0", "wind_speed", 0.0, measurement="C")

    def made(self) -> tuple[Row, list[Value]]:
        return self.row, self.values


def _at(day: date, minutes: int) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)


def _us_airport(day: date, recent: bool, draw: np.random.Generator) -> _Made:
    source, quality = ("413", "") if recent else ("343", "5")
    for hour in range(24):
        if hour % 3 == 0:
            synop = _Report(_at(day, hour * 60), "FM12", "412" if recent else "223", "" if recent else "1")
            pressure = round(1013 + draw.normal(0, 2), 1)
            synop.put("sea_level_pressure", f"{pressure}", "air_pressure_at_mean_sea_level", pressure)
            yield synop.made()
        total = 0.0
        wet = draw.random() < 0.15
        for minute in (15, 35) if wet else ():
            total = round(total + draw.integers(1, 20) / 10, 1)
            special = _Report(_at(day, hour * 60 + minute), "FM16", source, quality)
            special.put("precipitation", f"{total}", "", None, kept=False)  # a running total: the hour's is the last
            yield special.made()
        routine = _Report(_at(day, hour * 60 + 53), "FM15", source, quality)
        routine.weather(draw, not recent)
        total = round(total + draw.integers(0, 10) / 10, 1) if wet else 0.0
        traced = not wet and draw.random() < 0.05
        routine.put("precipitation", f"{total}", "precipitation_amount", total, 3600, measurement="T" if traced else "")
        if traced:
            told = 1 if quality else 2
            fallen = Value(routine.row.time, "precipitation_indicator", 1.0, 3600, told, source)
            routine.values.append(fallen)
        yield routine.made()


def _airport(day: date, recent: bool, draw: np.random.Generator) -> _Made:
    source, quality = ("413", "") if recent else ("223", "1")
    for half in range(48):
        report = _Report(_at(day, half * 30), "FM15", source, quality)
        report.weather(draw, not recent)
        altimeter = float(draw.integers(1000, 1025))
        report.put("altimeter", f"{altimeter}", "altimeter_setting", altimeter)
        yield report.made()


def _synop(day: date, recent: bool, draw: np.random.Generator) -> _Made:
    source, quality = ("412", "") if recent else ("223", "1")
    rainy, total = draw.random() < 0.3, 0.0
    for step in range(8):
        report = _Report(_at(day, step * 180), "FM12", source, quality)
        report.weather(draw, not recent)
        pressure = round(1013 + draw.normal(0, 2), 1)
        report.put("station_level_pressure", f"{pressure}", "surface_air_pressure", pressure)
        hours = step * 3 - 3  # since 03 UTC
        if rainy and hours > 0:
            total = round(total + draw.integers(0, 30) / 10, 1)
            report.put(f"precipitation_{hours}_hour", f"{total}", "precipitation_amount", total, hours * 3600)
        yield report.made()


_DAYS = {"us_airport": _us_airport, "airport": _airport, "synop": _synop}
