"""The table of metrics: one row per quantity that the lake can hold, defined nowhere else.

Names are CF standard names (CF Standard Name Table, v93) wherever CF has one; `cf=False` marks ours.

Units: CF's canonical units (K, Pa, 1) are awkward for people who read weather all day, so the lake keeps the
units that stations report (degree Celsius, hPa, percent). Both are written to the schema's metadata, so a
program can convert without guessing. `kg m-2` of liquid water is one millimetre.

Each limit names its source, a key of `SOURCES`. We do not have Zahumenský's tables; the figures are as two users of
them quote them: README_QUALITY_CONTROL.md of geovetarcentrum/climate-stations (steps, persistence) and the range table
of AWI's O2A quality control; the footnotes to persistence (humidity under 95 %, wind over 0.1 m/s) as a third
transcribes them, see docs/quality.md. `None`: no source gives a rule that holds, and none is invented.

Steps. Zahumenský gives the largest step of a minute. Multiplied by the minutes between two values it becomes no limit
at all (180 degrees an hour), and the next source there is, WMO-No. 305 (1993), VI.21, as quoted by R's dataresqc 1.1.1
(`wmo_time_consistency`: 4 degrees and 3 hPa in an hour, "suspect"), marks 18,032 of 2,627,395 hourly steps of good data
(`hourly/air_temperature` of 182 stations, 2018-09 to 2020-03): every convective afternoon. So the limit of an hour is
set above what these and other real data of DWD did, and between a minute and an hour it follows the power of time that
goes through both. Largest steps seen, and the limit: temperature 7.2 in 10 minutes (8.2) and 14.3 in an hour (18);
humidity 31.6 (37) and 62 (75); pressure 3.2 (7.3) and 5.3 (20); wind 6.6 and 10.0 (20, as of a minute: means of a
longer time change less). Ten minutes: 03379, 79,199 steps, wind 05705, 52,693; hours: those 182 stations, pressure
03379, wind 05705 and 01048.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """The aggregation rule that makes a window's value of its samples."""

    MEAN = "mean"
    SUM = "sum"  # null when the window is incomplete: a partial rain sum reads like a dry spell
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    DIRECTION = "direction"  # unit-vector mean, calms excluded, with the resultant length
    LAST = "last"  # codes and running totals, which neither add nor average
    STRIKES = "strikes"  # mean over the lightning strikes; a minute without strikes has no distance


_ZAHUMENSKY = "I. Zahumenský, Guidelines on Quality Control Procedures, WMO CBS/OPAG-IOS/ET AWS-3/Doc. 4(1), 2004"
SOURCES: dict[str, str] = {
    "Z plausible": f"{_ZAHUMENSKY}, table of plausible values",
    "Z variability": f"{_ZAHUMENSKY}, table of maximum allowed variability",
    "Z required": f"{_ZAHUMENSKY}, table of minimum required variability",
    "measured": "measured: above the largest steps of 182 stations of DWD, docs/quality.md, How large a step may be",
    "between": "physics: between dew point and air temperature, so within their limits",
    "definition": "by definition: amounts are not negative, a circle has 360 degrees, a sky 8 oktas",
    "rounding": "by definition; measured: DWD writes ten minutes as 0.167 hours, 1 % more",
}
"""The documents, with their table or section, and the measurements that stand for limits."""
RULE_SOURCES: dict[Rule, str] = {
    Rule.MEAN: "by definition: what is measured over a time is its mean",
    Rule.SUM: "by definition: amounts add up; ours: null under refine.rules.COMPLETE_SHARE",
    Rule.MAXIMUM: "by definition: the highest of an interval is that of its parts",
    Rule.MINIMUM: "by definition: the lowest of an interval is that of its parts",
    Rule.DIRECTION: "ours: the mean of unit vectors; calms excluded, WMO-No. 8, chapter 5",
    Rule.LAST: "ours: a code or a running total has neither sum nor mean",
    Rule.STRIKES: "by definition: the mean over strikes, weighted by their count",
}
"""Why a rule is as it is."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity: name, stored unit, CF unit, aggregation rule and plausible limits (in the stored unit).

    `cf_unit` is CF's canonical unit, or one that UDUNITS can convert to it. `highest_per_minute` is the limit of what
    adds up over an interval. A step within a minute may be `max_step_per_minute`, within an hour `max_step_per_hour`; a
    larger one fails, or is suspect where `step_fails` is false. A change below `min_change_per_hour` in an hour is
    suspect, where all its values lie above `varies_above` and below `varies_below`.

    `range_by`, `step_by` and `persistence_by` say where the limits come from, a key of `SOURCES` each, of steps that of
    a minute's limit and that of an hour's if it is another; `like` names the metric whose limits these are, or a part
    of them. `replaced_by` names the metric that is written today in the place of one that only older files hold.
    """

    name: str
    unit: str
    cf_unit: str
    long_name: str
    rule: Rule = Rule.MEAN
    cf: bool = True
    lowest: float | None = None
    highest: float | None = None
    highest_per_minute: float | None = None
    max_step_per_minute: float | None = None
    max_step_per_hour: float | None = None
    step_fails: bool = True
    min_change_per_hour: float | None = None
    varies_above: float | None = None
    varies_below: float | None = None
    range_by: str = ""
    step_by: tuple[str, ...] = ()
    persistence_by: str = ""
    like: str = ""
    replaced_by: str | None = None


_DURATION = 1.01
"""Minutes in a minute: DWD writes ten of them as 0.167 hours."""


_TABLE = (
    Metric(
        "air_temperature", "degree_Celsius", "K", "Air temperature",
        lowest=-80, highest=60, max_step_per_minute=3, max_step_per_hour=18, min_change_per_hour=0.1,
        range_by="Z plausible", step_by=("Z variability", "measured"), persistence_by="Z required",
    ),
    Metric(
        "air_temperature_at_5_cm", "degree_Celsius", "K", "Air temperature 5 cm above ground",
        cf=False, lowest=-80, highest=60, like="air_temperature",
    ),
    Metric("dew_point_temperature", "degree_Celsius", "K", "Dew point", lowest=-80, highest=35,
           range_by="Z plausible"),
    Metric("wet_bulb_temperature", "degree_Celsius", "K", "Wet-bulb temperature",
           lowest=-80, highest=60, range_by="between"),
    Metric("water_vapor_partial_pressure_in_air", "hPa", "Pa", "Vapour pressure", lowest=0, range_by="definition"),
    Metric("mass_concentration_of_water_vapor_in_air", "g m-3", "kg m-3", "Absolute humidity", lowest=0,
           range_by="definition"),
    Metric("visibility_in_air", "m", "m", "Horizontal visibility", lowest=0, range_by="definition"),
    Metric(
        "relative_humidity", "percent", "1", "Relative humidity",
        lowest=0, highest=100, max_step_per_minute=15, max_step_per_hour=75,
        min_change_per_hour=1, varies_below=95,
        range_by="Z plausible", step_by=("Z variability", "measured"), persistence_by="Z required",
    ),
    Metric(
        "surface_air_pressure", "hPa", "Pa", "Station pressure",
        lowest=500, highest=1100, max_step_per_minute=2, max_step_per_hour=20, min_change_per_hour=0.1,
        range_by="Z plausible", step_by=("Z variability", "measured"), persistence_by="Z required",
    ),
    Metric("air_pressure_at_mean_sea_level", "hPa", "Pa", "Pressure reduced to sea level",
           lowest=500, highest=1100, max_step_per_minute=2, max_step_per_hour=20,
           min_change_per_hour=0.1, like="surface_air_pressure"),
    Metric("altimeter_setting", "hPa", "Pa", "Pressure reduced to sea level by the standard atmosphere", cf=False,
           lowest=500, highest=1100, max_step_per_minute=2, max_step_per_hour=20, like="surface_air_pressure"),
    Metric(
        "wind_speed", "m s-1", "m s-1", "Mean wind speed",
        lowest=0, highest=75, max_step_per_minute=20, max_step_per_hour=20,
        min_change_per_hour=0.5, varies_above=0.1,
        range_by="Z plausible", step_by=("Z variability", "measured"), persistence_by="Z required",
    ),
    Metric("wind_speed_of_gust", "m s-1", "m s-1", "Highest gust", Rule.MAXIMUM, lowest=0, highest=75,
           range_by="Z plausible"),
    Metric("wind_speed_lull", "m s-1", "m s-1", "Lowest wind speed in the interval", Rule.MINIMUM, cf=False,
           lowest=0, highest=75, like="wind_speed"),
    Metric("wind_speed_maximum_of_1_minute_mean", "m s-1", "m s-1",
           "Highest one-minute mean of the 3-second maxima in the interval", Rule.MAXIMUM, cf=False,
           lowest=0, highest=75, like="wind_speed"),
    Metric("wind_from_direction", "degree", "degree", "Direction the wind comes from", Rule.DIRECTION,
           lowest=0, highest=360, min_change_per_hour=10, range_by="Z plausible", persistence_by="Z required"),
    Metric("wind_gust_from_direction", "degree", "degree", "Direction the highest gust came from", Rule.DIRECTION,
           lowest=0, highest=360, range_by="definition"),
    Metric("precipitation_amount", "kg m-2", "kg m-2", "Precipitation in the interval", Rule.SUM,
           lowest=0, highest_per_minute=40, range_by="Z plausible"),
    Metric("precipitation_amount_nearcast", "kg m-2", "kg m-2",
           "Precipitation in the interval, corrected by Nearcast", Rule.SUM, cf=False,
           lowest=0, highest_per_minute=40, like="precipitation_amount"),
    Metric("precipitation_amount_of_local_day", "kg m-2", "kg m-2",
           "Precipitation since local midnight", Rule.LAST, cf=False, lowest=0, range_by="definition"),
    Metric("precipitation_amount_of_local_day_nearcast", "kg m-2", "kg m-2",
           "Precipitation since local midnight, corrected by Nearcast", Rule.LAST, cf=False, lowest=0,
           range_by="definition"),
    Metric("surface_snow_thickness", "cm", "m", "Snow depth", lowest=0, range_by="definition"),
    Metric("precipitation_duration", "min", "s", "Minutes with precipitation in the interval", Rule.SUM,
           cf=False, lowest=0, highest_per_minute=_DURATION, range_by="rounding"),
    Metric("precipitation_indicator", "1", "1", "Precipitation fell (0 no, 1 yes)", Rule.MAXIMUM, cf=False,
           lowest=0, highest=1, range_by="definition"),
    Metric("precipitation_type", "1", "1", "Kind of precipitation, by the service's code", Rule.LAST,
           cf=False),
    Metric("precipitation_analysis_type", "1", "1", "Nearcast analysis, by the service's code", Rule.LAST,
           cf=False),
    # The source of 800 W/m2 does not say whether it is suspect or wrong; the edge of a cloud at noon comes near to it.
    Metric("surface_downwelling_shortwave_flux_in_air", "W m-2", "W m-2", "Global solar radiation",
           lowest=0, highest=1600, max_step_per_minute=800, max_step_per_hour=800, step_fails=False,
           range_by="Z plausible", step_by=("Z variability",)),
    Metric("surface_diffuse_downwelling_shortwave_flux_in_air", "W m-2", "W m-2", "Diffuse solar radiation",
           lowest=0, highest=1600, max_step_per_minute=800, max_step_per_hour=800, step_fails=False,
           like="surface_downwelling_shortwave_flux_in_air"),
    Metric("surface_downwelling_longwave_flux_in_air", "W m-2", "W m-2",
           "Atmospheric counter-radiation", lowest=0, highest=1600, like="surface_downwelling_shortwave_flux_in_air"),
    Metric("duration_of_sunshine", "min", "s", "Sunshine in the interval", Rule.SUM, lowest=0,
           highest_per_minute=_DURATION, range_by="rounding"),
    Metric("ultraviolet_index", "1", "1", "UV index", lowest=0, range_by="definition"),
    Metric("illuminance", "lx", "lx", "Illuminance", cf=False, lowest=0, range_by="definition"),
    Metric("cloud_area_fraction", "okta", "1/8", "Total cloud cover", lowest=0, highest=8,
           range_by="definition"),  # UDUNITS knows no okta
    Metric("cloud_observation_method", "1", "1",
           "How cloud was observed (0 person, 1 instrument), -1 in the source means sky not visible",
           Rule.LAST, cf=False),
    Metric("lightning_strike_count", "1", "1", "Lightning strikes in the interval", Rule.SUM, cf=False,
           lowest=0, range_by="definition"),
    Metric("lightning_mean_distance", "km", "m", "Mean distance of lightning", Rule.STRIKES, cf=False,
           lowest=0, range_by="definition"),
    Metric("battery_voltage", "V", "V", "Battery of the station", cf=False, lowest=0, range_by="definition"),
    Metric("wind_sample_interval", "s", "s", "Seconds between wind samples", Rule.LAST, cf=False),
    Metric("reporting_interval", "min", "s", "Minutes between reports", Rule.LAST, cf=False),
    # Names of older files, which go by the rules that they were written by.
    Metric("wind_from_direction_of_gust", "degree", "degree", "Direction of the highest gust", Rule.DIRECTION,
           cf=False, lowest=0, highest=360, replaced_by="wind_gust_from_direction", range_by="definition"),
    Metric("wind_speed_minimum_of_10_minute_mean", "m s-1", "m s-1",
           "Lowest wind speed, named a 10-minute mean by mistake", Rule.MINIMUM, cf=False, lowest=0, highest=75,
           replaced_by="wind_speed_lull", like="wind_speed"),
    Metric("wind_speed_maximum_of_10_minute_mean", "m s-1", "m s-1",
           "Highest one-minute mean of the 3-second maxima, named a 10-minute mean by mistake", Rule.MAXIMUM, cf=False,
           lowest=0, highest=75, replaced_by="wind_speed_maximum_of_1_minute_mean", like="wind_speed"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
assert len(METRICS) == len(_TABLE), "a metric stands twice in the table"


def rule_of(name: str) -> Rule:
    """The aggregation rule of a metric; one that is not in the table is averaged, which suits most sensors."""
    metric = METRICS.get(name)
    return metric.rule if metric else Rule.MEAN
