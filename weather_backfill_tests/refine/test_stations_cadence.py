"""A cadence of a station's own, metrics that come when there is something to tell, and a service's own flags."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from weather_backfill.lake import parquet
from weather_backfill.model.days import Cadence, RawDay
from weather_backfill.model.schemas import RAW
from weather_backfill.refine.coverage import coverage
from weather_backfill.refine.quality import flag, with_service_flags

DAY = date(2024, 1, 1)
OWN = Cadence(
    3600,
    by_station={"b": {"": 10_800, "dew_point_temperature": 21_600}},
    sporadic=frozenset({"wind_speed_of_gust"}),
)


def table(*series: tuple[str, str, int], quality: int = 1) -> pa.Table:
    """Readings by station and metric, every so many seconds of the day."""
    midnight = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        {
            "observed_at": midnight + timedelta(seconds=at), "station_id": station, "metric": metric,
            "value": 5 + at / 86_400, "quality": quality, "interval_seconds": 0, "interval_end_offset_seconds": 0,
        }
        for station, metric, step in series for at in range(0, 86_400, step)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, RAW)


def test_a_station_is_measured_by_its_own_cadence() -> None:
    day = table(
        ("a", "air_temperature", 3600), ("b", "air_temperature", 10_800), ("b", "dew_point_temperature", 21_600)
    )
    assert coverage(RawDay(DAY, day, OWN)).share == 1
    assert coverage(RawDay(DAY, day, Cadence(3600))).share < 0.7


def test_what_is_sporadic_is_no_gap() -> None:
    day = table(("a", "air_temperature", 3600), ("a", "wind_speed_of_gust", 43_200))
    assert coverage(RawDay(DAY, day, OWN)).share == 1


def test_a_footer_keeps_it_and_others_are_as_before() -> None:
    read = parquet.cadence_of(parquet.cadence_lineage(OWN))
    assert read.by_station == OWN.by_station
    assert read.of("dew_point_temperature", "b") == 21_600
    assert read.of("air_temperature", "b") == 10_800
    assert read.of("air_temperature", "a") == 3600
    assert parquet.cadence_lineage(Cadence(60)) == {"cadence": '{"seconds": 60, "by_metric": {}}'}


def test_the_worse_flag_of_service_and_tests_counts() -> None:
    for told, expected in ((1, 1), (2, 2), (3, 3), (4, 4)):
        read = table(("a", "air_temperature", 43_200), quality=told)
        assert set(with_service_flags(flag(read, OWN), read)["quality"].to_pylist()) == {expected}
    high = table(("a", "air_temperature", 43_200), quality=2)
    high = high.set_column(3, RAW.field("value"), pa.array([99.0, None]))
    assert with_service_flags(flag(high, OWN), high)["quality"].to_pylist() == [4, 9]
