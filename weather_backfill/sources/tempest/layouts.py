"""What stands where in the reports of Tempest, Air and Sky devices.

Positions and units are those of WeatherFlow's "Observation Record Format" (obs_st, obs_air, obs_sky). Units are metric
on the wire whatever the owner's settings. An Air measures air, a Sky wind, rain and light; a Tempest all of it, so that
their metrics are those of a Tempest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Position in the array of obs_st -> metric; position 0 is the time in epoch seconds, UTC.
FIELDS = (
    "wind_speed_lull",
    "wind_speed",
    "wind_speed_of_gust",
    "wind_from_direction",
    "wind_sample_interval",
    "surface_air_pressure",
    "air_temperature",
    "relative_humidity",
    "illuminance",
    "ultraviolet_index",
    "surface_downwelling_shortwave_flux_in_air",
    "precipitation_amount",
    "precipitation_type",
    "lightning_mean_distance",
    "lightning_strike_count",
    "battery_voltage",
    "reporting_interval",
    "precipitation_amount_of_local_day",
    "precipitation_amount_nearcast",
    "precipitation_amount_of_local_day_nearcast",
    "precipitation_analysis_type",
)
_AIR = (
    "surface_air_pressure",
    "air_temperature",
    "relative_humidity",
    "lightning_strike_count",
    "lightning_mean_distance",
    "battery_voltage",
    "reporting_interval",
)
_SKY = (
    "illuminance",
    "ultraviolet_index",
    "precipitation_amount",
    "wind_speed_lull",
    "wind_speed",
    "wind_speed_of_gust",
    "wind_from_direction",
    "battery_voltage",
    "reporting_interval",
    "surface_downwelling_shortwave_flux_in_air",
    "precipitation_amount_of_local_day",
    "precipitation_type",
    "wind_sample_interval",
    "precipitation_amount_nearcast",
    "precipitation_amount_of_local_day_nearcast",
    "precipitation_analysis_type",
)


class Layout(NamedTuple):
    """A kind of report: the message's type, and the metrics at positions 1 and up."""

    type: str
    metrics: tuple[str, ...]

    @property
    def length(self) -> int:
        """Elements of a report, the time included."""
        return len(self.metrics) + 1


LAYOUTS = (
    Layout("obs_st", FIELDS[:17]),  # by UDP
    Layout("obs_st", FIELDS),  # by REST and WebSocket
    Layout("obs_air", _AIR),
    Layout("obs_sky", _SKY[:13]),  # by UDP
    Layout("obs_sky", _SKY),
)
TYPES = tuple(dict.fromkeys(layout.type for layout in LAYOUTS))
LONGEST = max(layout.length for layout in LAYOUTS)

POSITIONS = np.array([[(0, *one.metrics).index(m) if m in one.metrics else 0 for m in FIELDS] for one in LAYOUTS])
"""By layout and field: where the field stands in a report; 0 where a report says nothing of it."""

SAID: npt.NDArray[np.int32] = ((POSITIONS > 0) << np.arange(len(FIELDS))).sum(axis=1).astype("i4")
"""By layout: the fields that its reports speak of, one bit each."""

LAYOUT_OF = np.full((len(TYPES), LONGEST + 2), -1)
"""By type and length: the layout, or -1; longer reports than any count as one more than the longest."""
for _number, _layout in enumerate(LAYOUTS):
    LAYOUT_OF[TYPES.index(_layout.type), _layout.length] = _number


def speaks_of(said: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """By report and field: whether the report speaks of the field, be it by null."""
    return np.asarray((said[:, None] >> np.arange(len(FIELDS))) & 1, dtype=bool)
