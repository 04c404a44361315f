"""Quality flags: the limits one by one, and persistence and steps against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.days import Cadence
from weather_backfill.model.metrics import METRICS
from weather_backfill.refine.quality import flag, judge
from weather_backfill_tests.examples import examples
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
    assert flags([(0, "a", metric, base), (0, "b", metric, base + 2 * limit)]) == {(metric, 0): 1}, (
        "never across stations"
    )


# metric, largest step within 10 minutes and within an hour; the former by the power of time through minute and hour
LONGER_STEPS = [
    ("air_temperature", 8.22, 18), ("relative_humidity", 37.1, 75), ("surface_air_pressure", 7.30, 20),
    ("wind_speed", 20, 20),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "ten_minutes", "hour"), LONGER_STEPS)
def test_a_step_limit_means_something_at_ten_minutes_and_an_hour(metric: str, ten_minutes: float, hour: float) -> None:
    base = 600.0 if metric == "surface_air_pressure" else 10.0
    rule = METRICS[metric]
    power = math.log(rule.max_step_per_hour / rule.max_step_per_minute) / math.log(60)
    assert rule.max_step_per_minute * 10**power == pytest.approx(ten_minutes, abs=0.06)
    for second, limit in ((600, ten_minutes), (3600, hour)):
        for factor, expected in ((0.98, 1), (1.02, 4)):
            step = base + factor * limit
            assert flags([(0, "a", metric, base), (second, "a", metric, step)])[(metric, second)] == expected


@pytest.mark.parametrize(("second", "step"), [(600, 20.0), (3600, 60.0)])
def test_what_no_air_does_is_flagged(second: int, step: float) -> None:
    assert flags([(0, "a", "air_temperature", 5.0), (second, "a", "air_temperature", 5 + step)])[
        ("air_temperature", second)
    ] == 4  # fmt: skip


def test_nothing_is_said_of_a_step_across_a_long_gap() -> None:
    rows = [(0, "a", "wind_speed", 0.0), (7201, "a", "wind_speed", 25.0)]
    assert flags(rows)[("wind_speed", 7201)] == 1


def test_a_step_of_solar_radiation_is_suspect() -> None:
    name = "surface_downwelling_shortwave_flux_in_air"
    found = flags([(0, "a", name, 150.0), (60, "a", name, 950.0), (120, "a", name, 149.0)])
    assert [found[(name, second)] for second in (0, 60, 120)] == [1, 1, 3]


@pytest.mark.parametrize(
    ("metric", "cadence", "highest"),
    [
        ("duration_of_sunshine", 600, 10.02), ("duration_of_sunshine", 3600, 60), ("precipitation_duration", 600, 10),
        ("precipitation_amount", 3600, 2400), ("precipitation_amount_nearcast", 60, 40),
    ],
)  # fmt: skip
def test_limits_of_what_adds_up_follow_the_interval(metric: str, cadence: int, highest: float) -> None:
    assert flags([(0, "a", metric, highest)], cadence) == {(metric, 0): 1}
    assert flags([(0, "a", metric, highest * 1.02)], cadence) == {(metric, 0): 4}
    assert flags([(0, "a", "duration_of_sunshine", 45.0)], 600) == {("duration_of_sunshine", 0): 4}


def without_lengths(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if name != "interval_seconds"])


def test_a_row_that_says_its_interval_is_judged_by_it() -> None:
    """A bucket of three hours among minutes."""
    table = raw_table([(0, "a", "precipitation_amount", 45.0, 1), (60, "a", "precipitation_amount", 45.0, 1)])
    for lengths, expected in (([10_800, 60], [1, 4]), ([None, 0], [4, 4])):
        position = table.schema.get_field_index("interval_seconds")
        told = table.set_column(position, table.schema.field(position), pa.array(lengths, pa.int32()))
        assert flag(told, Cadence(60))["quality"].to_pylist() == expected


def ten_minutes(metric: str, values: list[float], start: int = 0) -> list[tuple[int, str, str, float | None]]:
    return [(start + 600 * n, "a", metric, value) for n, value in enumerate(values)]


def test_humidity_and_direction_that_stand_still_are_suspect() -> None:
    for metric, values in (
        ("relative_humidity", [80.0, 80.9] * 5),
        ("wind_from_direction", [355.0, 359.0, 2.0, 4.0, 356.0] * 2),  # within 9 degrees, across north
    ):
        found = flags(ten_minutes(metric, values), 600)
        assert [found[(metric, 600 * n)] for n in range(10)] == [1] * 6 + [3] * 4, metric
    for metric, values in (("relative_humidity", [80.0, 81.0] * 5), ("wind_from_direction", [350.0, 0.0] * 5)):
        assert set(flags(ten_minutes(metric, values), 600).values()) == {1}, metric


def test_a_vane_stands_still_by_rights_in_a_calm() -> None:
    calm = ten_minutes("wind_from_direction", [0.0] * 10)
    assert set(flags(calm, 600).values()) == {1}, "0 is calm, north is 360"
    still = ten_minutes("wind_from_direction", [140.0] * 10)
    found = flags([*still, *ten_minutes("wind_speed", [0.0] * 8 + [2.0, 4.0])], 600)
    assert [found[("wind_from_direction", 600 * n)] for n in range(10)] == [1] * 8 + [3] * 2


@pytest.mark.parametrize(
    ("metric", "values", "last"),
    [
        ("air_temperature", [10.0, 10.1] * 5, 1),  # a change of 0.1, though 10.1 - 10.0 is less to a computer
        ("air_temperature", [10.0, 10.09] * 5, 3),
        ("surface_air_pressure", [1000.2, 1000.3] * 5, 1),
        ("relative_humidity", [94.9] * 10, 3),
        ("relative_humidity", [97.0] * 10, 1),  # saturated air stays saturated
        ("wind_speed", [3.0, 3.4] * 5, 3),
        ("wind_speed", [3.0, 3.5] * 5, 1),
        ("wind_speed", [0.0] * 10, 1),  # calm air stays calm
    ],
)
def test_what_may_stand_still(metric: str, values: list[float], last: int) -> None:
    found = flags(ten_minutes(metric, values), 600)
    assert [found[(metric, 600 * n)] for n in range(10)] == [1] * 6 + [last] * 4


def test_a_step_of_the_limit_is_within_it() -> None:
    """5.4 - 2.4 is more than 3 to a computer."""
    assert set(flags([(0, "a", "air_temperature", 2.4), (60, "a", "air_temperature", 5.4)]).values()) == {1}


@pytest.mark.parametrize(("of_the_wind", "expected"), [(3600, [1, 1, 1]), (60, [3, 3, 1])])
def test_pairs_of_one_stamp_are_of_one_interval(of_the_wind: int, expected: list[int]) -> None:
    """A minute's gust under an hour's mean wind of one stamp is no contradiction."""
    table = raw_table([(0, "a", "wind_speed", 3.0, 1), (0, "a", "wind_speed_of_gust", 2.0, 1)]).take([0, 1, 1])
    table = without_lengths(table)
    value = table.schema.get_field_index("value")
    table = table.set_column(value, table.schema.field(value), pa.array([3.0, 2.0, 9.0]))
    table = table.append_column("interval_seconds", pa.array([of_the_wind, 60, 3600], pa.int32()))
    assert flag(table, Cadence(60))["quality"].to_pylist() == expected


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
    rule, hour = METRICS[metric], 3_600_000_000

    def far(i: int, j: int) -> bool:
        minutes = max((time[i] - time[j]) / 60e6, 1)
        limit = rule.max_step_per_minute * minutes ** math.log(rule.max_step_per_hour / rule.max_step_per_minute, 60)
        return station[i] == station[j] and minutes <= 120 and abs(value[i] - value[j]) > limit

    jumped = [bool(i) and far(i, i - 1) for i in range(len(value))]
    result = []
    for i in range(len(value)):
        earlier = [j for j in range(i + 1) if station[j] == station[i] and time[j] <= time[i] - hour]
        flagged = 1
        if earlier and time[i] - time[earlier[-1]] <= 2 * hour:
            window = value[earlier[-1] : i + 1]
            if len(window) > 6 and window.max() - window.min() < rule.min_change_per_hour:
                flagged = 3
        if jumped[i] and not (i > 1 and jumped[i - 1] and not far(i, i - 2)):
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


@examples(100)
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
