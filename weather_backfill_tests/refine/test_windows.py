"""Refined windows against an independent computation with numpy and pandas."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.lake import parquet
from weather_backfill.model.days import Cadence
from weather_backfill.model.metrics import METRICS
from weather_backfill.model.schemas import RAW, REFINED
from weather_backfill.refine.quality import flag
from weather_backfill.refine.windows import refine_file
from weather_backfill_tests.examples import examples

START = pd.Timestamp("2024-03-31", tz="UTC")
METRIC_NAMES = (
    "air_temperature", "precipitation_amount", "wind_from_direction", "wind_speed", "wind_speed_of_gust",
    "precipitation_type", "lightning_mean_distance", "lightning_strike_count", "some/building/point",
)  # fmt: skip


def raw_table(rows: list[tuple[int, str, str, float | None, int]]) -> pa.Table:
    """Rows of (second of the day, station, metric, value, quality) as a raw day."""
    frame = pd.DataFrame(rows, columns=["second", "station_id", "metric", "value", "quality"])
    frame = frame.drop_duplicates(["second", "station_id", "metric"], keep="last")
    frame = frame.sort_values(["station_id", "metric", "second"])
    times = pa.array((START.value // 1000 + frame.second.astype("int64") * 1_000_000).to_numpy(), pa.int64())
    return pa.Table.from_arrays(
        [
            times.cast(RAW.field("observed_at").type),
            pa.array(frame.station_id.tolist(), pa.string()).dictionary_encode(),
            pa.array(frame.metric.tolist(), pa.string()).dictionary_encode(),
            pa.array(frame.value.tolist(), pa.float64(), from_pandas=True),
            pa.array(frame.quality.tolist(), pa.int8()),
            *[pa.array([0] * len(frame), pa.int32())] * 2,
        ],
        schema=RAW,
    )


def refined(table: pa.Table, cadence: Cadence, folder: Path) -> pa.Table:
    path = folder / "raw.parquet"
    path.write_bytes(parquet.encode(table, parquet.cadence_lineage(cadence)).data)
    return refine_file(path).table


def expected_grid(window: pd.Timestamp, cadence: int) -> int:
    grid = pd.date_range(START, START + pd.Timedelta(days=1), freq=f"{cadence}s", inclusive="left")
    return max(int(((grid >= window) & (grid < window + pd.Timedelta(minutes=15))).sum()), 1)


def by_hand(table: pa.Table, cadence: Cadence) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The same windows, one by one."""
    frame = table.to_pandas().astype({"station_id": str, "metric": str})
    frame["window"] = frame.observed_at.dt.floor("15min")
    others = {
        (row.station_id, row.observed_at, row.metric): row.value
        for row in frame.itertuples()
        if row.metric in ("wind_speed", "lightning_strike_count") and row.quality != 4 and not math.isnan(row.value)
    }
    result = {}
    for (station, metric, window), group in frame.groupby(["station_id", "metric", "window"], observed=True):
        good = group[(group.quality != 4) & group.value.notna()].sort_values("observed_at")
        step = cadence.of(metric)
        expected = expected_grid(window, step)
        slots = set(good.observed_at.astype("int64") // (step * 1_000_000))
        completeness = min(len(slots) / expected, 1)
        rule = METRICS[metric].rule if metric in METRICS else "mean"
        row: dict[str, Any] = {
            "sample_count": len(good), "expected_count": expected, "completeness": completeness, "mean": None,
            "minimum": None, "maximum": None, "sum": None, "first": None, "last": None,
            "standard_deviation": None, "resultant_length": None, "window_seconds": 900, "partial_sum": None,
        }  # fmt: skip
        if len(good):
            values = good.value.to_numpy()
            row |= {"first": values[0], "last": values[-1]}
            if rule != "direction":
                row |= {"minimum": values.min(), "maximum": values.max()}
            if rule not in ("direction", "last"):
                row["mean"] = values.mean()
                row["standard_deviation"] = values.std(ddof=1) if len(values) > 1 else None
            if rule == "sum":
                row["partial_sum"] = math.fsum(values)
                row["sum"] = row["partial_sum"] if completeness >= 0.75 else None
            if rule == "direction":
                vectors = [
                    complex(math.cos(math.radians(r.value)), math.sin(math.radians(r.value)))
                    for r in good.itertuples()
                    if others.get((station, r.observed_at, "wind_speed"), r.value != 0) >= 0.2  # 0: a calm
                ]
                if vectors:
                    mean = sum(vectors) / len(vectors)
                    row["resultant_length"] = abs(mean)
                    row["mean"] = math.degrees(math.atan2(mean.imag, mean.real)) % 360 if abs(mean) > 1e-9 else None
                    row["mean"] = 360.0 if row["mean"] is not None and row["mean"] < 1e-9 else row["mean"]
            if rule == "strikes":
                counts = [others.get((station, at, "lightning_strike_count"), 1) for at in good.observed_at]
                row |= struck(values, np.array(counts))
        if not len(good):
            row["quality"] = 4 if (group.quality == 4).any() else 9
        elif completeness < 0.75 or group.quality.isin([3, 4]).any():
            row["quality"] = 3
        else:
            row["quality"] = 2 if (good.quality == 2).any() else 1
        result[(window, station, metric)] = row
    return result


def struck(values: Any, counts: Any) -> dict[str, Any]:
    """Statistics of the minutes with strikes; the mean is over the strikes."""
    near = values[counts > 0]
    if not len(near):
        return dict.fromkeys(["mean", "minimum", "maximum", "first", "last", "standard_deviation"])
    mean = np.average(near, weights=counts[counts > 0])
    deviation = near.std(ddof=1) if len(near) > 1 else None
    ends = {"first": near[0], "last": near[-1], "minimum": near.min(), "maximum": near.max()}
    return ends | {"mean": mean, "standard_deviation": deviation}


def assert_same(actual: pa.Table, expected: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    found = {(pd.Timestamp(r.pop("window_start")), r.pop("station_id"), r.pop("metric")): r for r in actual.to_pylist()}
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        for column, value in row.items():
            mine = found[key][column]
            if value is None or mine is None:
                assert mine is None, (key, column, mine)
                assert value is None, (key, column, value)
            elif column == "mean" and key[2] == "wind_from_direction":
                assert mine > 0, "0 is the code of a calm"
                turn = abs(mine - value) % 360
                assert min(turn, 360 - turn) < 1e-6, (key, mine, value)
            else:
                assert mine == pytest.approx(value, rel=1e-9, abs=1e-9), (key, column)


sample = st.tuples(
    st.integers(0, 7200),
    st.sampled_from(["ST-1", "ST-2"]),
    st.sampled_from(METRIC_NAMES),
    st.none() | st.floats(-50, 400).map(lambda v: round(v, 3)) | st.sampled_from([0.0, 0.1, 359.9, 0.2, 360.0]),
    st.sampled_from([1, 1, 1, 2, 3, 4]),
)


@examples(15)
@given(st.lists(sample, max_size=120), st.sampled_from([Cadence(60), Cadence(600), Cadence(60, {"wind_speed": 300})]))
def test_random_days_equal_the_computation_by_hand(samples: list[Any], cadence: Cadence) -> None:
    table = raw_table([(s, st_, m, v, 9 if v is None else q) for s, st_, m, v, q in samples])
    with tempfile.TemporaryDirectory() as folder:
        actual = refined(table, cadence, Path(folder))
    assert actual.schema.equals(REFINED)
    assert_same(actual, by_hand(table, cadence))


def minute_rows(metric: str, values: list[float | None], station: str = "ST-1") -> list[Any]:
    return [(60 * n, station, metric, value, 9 if value is None else 1) for n, value in enumerate(values)]


def test_direction_around_north_and_calms(tmp_path: Path) -> None:
    speeds: list[float | None] = [2.0] * 15
    speeds[3] = 0.0
    directions: list[float | None] = [350.0, 10.0] * 7 + [0.0]
    directions[3] = 180.0  # a calm: its direction means nothing
    table = raw_table([*minute_rows("wind_from_direction", directions), *minute_rows("wind_speed", speeds)])
    rows = {r["metric"]: r for r in refined(table, Cadence(60), tmp_path).to_pylist()}
    mean = rows["wind_from_direction"]["mean"]
    assert min(mean, 360 - mean) < 1.0
    assert rows["wind_from_direction"]["resultant_length"] > 0.98
    assert rows["wind_from_direction"]["minimum"] is None
    assert rows["wind_speed"]["mean"] == pytest.approx(2.0 * 14 / 15)


@pytest.mark.parametrize("name", ["wind_gust_from_direction", "wind_from_direction_of_gust"])
def test_directions_of_gusts_are_vectors_under_the_name_of_older_files_too(name: str, tmp_path: Path) -> None:
    gusts: list[float | None] = [3.0] * 14 + [0.0]
    directions: list[float | None] = [350.0, 20.0] * 7 + [180.0]
    table = raw_table([*minute_rows(name, directions), *minute_rows("wind_speed_of_gust", gusts)])
    rows = {r["metric"]: r for r in refined(table, Cadence(60), tmp_path).to_pylist()}
    assert rows[name]["mean"] == pytest.approx(5.0)
    assert rows[name]["maximum"] is None


@pytest.mark.parametrize(
    ("name", "column"),
    [("wind_speed_minimum_of_10_minute_mean", "minimum"), ("wind_speed_maximum_of_10_minute_mean", "maximum")],
)
def test_names_of_older_files_keep_their_limits(name: str, column: str, tmp_path: Path) -> None:
    table = flag(raw_table([(0, "a", name, 2.0, 1), (60, "a", name, 80.0, 1)]), Cadence(60))
    assert table["quality"].to_pylist() == [1, 4]
    assert refined(table, Cadence(60), tmp_path)[column].to_pylist() == [2.0]


def test_lightning_is_as_far_as_its_strikes(tmp_path: Path) -> None:
    strikes: list[float | None] = [0.0] * 30
    distances: list[float | None] = [0.0] * 30
    strikes[4], distances[4] = 3.0, 10.0
    strikes[9], distances[9] = 1.0, 30.0
    far, often = minute_rows("lightning_mean_distance", distances), minute_rows("lightning_strike_count", strikes)
    table = raw_table([*far, *often])
    rows = [r for r in refined(table, Cadence(60), tmp_path).to_pylist() if r["metric"] == "lightning_mean_distance"]
    assert [r["mean"] for r in rows] == [pytest.approx((3 * 10 + 30) / 4), None]
    assert [(r["minimum"], r["maximum"], r["first"], r["last"]) for r in rows] == [(10, 30, 10, 30), (None,) * 4]
    assert [(r["sample_count"], r["completeness"], r["quality"]) for r in rows] == [(15, 1.0, 1)] * 2


def test_opposite_directions_have_no_mean(tmp_path: Path) -> None:
    row = refined(raw_table(minute_rows("wind_from_direction", [90.0, 270.0] * 6)), Cadence(60), tmp_path).to_pylist()[
        0
    ]
    assert row["mean"] is None
    assert row["resultant_length"] < 1e-9


@pytest.mark.parametrize(("present", "total"), [(15, 15 * 0.2), (12, 12 * 0.2), (11, None), (0, None)])
def test_rain_is_never_a_sum_of_a_part(present: int, total: float | None, tmp_path: Path) -> None:
    values: list[float | None] = [0.2 if n < present else None for n in range(15)]
    [row] = refined(raw_table(minute_rows("precipitation_amount", values)), Cadence(60), tmp_path).to_pylist()
    assert row["sum"] == (None if total is None else pytest.approx(total))
    assert row["quality"] == (1 if present >= 12 else 3 if present else 9)


@pytest.mark.parametrize(
    ("cadence", "counts"), [(600, [2, 1, 2, 1]), (3600, [1]), (60, [15, 15, 15, 15]), (1, [60] * 4)]
)
def test_expected_counts_follow_the_cadence(cadence: int, counts: list[int], tmp_path: Path) -> None:
    rows = [(s, "ST-1", "air_temperature", 1.0, 1) for s in range(0, 3600, cadence)]
    table = refined(raw_table(rows), Cadence(cadence), tmp_path)
    assert table["expected_count"].to_pylist() == counts
    assert table["completeness"].to_pylist() == [1.0] * len(counts)


def test_coverage_counts_slots_not_rows(tmp_path: Path) -> None:
    rows = [(s, "ST-1", "air_temperature", 1.0, 1) for s in range(15)]
    [row] = refined(raw_table(rows), Cadence(60), tmp_path).to_pylist()
    assert (row["sample_count"], row["completeness"]) == (15, pytest.approx(1 / 15))


def test_the_same_raw_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [
        (second, f"ST-{station}", metric, float(rng.normal(20, 5)), 1)
        for station in range(3)
        for metric in METRIC_NAMES
        for second in range(0, 86400, 60)
    ]
    path = tmp_path / "raw.parquet"
    path.write_bytes(parquet.encode(raw_table(rows), parquet.cadence_lineage(Cadence(60))).data)
    program = (
        "import sys, hashlib; from pathlib import Path; from weather_backfill.lake import parquet;"
        "from weather_backfill.refine.windows import refine_file;"
        "print(hashlib.sha256(parquet.encode(refine_file(Path(sys.argv[1])).table, {}).data).hexdigest())"
    )
    others = {
        subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(3)
    }
    assert others == {hashlib.sha256(parquet.encode(refine_file(path).table, {}).data).hexdigest()}
