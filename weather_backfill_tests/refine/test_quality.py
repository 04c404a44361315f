"""Quality flags: the limits one by one, and persistence and steps against a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weather_backfill.model.days import Cadence
from weather_backfill.model.metrics import METRICS
from weather_backfill.refine.quality import flag, judge
from weather_backfill_tests.refine.test_windows import raw_table

# Zahumensky's table, written out anew: metric, lowest, highest.
RANGES = [
    ("air_temperature", -80, 60), ("dew_point_temperature", -80, 35), ("relative_humidity", 0, 100),
    ("surface_air_pressure", 500, 1100), ("wind_speed", 0, 75), ("wind_from_direction", 0, 360),
    ("surface_downwelling_shortwave_flux_in_air", 0, 1600), ("precipitation_amount", 0, 40),
]  # fmt: skip


def flags(rows: list[tuple[int, str, str, float | None]], cadence: int = 60) -> dict[tuple[str, int], int]:
    table = flag(raw_table([(*row, 1) for row in rows]), Cadence(cadence))
    seconds = table["observed_at"].cast("int64").to_numpy() // 1_000_000 % 86400
    return dict(
        zip(zip(table["metric"].to_pylist(), seconds.tolist(), strict=True), table["quality"].to_pylist(), strict=True)
    )


@pytest.mark.parametrize(("metric", "lowest", "highest"), RANGES)
def test_plausible_range(metric: str, lowest: float, highest: float) -> None:
    for value, expected in ((lowest, 1), (highest, 1), (lowest - 0.01, 4), (highest + 0.01, 4)):
        assert flags([(0, "a", metric, float(value))]) == {(metric, 0): expected}


def test_rain_limit_follows_the_cadence() -> None:
    assert flags([(0, "a", "precipitation_amount", 300.0)], cadence=600) == {("precipitation_amount", 0): 1}
    assert flags([(0, "a", "precipitation_amount", 401.0)], cadence=600) == {("precipitation_amount", 0): 4}


@pytest.mark.parametrize(
    ("metric", "limit"),
    [("air_temperature", 3), ("relative_humidity", 15), ("surface_air_pressure", 2), ("wind_speed", 20)],
)
def test_step_a_minute(metric: str, limit: float) -> None:
    base = 600.0 if metric == "surface_air_pressure" else 10.0
    assert flags([(0, "a", metric, base), (60, "a", metric, base + limit)])[(metric, 60)] == 1
    assert flags([(0, "a", metric, base), (60, "a", metric, base + limit + 0.01)])[(metric, 60)] == 4
    assert flags([(0, "a", metric, base), (120, "a", metric, base + 2 * limit)])[(metric, 120)] == 1, "per minute"
    assert flags([(0, "a", metric, base), (0, "b", metric, base + 20)]), "never across stations"


def test_the_good_value_after_a_spike_passes() -> None:
    found = flags(
        [(0, "a", "air_temperature", 10.0), (60, "a", "air_temperature", 25.0), (120, "a", "air_temperature", 10.1)]
    )
    assert [found[("air_temperature", s)] for s in (0, 60, 120)] == [1, 4, 1]


def test_missing_and_unknown() -> None:
    assert flags([(0, "a", "air_temperature", None), (0, "a", "my/point", 5.0), (60, "a", "my/point", None)]) == {
        ("air_temperature", 0): 9, ("my/point", 0): 2, ("my/point", 60): 9,
    }  # fmt: skip


def test_dew_point_above_temperature_and_gust_under_mean_are_suspect() -> None:
    rows: list[Any] = [
        (0, "a", "air_temperature", 5.0), (0, "a", "dew_point_temperature", 5.1),
        (60, "a", "air_temperature", 5.5), (60, "a", "dew_point_temperature", 5.2),
        (0, "b", "wind_speed", 3.0), (0, "b", "wind_speed_of_gust", 2.0),
    ]  # fmt: skip
    found = flags(rows)
    assert {key for key, value in found.items() if value == 3} == {
        ("air_temperature", 0), ("dew_point_temperature", 0), ("wind_speed", 0), ("wind_speed_of_gust", 0),
    }  # fmt: skip


def slow_judge(station: np.ndarray, time: np.ndarray, value: np.ndarray, metric: str) -> list[int]:
    """The tests as the rules read, row by row."""
    rule, result = METRICS[metric], []
    jumped = [False] * len(value)
    for i in range(len(value)):
        jump = returned = False
        if i and station[i] == station[i - 1]:
            minutes = max((time[i] - time[i - 1]) / 60e6, 1)
            jump = abs(value[i] - value[i - 1]) / minutes > rule.max_step_per_minute
        jumped[i] = jump
        if i > 1 and jumped[i - 1]:
            minutes = max((time[i] - time[i - 2]) / 60e6, 1)
            same = station[i] == station[i - 2]
            returned = not same or abs(value[i] - value[i - 2]) / minutes <= rule.max_step_per_minute
        flagged = 1
        earlier = [j for j in range(i + 1) if station[j] == station[i] and time[j] <= time[i] - 3_600_000_000]
        if earlier and time[i] - time[earlier[-1]] <= 7_200_000_000:
            hour = value[earlier[-1] : i + 1]
            if len(hour) > 6 and hour.max() - hour.min() < rule.min_change_per_hour:
                flagged = 3
        if jump and not returned:
            flagged = 4
        if value[i] < rule.lowest or value[i] > rule.highest:
            flagged = 4
        result.append(flagged)
    return result


def test_pairs_are_compared_within_a_station_however_many_there_are() -> None:
    """A whole network of a day; every third station has its dew point above its temperature."""
    names = [f"{number:05d}" for number in range(700)]
    rows = [(0, name, "air_temperature", 10.0, 1) for name in names]
    rows += [
        (0, name, "dew_point_temperature", 11.0 if number % 3 == 0 else 9.0, 1) for number, name in enumerate(names)
    ]
    table = flag(raw_table(rows), Cadence(60)).select(["station_id", "quality"]).to_pandas()
    found = table.groupby("station_id", observed=True)["quality"].agg(["min", "max"])
    assert found.loc[names].to_numpy().tolist() == [[3, 3] if number % 3 == 0 else [1, 1] for number in range(700)]


def test_equal_hourly_values_are_no_sign_of_a_stuck_sensor() -> None:
    """At a resolution of 0.1 two hours in a row are often equal; seven values within an hour are not."""
    hours = np.arange(24) * 3_600_000_000
    assert set(judge(np.zeros(24, "i4"), hours, np.full(24, 4.2), METRICS["air_temperature"], 3600)) == {1}
    ten_minutes = np.arange(24) * 600_000_000
    found = judge(np.zeros(24, "i4"), ten_minutes, np.full(24, 4.2), METRICS["air_temperature"], 600)
    assert found.tolist() == [1] * 6 + [3] * 18


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(1, 40), st.sampled_from([0.0, 0.05, 0.2, 3.1, 9.0, 70.0])), max_size=60
    )
)
def test_step_and_persistence_equal_a_plain_loop(steps: list[tuple[int, int, float]]) -> None:
    steps = sorted(steps, key=lambda s: s[0])
    station = np.array([s for s, _, _ in steps], dtype="i4")
    time = np.cumsum([m * 60_000_000 for _, m, _ in steps]).astype("i8")
    value = np.array([v for _, _, v in steps], dtype="f8")
    found = judge(station, time, value, METRICS["air_temperature"], 60)
    assert found.tolist() == slow_judge(station, time, value, "air_temperature")
