"""Checks of a day: coverage against a slow count, duplicates, disorder, schema."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.days import Cadence, CheckResult, RawDay
from weather_backfill.model.limits import Limits
from weather_backfill.model.metrics import METRICS
from weather_backfill.model.schemas import RAW, REFINED, REJECTS
from weather_backfill.refine.checks import _conforms, check_raw, check_refined, summarize
from weather_backfill.refine.coverage import coverage
from weather_backfill_tests.examples import examples
from weather_backfill_tests.refine.test_windows import raw_table

METRIC_NAMES = ["air_temperature", "battery_voltage", "some/building/point", "wind_speed"]
MINUTELY = Cadence(60)
EVERY_MINUTE = range(0, 86_400, 60)


def raw_day(
    table: pa.Table,
    cadence: Cadence = MINUTELY,
    expected: Sequence[str] = (),
    rejects: int = 0,
    stands_for: int | None = 1,
    **facts: Any,
) -> RawDay:
    row = {"reason": "not_json", "source_object": "a", "station_id": None, "observed_at": None, "raw_text": ""}
    row |= {"raw_bytes": 0, "stands_for": stands_for}
    return RawDay(
        date(2024, 3, 31),
        table,
        cadence,
        pa.Table.from_pylist([row] * rejects, REJECTS),
        facts,
        expected_stations=tuple(expected),
    )


def outcome(day: RawDay, name: str, target: float = 0.75, limit: float = 0.01) -> CheckResult:
    [found] = [
        o
        for o in check_raw(day, coverage(day), Limits(completeness_target=target, rejects_limit=limit))
        if o.check == name
    ]
    return found


def slow_coverage(day: RawDay) -> dict[str, float]:
    """By station, slot by slot, as the rule reads."""
    slots: dict[str, dict[str, set[int]]] = {}
    for row in day.table.to_pylist():
        filled = slots.setdefault(row["station_id"], {}).setdefault(row["metric"], set())
        if row["value"] is not None:
            filled.add(int(row["observed_at"].timestamp()) // day.cadence.of(row["metric"]))
    shares = {}
    for station, by_metric in slots.items():
        counted = [
            min(len(filled) / (86_400 // day.cadence.of(name)), 1)
            for name, filled in by_metric.items()
            if name not in METRICS or METRICS[name].cf
        ]
        if counted:
            shares[station] = sum(counted) / len(counted)
    return shares | {station: 0.0 for station in day.expected_stations if station not in slots}


samples = st.lists(
    st.tuples(
        st.integers(0, 86_399), st.sampled_from(["ST-1", "ST-2", "ST-3"]), st.sampled_from(METRIC_NAMES),
        st.none() | st.just(1.0), st.just(1),
    ),
    max_size=80,
)  # fmt: skip


def test_an_expected_station_that_only_the_dictionary_names_is_silent() -> None:
    """As of a building site whose gateway is off: the day's file knows its name and holds no row of it."""
    rows = raw_table([(second, "a", "air_temperature", 1.0, 1) for second in range(0, 86_400, 60)])
    names = pa.DictionaryArray.from_arrays(np.zeros(rows.num_rows, np.int32), pa.array(["a", "b"]))
    rows = rows.set_column(rows.column_names.index("station_id"), "station_id", names)
    assert coverage(raw_day(rows, expected=["a", "b"])).share == 0.5


@examples(30)
@given(samples, st.sampled_from([Cadence(60), Cadence(7200), Cadence(3600, {"wind_speed": 28_800})]))
def test_coverage_equals_a_slow_count(rows: list[Any], cadence: Cadence) -> None:
    day = raw_day(raw_table(rows), cadence, expected=["ST-1", "ST-9"])
    expected = slow_coverage(day)
    found = coverage(day)
    assert found.share == pytest.approx(sum(expected.values()) / len(expected) if expected else 0)
    assert dict(found.worst) == pytest.approx(expected)


def test_a_silent_station_that_is_expected_counts_as_empty() -> None:
    table = raw_table([(second, "ST-1", "air_temperature", 1.0, 1) for second in EVERY_MINUTE])
    assert outcome(raw_day(table), "completeness").passed
    silent = outcome(raw_day(table, expected=["ST-1", "ST-2"]), "completeness")
    assert not silent.passed
    assert silent.metadata["completeness"] == 0.5
    assert "ST-2 0%" in silent.description


def test_ten_samples_in_a_slot_fill_one_slot() -> None:
    table = raw_table([(second, "ST-1", "air_temperature", 1.0, 1) for second in range(600)])
    assert coverage(raw_day(table)).share == pytest.approx(10 / 1440)


def test_an_empty_day_fails_completeness_and_nothing_else() -> None:
    day = raw_day(RAW.empty_table())
    failed = [o.check for o in check_raw(day, coverage(day), Limits()) if not o.passed]
    assert failed == ["completeness"]
    assert coverage(day).share == 0
    assert not outcome(day, "completeness").error, "a gap warns"


def table_in_order(order: list[tuple[str, str, int]]) -> pa.Table:
    """Rows exactly as given, not sorted: (station, metric, second)."""
    table = raw_table([(n, "x", "x", 1.0, 1) for n in range(len(order))])
    station, metric, second = zip(*order, strict=True)
    times = pa.array([1_711_843_200_000_000 + s * 1_000_000 for s in second]).cast(RAW.field("observed_at").type)
    table = table.set_column(0, RAW.field(0), times)
    table = table.set_column(1, RAW.field(1), pa.array(station, pa.string()).dictionary_encode())
    return table.set_column(2, RAW.field(2), pa.array(metric, pa.string()).dictionary_encode())


GOOD = [("a", "m", 0), ("a", "m", 60), ("a", "n", 0), ("b", "m", 0)]


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ([("a", "m", 0), ("a", "m", 0)], "the same row twice"),
        ([("a", "m", 60), ("a", "m", 0)], "a step back in time"),
        ([("b", "m", 0), ("a", "m", 0)], "stations not in order"),
        ([("a", "n", 0), ("a", "m", 0)], "metrics not in order"),
        ([("a", "m", 0), ("b", "m", 0), ("a", "m", 0)], "a row twice, another station between"),
        ([("a", "m", 0), ("b", "m", 0), ("a", "m", 60)], "a series in two pieces"),
    ],
)
def test_duplicates_and_disorder_are_found(order: list[tuple[str, str, int]], why: str) -> None:
    assert outcome(raw_day(table_in_order(GOOD)), "no_duplicates").passed
    found = outcome(raw_day(table_in_order(order)), "no_duplicates")
    assert not found.passed, why
    assert found.error, "corruption is an error"
    assert "occurs once" not in found.description


@examples(20)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.integers(0, 3)), min_size=1, max_size=6))
def test_no_duplicates_is_exactly_strictly_ascending_rows(order: list[tuple[str, str, int]]) -> None:
    expected = order == sorted(set(order))
    assert outcome(raw_day(table_in_order(order)), "no_duplicates").passed is expected


def test_the_schema_check_names_column_and_types() -> None:
    table = raw_table([(0, "ST-1", "air_temperature", 1.0, 1)])
    assert outcome(raw_day(table), "schema").passed
    wrong = table.set_column(3, pa.field("value", pa.float32()), table["value"].cast(pa.float32()))
    found = outcome(raw_day(wrong), "schema")
    assert (found.passed, found.error) == (False, True)
    assert found.description == "value: expected double, found float"
    nulls = table.set_column(4, RAW.field("quality").with_nullable(True), pa.array([None], pa.int8()))
    assert _conforms(nulls, RAW)[1] == "quality: holds nulls"
    assert "sample_count: expected int32, found nothing" in _conforms(table, REFINED)[1]


@pytest.mark.parametrize(("failed", "passed"), [(5, True), (6, False)])
def test_few_values_may_fail(failed: int, passed: bool) -> None:
    rows = [(60 * n, "ST-1", "air_temperature", 1.0, 4 if n < failed else 1) for n in range(100)]
    found = outcome(raw_day(raw_table(rows)), "plausible_values")
    assert found.passed is passed
    assert found.metadata["failed_values"] == failed


@pytest.mark.parametrize(
    ("rejects", "stands_for", "kept", "passed"),
    [
        (0, 1, 99, True),
        (1, 1, 99, True),
        (2, 1, 99, False),
        (1, 100, 14_300, True),
        (2, 100, 14_300, False),  # 200 of 14,500 although two rejects are none of 14,302
        (1, None, 99, True),  # of an older file: one
    ],
)
def test_few_rows_may_be_rejected(rejects: int, stands_for: int | None, kept: int, passed: bool) -> None:
    """The limit of 1 % is on what the rejects may stand for."""
    day = raw_day(RAW.empty_table(), rejects=rejects, stands_for=stands_for, reports_kept=kept)
    found = outcome(day, "rejects_under_limit")
    assert found.passed is passed
    assert found.metadata == {"rejects": rejects, "rejects_stand_for": rejects * (stands_for or 1)}


def test_a_day_of_nothing_but_rejects_fails_its_check() -> None:
    assert not outcome(raw_day(RAW.empty_table(), rejects=1), "rejects_under_limit").passed


def test_refined_windows_must_hold_every_good_value() -> None:
    columns = {name: np.zeros(2) for name in ("completeness", "mean")}
    table = pa.table({**columns, "sample_count": pa.array([3, 4], pa.int32())})
    agree = {good: next(o for o in check_refined(table, good) if o.check == "counts_agree") for good in (6, 7, 8)}
    assert {good: o.passed for good, o in agree.items()} == {6: False, 7: True, 8: False}
    assert agree[6].error


def test_a_run_is_summed_up_by_its_worst_day() -> None:
    good, warned = CheckResult("c", True, True, ""), CheckResult("c", False, False, "")
    wrong = CheckResult("c", False, True, "")
    assert summarize("c", [("d1", good)]) == (True, False, "passed on 1 days")
    assert summarize("c", [("d1", good), ("d2", warned)]) == (False, False, "failed on 1 of 2 days: d2")
    assert summarize("c", [("d1", wrong), ("d2", warned)]) == (False, True, "failed on 2 of 2 days: d1, d2")
    assert summarize("c", [(f"d{n}", wrong) for n in range(12)])[2].endswith("d9 ...")


def standing_for(times: list[int], seconds: list[int], end_offset: int, values: list[float | None]) -> pa.Table:
    """Rows of one station and metric, of the seconds that end an offset after their second of the day."""
    table = raw_table([(time, "ST-1", "wind_speed", value, 1) for time, value in zip(times, values, strict=True)])
    at = table.schema.get_field_index("interval_seconds")
    table = table.set_column(at, RAW.field(at), pa.array(seconds, pa.int32()))
    return table.set_column(at + 1, RAW.field(at + 1), pa.array([end_offset] * len(times), pa.int32()))


@pytest.mark.parametrize("missing", [0, 1, 6])
def test_an_hour_fills_one_slot_of_an_hour_wherever_it_ends(missing: int) -> None:
    """Hourly wind of DWD ends ten minutes before its stamp, so its hours lie across two of the clock's."""
    times = [hour * 3600 for hour in range(1, 25)][missing:]
    for seconds, offset in ((3600, -600), (3600, 0), (0, -600)):
        table = standing_for(times, [seconds] * len(times), offset, [1.0] * len(times))
        assert coverage(raw_day(table, Cadence(3600))).share == pytest.approx((24 - missing) / 24)


def test_a_value_of_five_minutes_fills_five_minutes() -> None:
    """Wind that is sampled every 300 s beside reports of a minute: with every fifth report it is whole."""
    times = list(range(60, 86_401, 60))
    values = [None if minute % 5 else 2.0 for minute in range(1, 1441)]
    seconds = [60 if minute % 5 else 300 for minute in range(1, 1441)]
    assert coverage(raw_day(standing_for(times, seconds, 0, values), Cadence(60))).share == 1.0
    values[4] = values[9] = None
    assert coverage(raw_day(standing_for(times, seconds, 0, values), Cadence(60))).share == pytest.approx(1 - 10 / 1440)


def test_what_two_intervals_cover_counts_once() -> None:
    table = standing_for([600, 900, 1200], [600, 600, 600], 0, [1.0] * 3)  # 0 to 20 minutes
    assert coverage(raw_day(table, Cadence(60))).share == pytest.approx(20 / 1440)
