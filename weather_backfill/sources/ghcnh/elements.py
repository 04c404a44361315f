"""GHCNh's elements: what becomes of each, and what its codes mean.

Sources: NOAA's `ghcnh_DOCUMENTATION` of version 1.1.0 (10 March 2026), sections IV to VII and IX, and
`ghcnh-source-list` for the terms of sources.

An element is six columns: its value, and `_Measurement_Code`, `_Quality_Code`, `_Report_Type`, `_Source_Code` and
`_Source_Station_ID`. A row is merged by element, so each element's codes are its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from weather_backfill.model.schemas import FAIL, NOT_EVALUATED, PASS, SUSPECT

MEASUREMENT, QUALITY, REPORT, SOURCE = "_Measurement_Code", "_Quality_Code", "_Report_Type", "_Source_Code"
ATTRIBUTES = (MEASUREMENT, QUALITY, REPORT, SOURCE, "_Source_Station_ID")
HOUR = 3600
RAIN = "precipitation_amount"
TRACE = "precipitation_indicator"
"""The metric that says of a trace that precipitation fell: its amount is 0."""


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is kept: the metric it becomes, the factor to its stored unit, and what a value stands for."""

    name: str
    metric: str
    factor: float = 1.0
    seconds: int = 0
    """Length of the interval that ends at the stamp; 0: a reading."""
    checked: bool = False
    """One of the six that GHCNh checks itself once sources are merged, and whose letters are failed checks."""


_RAIN_BY_HOURS = tuple(
    Element(f"precipitation_{h}_hour", RAIN, seconds=h * HOUR) for h in (3, 6, 9, 12, 15, 18, 21, 24)
)

ELEMENTS = (
    Element("temperature", "air_temperature", checked=True),
    Element("dew_point_temperature", "dew_point_temperature", checked=True),
    Element("station_level_pressure", "surface_air_pressure", checked=True),
    Element("sea_level_pressure", "air_pressure_at_mean_sea_level", checked=True),
    Element("wind_direction", "wind_from_direction", checked=True),
    Element("wind_speed", "wind_speed", checked=True),
    Element("wind_gust", "wind_speed_of_gust"),
    Element("relative_humidity", "relative_humidity"),
    Element("wet_bulb_temperature", "wet_bulb_temperature"),
    Element("visibility", "visibility_in_air", factor=1000),  # km
    Element("altimeter", "altimeter_setting"),
    Element("snow_depth", "surface_snow_thickness", factor=0.1),  # mm; the lake keeps cm
    Element("precipitation", RAIN, seconds=HOUR),
    Element("precipitation_5_minute", RAIN, seconds=300),
    Element("precipitation_15_minute", RAIN, seconds=900),
    *_RAIN_BY_HOURS,
)
METRICS = sorted({element.metric for element in ELEMENTS} | {TRACE})

WITH_REPORTS = ("temperature", "wind_speed", "sea_level_pressure", "precipitation")
"""Elements whose report type is read: the first that a file has tells routine reports from specials."""
CODES = {
    element.name: (
        *((MEASUREMENT,) if element.metric == RAIN or element.name == "wind_direction" else ()), QUALITY,
        *((REPORT,) if element.name in WITH_REPORTS else ()), SOURCE,
    )
    for element in ELEMENTS
}  # fmt: skip
"""The codes that are read of each element: those that a rule asks for."""

_TEXTS = ("pressure_3hr_change", "sky_condition", "sky_condition_baseht", "ceiling_height", "REM")
_LAYERS = tuple(f"sky_cover_{kind}_{n}" for kind in ("layer", "layer_baseht", "summation", "summation_baseht")
                for n in (1, 2, 3, 4))  # fmt: skip
_WEATHER = tuple(f"pres_wx_{kind}{n}" for kind in ("MW", "AU", "AW") for n in (1, 2, 3))
_OLD = (*(f"sky_cover_{n}" for n in (1, 2, 3)), *(f"sky_cover_baseht_{n}" for n in (1, 2, 3)), "remarks")
_BASE = ("STATION", "Station_ID", "Station_name", "DATE", "Year", "Month", "Day", "Hour", "Minute", "LATITUDE",
         "LONGITUDE", "ELEVATION", "Latitude", "Longitude", "Elevation")  # fmt: skip
_KNOWN_ELEMENTS = (*(e.name for e in ELEMENTS), *_TEXTS, *_LAYERS, *_WEATHER, *_OLD)
KNOWN_COLUMNS = frozenset(_BASE) | {name + end for name in _KNOWN_ELEMENTS for end in ("", *ATTRIBUTES)}
"""The columns of versions 1.0.1 and 1.1.0; any other is passed over and named in the day's metadata."""

SPORADIC = (RAIN, TRACE, "wind_speed_of_gust", "surface_snow_thickness")
"""Metrics that are reported when there is something to tell: a value a day is all that can be expected of them."""

RUNNING = frozenset({"FM15", "FM16", "SAO", "SAOSP", "SSA", "SAAU", "SYMT", "SYSA", "SMARS"})
"""Report types (METAR, SPECI, airways) whose `precipitation` is a running total since the last routine report."""
SPECIAL = frozenset({"FM16", "SAOSP"})
"""Of them those that are sent when something changes."""

# Table 3, legacy codes by source.
_NCEI = frozenset({"313", "314", "315", "322", "335", "343", "344", "346"})
_AIR_FORCE = frozenset({"220", "221", "222", "223", "347", "348"})
_CRN, _HPD = "345", "382"
_NCEI_CODES = {
    "0": NOT_EVALUATED, "4": NOT_EVALUATED, "9": NOT_EVALUATED,  # gross limits alone
    "1": PASS, "5": PASS, "2": SUSPECT, "6": SUSPECT, "3": FAIL, "7": FAIL,
    "A": PASS, "U": PASS, "P": PASS, "I": PASS, "M": PASS, "R": PASS,  # accepted, or edited by a person or NCEI
}  # fmt: skip
_AIR_FORCE_CODES = {"0": NOT_EVALUATED, "1": PASS, "2": SUSPECT, "3": FAIL, "4": PASS, "5": FAIL}
_CRN_CODES = {"0": PASS, "1": SUSPECT, "3": FAIL}
_HPD_CODES = {"": PASS, "A": PASS, "Q": SUSPECT, "q": SUSPECT, "R": SUSPECT, **dict.fromkeys("XNYKGOZMD", FAIL)}
_LETTERS = frozenset("abcdefhiklmnoprstuvwxz")


def flag_of(element: Element, source: str, code: str) -> int | None:
    """Our flag for an element's quality code from a source; None for a code that the documentation does not have.

    Without a code nobody has looked (recent weeks), except in source 382, where a blank is good.
    """
    if source == _HPD and not element.checked:
        return _HPD_CODES.get(code)
    if code == "":
        return NOT_EVALUATED
    if element.checked and code in _LETTERS:
        return FAIL
    if element.name in ("relative_humidity", "wet_bulb_temperature") and code in ("o", "f"):
        return FAIL if code == "o" else SUSPECT
    if source in _NCEI:
        return _NCEI_CODES.get(code)
    if source in _AIR_FORCE:
        return _AIR_FORCE_CODES.get(code)
    return _CRN_CODES.get(code) if source == _CRN else None


def level_of(code: str) -> int | None:
    """A quality code as `source_quality` keeps it: a digit as its number, a letter as its ASCII number; None: none."""
    if len(code) != 1 or not code.isascii():
        return None
    return int(code) if code.isdigit() else ord(code)


def removed_beside_calm(source: str, code: str) -> bool:
    """Whether a code says that the 999 of a calm was removed: of the direction, which is told by the calm, nothing."""
    return source in _AIR_FORCE and code == "5"


# Table 2. Of precipitation, and of snow depth.
_DOUBTFUL_AIR_FORCE = {"1", "3", "4", "5", "6", "7", "8", "I", "J"}


def is_trace(element: Element, source: str, code: str) -> bool:
    """Whether a measurement code says that what fell is too little to measure."""
    return element.metric == RAIN and (code == "T" or (code == "2" and source != _HPD))


def is_doubtful(element: Element, source: str, code: str) -> bool:
    """Whether a measurement code says that the amount is inaccurate, incomplete or of another period."""
    if element.metric != RAIN:
        return False
    return code in _DOUBTFUL_AIR_FORCE if source in _AIR_FORCE else code == "1" and source in _NCEI


def accumulated_hours(source: str, quality: str, measurement: str) -> int | None:
    """The hours that a total of source 382 stands for where they are more than one; 0 where it does not say them."""
    if source != _HPD or quality != "A":
        return None
    return int(measurement) if measurement.isdigit() else 0


MISSING_VALUES = {"precipitation": -9999.0}
"""Numbers that stand for nothing (source 382)."""

# `ghcnh-source-list`: Resolution 40 of the WMO, mixed policies, a licence without commercial use.
_RESTRICTED = frozenset({
    220, 221, 222, 223, 246, 249, 251, 259, 260, 261, 264, 265, 273, 275, 276, 278, 279, 280, 282, 283, 284, 288, 291,
    293, 295, 299, 302, 303, 309, 317, 318, 319, 322, 325, 333, 357,
})  # fmt: skip
_LISTED = frozenset({
    83, 88, 158, *range(171, 178), 179, 180, 220, 221, 222, 223, *range(246, 351), 356, 357, 382,
})  # fmt: skip


def is_open(source: str) -> bool:
    """Whether the source list says that a source is open; one that it lacks (412, 413: recent weeks) is not."""
    return source.isdigit() and int(source) in _LISTED - _RESTRICTED
