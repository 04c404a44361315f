"""The table of metrics: one row per quantity that the lake can hold, defined nowhere else.

Names are CF standard names (CF Standard Name Table v90) wherever CF has one; `cf=False` marks ours.

Units: CF's canonical units (K, Pa, 1) are awkward for people who read weather all day, so the lake keeps the
units that stations report (degree Celsius, hPa, percent). Both are written to the schema's metadata, so a
program can convert without guessing. `kg m-2` of liquid water is one millimetre.

Limits are Zahumenský's (WMO CBS/OPAG-IOS, Guidelines on Quality Control Procedures for Data from Automatic
Weather Stations, 2004): a fixed plausible range, the largest believable step per minute, and the smallest
believable change in 60 minutes. `None`: the guidelines give no rule, and none is invented.
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


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity: name, stored unit, CF unit, aggregation rule and plausible limits (in the stored unit)."""

    name: str
    unit: str
    cf_unit: str
    long_name: str
    rule: Rule = Rule.MEAN
    cf: bool = True
    lowest: float | None = None
    highest: float | None = None
    max_step_per_minute: float | None = None
    min_change_per_hour: float | None = None


_TABLE = (
    Metric(
        "air_temperature", "degree_Celsius", "K", "Air temperature",
        lowest=-80, highest=60, max_step_per_minute=3, min_change_per_hour=0.1,
    ),
    Metric(
        "air_temperature_at_5_cm", "degree_Celsius", "K", "Air temperature 5 cm above ground",
        cf=False, lowest=-80, highest=60,
    ),
    Metric("dew_point_temperature", "degree_Celsius", "K", "Dew point", lowest=-80, highest=35),
    Metric("wet_bulb_temperature", "degree_Celsius", "K", "Wet-bulb temperature", lowest=-80, highest=60),
    Metric("water_vapor_partial_pressure_in_air", "hPa", "Pa", "Vapour pressure", lowest=0),
    Metric("mass_concentration_of_water_vapor_in_air", "g m-3", "kg m-3", "Absolute humidity", lowest=0),
    Metric("visibility_in_air", "m", "m", "Horizontal visibility", lowest=0),
    Metric(
        "relative_humidity", "percent", "1", "Relative humidity",
        lowest=0, highest=100, max_step_per_minute=15,
    ),
    Metric(
        "surface_air_pressure", "hPa", "Pa", "Station pressure",
        lowest=500, highest=1100, max_step_per_minute=2, min_change_per_hour=0.1,
    ),
    Metric("air_pressure_at_mean_sea_level", "hPa", "Pa", "Pressure reduced to sea level",
           lowest=500, highest=1100, max_step_per_minute=2, min_change_per_hour=0.1),
    Metric(
        "wind_speed", "m s-1", "m s-1", "Mean wind speed",
        lowest=0, highest=75, max_step_per_minute=20, min_change_per_hour=0.5,
    ),
    Metric("wind_speed_of_gust", "m s-1", "m s-1", "Highest gust", Rule.MAXIMUM, lowest=0, highest=75),
    Metric("wind_speed_lull", "m s-1", "m s-1", "Lowest wind speed", Rule.MINIMUM, cf=False,
           lowest=0, highest=75),
    Metric("wind_speed_minimum_of_10_minute_mean", "m s-1", "m s-1",
           "Lowest wind speed, as older days name it", Rule.MINIMUM, cf=False, lowest=0, highest=75),
    Metric("wind_speed_maximum_of_10_minute_mean", "m s-1", "m s-1",
           "Highest one-minute wind speed, as older days name it", Rule.MAXIMUM, cf=False, lowest=0, highest=75),
    Metric("wind_from_direction", "degree", "degree", "Direction the wind comes from", Rule.DIRECTION,
           lowest=0, highest=360),
    Metric("wind_from_direction_of_gust", "degree", "degree",
           "Direction of the highest gust, as older days name it", Rule.DIRECTION, cf=False, lowest=0, highest=360),
    Metric("wind_gust_from_direction", "degree", "degree", "Direction of the highest gust", Rule.DIRECTION,
           lowest=0, highest=360),
    Metric("wind_speed_maximum_of_1_minute_mean", "m s-1", "m s-1",
           "Highest one-minute mean of the 3-second maxima of wind speed", Rule.MAXIMUM, cf=False,
           lowest=0, highest=75),
    Metric("precipitation_amount", "kg m-2", "kg m-2", "Precipitation in the interval", Rule.SUM,
           lowest=0),  # 40 mm a minute: the limit follows the interval, see refine/quality.py
    Metric("precipitation_amount_nearcast", "kg m-2", "kg m-2",
           "Precipitation in the interval, corrected by Nearcast", Rule.SUM, cf=False, lowest=0),
    Metric("precipitation_amount_of_local_day", "kg m-2", "kg m-2",
           "Precipitation since local midnight", Rule.LAST, cf=False, lowest=0),
    Metric("precipitation_amount_of_local_day_nearcast", "kg m-2", "kg m-2",
           "Precipitation since local midnight, corrected by Nearcast", Rule.LAST, cf=False, lowest=0),
    Metric("precipitation_duration", "min", "s", "Minutes with precipitation in the interval", Rule.SUM,
           cf=False, lowest=0, highest=60),
    Metric("precipitation_indicator", "1", "1", "Precipitation fell (0 no, 1 yes)", Rule.MAXIMUM, cf=False),
    Metric("precipitation_type", "1", "1", "Kind of precipitation, by the service's code", Rule.LAST,
           cf=False),
    Metric("precipitation_analysis_type", "1", "1", "Nearcast analysis, by the service's code", Rule.LAST,
           cf=False),
    Metric("surface_downwelling_shortwave_flux_in_air", "W m-2", "W m-2", "Global solar radiation",
           lowest=0, highest=1600),
    Metric("surface_diffuse_downwelling_shortwave_flux_in_air", "W m-2", "W m-2",
           "Diffuse solar radiation", lowest=0, highest=1600),
    Metric("surface_downwelling_longwave_flux_in_air", "W m-2", "W m-2",
           "Atmospheric counter-radiation", lowest=0, highest=1600),
    Metric("duration_of_sunshine", "min", "s", "Sunshine in the interval", Rule.SUM, lowest=0, highest=60),
    Metric("ultraviolet_index", "1", "1", "UV index", lowest=0),
    Metric("illuminance", "lx", "lx", "Illuminance", cf=False, lowest=0),
    Metric("cloud_area_fraction", "okta", "1", "Total cloud cover", lowest=0, highest=8),
    Metric("cloud_observation_method", "1", "1",
           "How cloud was observed (0 person, 1 instrument), -1 in the source means sky not visible",
           Rule.LAST, cf=False),
    Metric("lightning_strike_count", "1", "1", "Lightning strikes in the interval", Rule.SUM, cf=False,
           lowest=0),
    Metric("lightning_mean_distance", "km", "m", "Mean distance of lightning", Rule.STRIKES, cf=False,
           lowest=0),
    Metric("battery_voltage", "V", "V", "Battery of the station", cf=False, lowest=0),
    Metric("wind_sample_interval", "s", "s", "Seconds between wind samples", Rule.LAST, cf=False),
    Metric("reporting_interval", "min", "s", "Minutes between reports", Rule.LAST, cf=False),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
assert len(METRICS) == len(_TABLE), "a metric stands twice in the table"


def rule_of(name: str) -> Rule:
    """The aggregation rule of a metric; one that is not in the table is averaged, which suits most sensors."""
    metric = METRICS.get(name)
    return metric.rule if metric else Rule.MEAN
