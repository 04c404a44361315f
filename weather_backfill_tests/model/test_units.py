"""Conversions against values that are known by definition."""

from __future__ import annotations

import pytest

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.units import conversion


@pytest.mark.parametrize(
    ("metric", "unit", "given", "stored"),
    [
        ("air_temperature", "degF", 212.0, 100.0),
        ("air_temperature", "degF", -40.0, -40.0),
        ("air_temperature", "K", 273.15, 0.0),
        ("air_temperature", None, 21.5, 21.5),
        ("surface_air_pressure", "Pa", 101325.0, 1013.25),
        ("surface_air_pressure", "inHg", 30.0, 1015.9167),
        ("wind_speed", "kn", 3600.0, 1852.0),
        ("wind_speed", "km/h", 36.0, 10.0),
        ("wind_speed", "mph", 100.0, 44.704),
        ("precipitation_amount", "in", 2.0, 50.8),
        ("precipitation_amount", "mm", 3.0, 3.0),
        ("relative_humidity", "1", 0.5, 50.0),
        ("visibility_in_air", "mi", 1.0, 1609.344),
        ("duration_of_sunshine", "s", 90.0, 1.5),
    ],
)
def test_a_value_is_converted(metric: str, unit: str | None, given: float, stored: float) -> None:
    factor, offset = conversion(metric, unit)
    assert given * factor + offset == pytest.approx(stored, abs=1e-4)


def test_what_cannot_be_is_refused_with_what_can() -> None:
    with pytest.raises(ConfigurationError, match=r"temp.*expected a name such as air_temperature"):
        conversion("temp", None)
    with pytest.raises(ConfigurationError, match="unit 'hPa' of air_temperature: expected one of degree_Celsius, degC"):
        conversion("air_temperature", "hPa")
