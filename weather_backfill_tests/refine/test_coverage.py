"""Coverage by station and metric, its place in the footer, and required metrics without a value."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from weather_backfill.model.days import Cadence, RawDay
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.expectation import Lack
from weather_backfill.model.limits import Limits
from weather_backfill.refine.checks import check_raw
from weather_backfill.refine.coverage import FOOTER_BYTES, Coverage, coverage, decoded, wholly_null
from weather_backfill_tests.refine.test_windows import raw_table

HOURS = range(0, 86_400, 3600)
REQUIRED = frozenset({"air_temperature", "surface_air_pressure"})


def day(table: pa.Table, **more: object) -> RawDay:
    return RawDay(date(2024, 3, 31), table, Cadence(3600), **more)  # type: ignore[arg-type]


def two_stations() -> pa.Table:
    """Station a whole; station b with half a day of temperature and no pressure at all."""
    rows = [(s, "a", metric, 1000.0, 1) for metric in sorted(REQUIRED) for s in HOURS]
    rows += [(s, "b", "air_temperature", 10.0 if s < 43_200 else None, 1 if s < 43_200 else 9) for s in HOURS]
    return raw_table([*rows, *((s, "b", "surface_air_pressure", None, 9) for s in HOURS)])


def test_shares_are_by_station_and_by_metric() -> None:
    found = coverage(day(two_stations(), expected_metrics={"a": frozenset({"wind_speed"})}))
    assert sorted(found.series()) == [
        ("a", "air_temperature", 1.0), ("a", "surface_air_pressure", 1.0), ("a", "wind_speed", 0.0),
        ("b", "air_temperature", 0.5), ("b", "surface_air_pressure", 0.0),
    ]  # fmt: skip
    assert found.by_metric == {"air_temperature": 0.75, "surface_air_pressure": 0.5, "wind_speed": 0.0}
    assert found.by_station == pytest.approx({"a": 2 / 3, "b": 0.25})


def test_a_required_metric_without_a_value_fails_the_day_and_is_named() -> None:
    table = two_stations()
    covered = coverage(day(table))
    [lack] = wholly_null(covered, REQUIRED)
    assert (lack.station, lack.metric) == ("b", "surface_air_pressure")
    judged = check_raw(day(table, lacks=(lack,)), covered, Limits(required=REQUIRED))
    [result] = [r for r in judged if r.check == "expected_data"]
    assert (result.passed, result.error) == (False, True)
    assert "station b surface_air_pressure: required, and without a value all day" in result.description
    assert wholly_null(covered, frozenset({"wind_speed"})) == (), "no row of it came, and nobody expected one"


def test_a_metric_has_a_target_and_limits_of_its_own() -> None:
    table = two_stations()
    covered = coverage(day(table))
    limits = Limits(0.5, targets={"surface_air_pressure": 0.6}, failed={"air_temperature": 0.0})
    results = {r.check: r for r in check_raw(day(table), covered, limits)}
    assert not results["completeness"].passed
    assert "surface_air_pressure 50% of 60%" in results["completeness"].description
    quality = np.asarray(table["quality"]).copy()
    quality[0] = 4
    bad = table.set_column(4, table.schema.field("quality"), pa.array(quality, pa.int8()))
    [plausible] = [r for r in check_raw(day(bad), covered, limits) if r.check == "plausible_values"]
    assert not plausible.passed
    assert "air_temperature: 3% failed (limit 0%)" in plausible.description


def test_the_footer_gives_back_what_went_in() -> None:
    found = coverage(day(two_stations()))
    back, whole = decoded(found.encode())
    assert whole
    assert sorted(back.series()) == sorted(found.series())


def test_a_footer_has_room_for_the_least_covered_of_many_series() -> None:
    names = tuple(f"building/{n * 7919 % 1_000_003}/point-{n}" for n in range(60_000))
    rng = np.random.default_rng(1)
    shares = rng.random(60_000)
    many = Coverage(("site",), names, np.zeros(60_000, "i8"), np.arange(60_000), shares)
    text = many.encode()
    back, whole = decoded(text)
    assert len(text) <= FOOTER_BYTES
    assert not whole
    assert len(back.shares)
    assert max(back.shares) <= np.sort(shares)[len(back.shares) - 1] + 0.001


@pytest.mark.parametrize("text", ["", "AAAA", "not base64 at all!"])
def test_a_damaged_footer_is_an_error(text: str) -> None:
    with pytest.raises(UnreadableObjectError):
        decoded(text)


def test_stations_that_share_a_cause_are_named_together() -> None:
    from weather_backfill.model.expectation import words

    assert words([Lack("2", part="wind", cause="no file"), Lack("1", part="wind", cause="no file")]) == (
        "station 1, 2: no file"
    )
    assert words([]) is None
