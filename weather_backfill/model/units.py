"""Units that upstreams use, and their conversion to the unit that a metric is stored in.

Factors are exact by definition (inch, mile, nautical mile: NIST SP 811, appendix B.8) but for `inHg`, conventional
mercury at 0 °C (the same appendix).
"""

from __future__ import annotations

from collections.abc import Mapping

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.metrics import METRICS

_TO_STORED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "degree_Celsius": {"degC": (1, 0), "degF": (5 / 9, -160 / 9), "K": (1, -273.15)},
    "hPa": {"mbar": (1, 0), "Pa": (0.01, 0), "kPa": (10, 0), "inHg": (33.86389, 0)},
    "m s-1": {"m/s": (1, 0), "km/h": (1 / 3.6, 0), "mph": (0.44704, 0), "kn": (1852 / 3600, 0)},
    "kg m-2": {"mm": (1, 0), "in": (25.4, 0)},
    "percent": {"%": (1, 0), "1": (100, 0)},
    "W m-2": {"W/m2": (1, 0)},
    "m": {"km": (1000, 0), "mi": (1609.344, 0)},
    "min": {"s": (1 / 60, 0), "h": (60, 0)},
}


def conversion(metric: str, unit: str | None) -> tuple[float, float]:
    """Factor and offset that turn values of `unit` into the metric's stored unit; (1, 0) where no unit is given.

    Raises `ConfigurationError` for a metric that is not known, or a unit that it is never given in.
    """
    if metric not in METRICS:
        raise ConfigurationError(f"metric {metric!r} is not known: expected a name such as air_temperature.")
    stored = METRICS[metric].unit
    known = {stored: (1.0, 0.0), **_TO_STORED.get(stored, {})}
    if unit is not None and unit not in known:
        raise ConfigurationError(f"unit {unit!r} of {metric}: expected one of {', '.join(known)}.")
    return known[unit or stored]
