"""Quarterly features against an independent pandas computation from the raw values, at both cadences."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from weather_backfill.lake import layout, parquet
from weather_backfill.lake.writer import write_day
from weather_backfill.model import schemas
from weather_backfill.model.days import Cadence
from weather_backfill.model.errors import NotFoundError, UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey, quarter_end, quarter_of
from weather_backfill.refine.days import refine_day
from weather_backfill.refine.features import PRODUCTS, FeatureInput, quarter_features
from weather_backfill.refine.quarters import make_quarter
from weather_backfill.storage.object_store import ObjectStore

QUARTER = date(2020, 1, 1)
DAYS = 91
SECTORS = ["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"]


def random_values(seconds: int, stations: int = 3, seed: int = 1) -> pd.DataFrame:
    """Raw rows with gaps: nulls, failed values, absent rows, and a station whose rain is half missing."""
    rng = np.random.default_rng(seed)
    grid = pd.date_range(datetime(2020, 1, 1, tzinfo=UTC), periods=DAYS * 86400 // seconds, freq=f"{seconds}s")
    season = 15 - 25 * np.cos(np.arange(len(grid)) / len(grid) * 6)
    makers = {
        "air_temperature": lambda: np.round(season + rng.normal(0, 6, len(grid)), 1),
        "relative_humidity": lambda: rng.integers(20, 100, len(grid)).astype(float),
        "surface_air_pressure": lambda: np.round(rng.normal(1000, 10, len(grid)), 1),
        "wind_speed": lambda: np.round(rng.gamma(2, 2, len(grid)), 1),
        "wind_from_direction": lambda: rng.choice([80.0, 190.0, 200.0, 280.0, 350.0], len(grid)),
        "wind_speed_of_gust": lambda: np.round(rng.gamma(3, 3, len(grid)), 1),
        "precipitation_amount": lambda: np.round(rng.choice([0, 0, 0, 0.1, 0.04, 0.06, 1.2], len(grid)), 2),
        "cloud_area_fraction": lambda: rng.integers(0, 9, len(grid)).astype(float),
    }
    parts = []
    for station in range(stations):
        for metric, make in makers.items():
            value = make()
            gap = 0.5 if (station, metric) == (1, "precipitation_amount") else 0.1
            value[rng.random(len(grid)) < gap] = np.nan
            rows = pd.DataFrame({"observed_at": grid, "station_id": f"{station:05d}", "metric": metric, "value": value})
            rows["quality"] = np.where(rows["value"].isna(), 9, np.where(rng.random(len(grid)) < 0.02, 4, 1))
            parts.append(rows[rng.random(len(grid)) > 0.03])
    return pd.concat(parts, ignore_index=True)


def fill_lake(store: ObjectStore, rows: pd.DataFrame, seconds: int, tenant: str = "acme") -> None:
    """Raw and refined days of the rows: readings by the hour, else values of the time from their stamp on."""
    rows = rows.assign(interval_seconds=0 if seconds == 3600 else seconds)
    rows["interval_end_offset_seconds"] = rows.interval_seconds
    for day, part in rows.groupby(rows["observed_at"].dt.date):
        ordered = part.sort_values(["station_id", "metric", "observed_at"])
        table = pa.Table.from_pandas(ordered[schemas.RAW.names], preserve_index=False).cast(schemas.RAW)
        key = PartitionKey(day, tenant)
        lineage = parquet.cadence_lineage(Cadence(seconds))
        store.put(layout.day_key(layout.RAW_OBSERVATIONS, "dwd", key), parquet.encode(table, lineage).data)
        write_day(store, "dwd", layout.REFINED_15M, refine_day(store, "dwd", key))


def truth(rows: pd.DataFrame, seconds: int, station: str, metric: str) -> pd.Series | None:
    """A station's good values; None where they fill less than 75 % of the quarter's grid."""
    good = rows[(rows.station_id == station) & (rows.metric == metric) & (rows.quality != 4) & rows.value.notna()]
    if len(good) < 0.75 * DAYS * 86400 / seconds:
        return None
    return good.set_index("observed_at")["value"].sort_index()


def expected(rows: pd.DataFrame, seconds: int, station: str) -> dict[str, Any]:
    """The features of a station by pandas."""
    of = {name: truth(rows, seconds, station, metric) for name, metric in PRODUCTS.items()}
    out: dict[str, Any] = {}
    if (t := of["temperature"]) is not None:
        days, hours = t.groupby(t.index.date), t.groupby(t.index.floor("h")).mean().round(6)
        out |= {"temperature_mean": t.mean(), "temperature_minimum": t.min(), "temperature_maximum": t.max()}
        out |= {"frost_days": (days.min() < 0).sum(), "ice_days": (days.max() < 0).sum()}
        out |= {"heat_days": (days.max() >= 30).sum()}
        out |= {"frost_hours": (hours < 0).sum(), "heat_hours": (hours >= 30).sum()}
    if (r := of["precipitation"]) is not None:
        days = r.groupby(r.index.date).sum().round(6)
        out |= {"precipitation_total": r.sum(), "wettest_day": days.idxmax(), "wettest_day_amount": days.max()}
        out["wet_hours"] = (r.groupby(r.index.floor("h")).sum().round(6) > 0.1).sum()
    for name, column, how in (
        ("wind", "wind_mean", "mean"), ("gust", "gust_maximum", "max"), ("pressure", "pressure_mean", "mean"),
        ("humidity", "humidity_mean", "mean"), ("cloud", "cloud_mean", "mean"),
    ):  # fmt: skip
        if of[name] is not None:
            out[column] = of[name].agg(how)
    if (p := of["pressure"]) is not None:
        out["pressure_range"] = p.max() - p.min()
    if (d := of["wind_direction"]) is not None:
        # Ten minutes are two times five: those of a window weigh the same. Of readings a window holds one.
        d = pd.concat([d, d.set_axis(d.index + pd.Timedelta("5min"))]) if seconds == 600 else d
        by_window = np.exp(1j * np.radians(d)).groupby(d.index.floor("15min"))
        angles, halves = by_window.mean(), by_window.count()
        known = np.abs(angles) > 1e-9
        means = np.degrees(np.angle(angles[known])) % 360
        sectors = np.floor(np.round(means / 22.5 + 0.5, 9)).astype(int) % 16
        counts = np.bincount(sectors, halves[known], minlength=16)
        out["prevailing_sector"] = SECTORS[int(counts.argmax())]
    return out


@pytest.mark.parametrize("seconds", [pytest.param(3600, marks=pytest.mark.long), 600])
def test_features_equal_an_independent_computation(tmp_path: Path, seconds: int) -> None:
    store = ObjectStore(str(tmp_path))
    rows = random_values(seconds)
    fill_lake(store, rows, seconds)
    table = make_quarter(store, "dwd", PartitionKey(QUARTER, "acme")).table
    assert table.schema == schemas.FEATURES
    found = {row["station_id"]: row for row in table.to_pylist()}
    assert list(found) == ["00000", "00001", "00002"]
    statistics = [n for n in table.schema.names[2:] if not n.endswith("completeness")]
    for station, row in found.items():
        wanted = expected(rows, seconds, station)
        for name in statistics:
            value = wanted.get(name)
            close = value if value is None or isinstance(value, str | date) else pytest.approx(float(value), rel=1e-9)
            assert row[name] == close, (station, name)
        for product, metric in PRODUCTS.items():
            kept = rows[(rows.station_id == station) & (rows.metric == metric) & (rows.quality != 4)].value.count()
            assert row[f"{product}_completeness"] == pytest.approx(kept / (DAYS * 86400 / seconds))
    assert found["00001"]["precipitation_total"] is None, "half of its rain is missing"
    assert found["00000"]["heat_hours"] > 0
    assert found["00000"]["frost_days"] > 0
    again = make_quarter(store, "dwd", PartitionKey(QUARTER, "acme"))
    assert parquet.encode(again.table, {}).data == parquet.encode(table, {}).data, "the same input gives the same bytes"


@pytest.mark.parametrize("store", ["local", pytest.param("s3", marks=pytest.mark.long)], indirect=True)
def test_a_quarter_with_a_missing_month_is_null(store: ObjectStore) -> None:
    rows = random_values(3600, stations=1)
    fill_lake(store, rows[rows.observed_at.dt.month != 2], 3600)
    quarter = make_quarter(store, "dwd", PartitionKey(QUARTER, "acme"))
    (row,) = quarter.table.to_pylist()
    assert quarter.facts["missing_days"] == 29
    statistics = [n for n in row if n not in ("quarter_start", "station_id") and not n.endswith("completeness")]
    assert {row[n] for n in statistics} == {None}
    assert 0.5 < row["temperature_completeness"] < 0.68


def test_no_day_and_a_day_without_its_cadence(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    key = PartitionKey(QUARTER, "acme")
    with pytest.raises(NotFoundError, match="holds no day of the quarter from 2020-01-01"):
        make_quarter(store, "dwd", key)
    store.put(layout.day_key(layout.REFINED_15M, "dwd", key), parquet.encode(schemas.REFINED.empty_table(), {}).data)
    with pytest.raises(UnreadableObjectError, match="materialize that refined day again"):
        make_quarter(store, "dwd", key)


def test_sums_of_incomplete_windows_and_the_edge_of_a_wet_hour() -> None:
    """0.04 + 0.06 mm is not more than 0.1; what fell in a window of one slot in two counts as well."""
    start = datetime(2020, 1, 1, tzinfo=UTC)
    rows = []
    for day in range(DAYS):
        for window in range(96):
            slots = 2 if window % 2 == 0 else 1
            total = {0: 0.04, 1: 0.06}.get(window, 0.0) if day == 0 else 0.0
            filled = 1 if window == 40 else slots
            value = 0.5 if (day, window) == (5, 40) else total
            rows.append({
                "window_start": start + timedelta(days=day, minutes=15 * window), "station_id": "1",
                "metric": "precipitation_amount", "sample_count": filled, "expected_count": slots,
                "completeness": filled / slots, "mean": value / filled, "sum": value if filled == slots else None,
                "quality": 1,
            })  # fmt: skip
    table = pa.Table.from_pylist(rows, schemas.REFINED)
    days = [
        FeatureInput(start.date() + timedelta(days=n), table.slice(n * 96, 96), Cadence(600)) for n in range(DAYS)
    ]  # fmt: skip
    (row,) = quarter_features(QUARTER, days).to_pylist()
    assert (row["precipitation_total"], row["wet_hours"]) == (0.6, 1)
    assert (row["wettest_day"], row["wettest_day_amount"]) == (date(2020, 1, 6), 0.5)
    assert row["precipitation_completeness"] == pytest.approx(191 / 192), "half of a window a day"


def test_the_position_of_most_of_the_quarter() -> None:
    windows = {
        "window_start": datetime(2020, 1, 1, tzinfo=UTC), "station_id": "1", "metric": "air_temperature",
        "sample_count": 1, "expected_count": 1, "completeness": 1.0, "mean": 1.0, "quality": 1,
    }  # fmt: skip
    day = FeatureInput(QUARTER, pa.Table.from_pylist([windows], schemas.REFINED), Cadence(3600))
    spans = [(date(1990, 1, 1), date(2020, 1, 20), 100.0), (date(2020, 1, 20), None, 200.0)]
    history = pa.Table.from_pylist([
        {"station_id": "1", "valid_from": a, "valid_to": b, "name": "A", "latitude": 50.0,
         "longitude": 8.0, "height": c}
        for a, b, c in spans
    ])  # fmt: skip
    history = history.cast(history.schema.set(2, pa.field("valid_to", pa.date32())))
    (row,) = quarter_features(QUARTER, [day], history).to_pylist()
    assert (row["station_name"], row["latitude"], row["height"]) == ("A", 50.0, 200.0)
    (before,) = quarter_features(date(2019, 10, 1), [day], history).to_pylist()
    assert before["height"] == 100.0


def test_quarters() -> None:
    assert quarter_of(date(2020, 2, 29)) == QUARTER
    assert [quarter_end(date(2023, m, 1)) for m in (1, 4, 7, 10)] == [
        date(2023, 4, 1), date(2023, 7, 1), date(2023, 10, 1), date(2024, 1, 1),
    ]  # fmt: skip


def test_rain_that_is_told_by_the_hour_and_by_six_hours_counts_once() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)

    def window(hour: int, seconds: int, amount: float) -> dict[str, Any]:
        return {
            "window_start": start + timedelta(hours=hour), "station_id": "a", "metric": "precipitation_amount",
            "sample_count": 1, "completeness": 1.0, "mean": amount, "minimum": amount, "maximum": amount,
            "sum": amount, "window_seconds": seconds, "partial_sum": amount,
        }  # fmt: skip

    def total(*windows: dict[str, Any]) -> Any:
        schema = schemas.REFINED
        table = pa.Table.from_pylist([{**dict.fromkeys(schema.names), **w} for w in windows], pa.schema(
            [field.with_nullable(True) for field in schema]))  # fmt: skip
        day = FeatureInput(QUARTER, table, Cadence(3600))
        from weather_backfill.refine.features import _cadences, _day
        from weather_backfill.refine.samples import connect

        with connect() as connection:
            connection.register("windows", day.table)
            connection.register("cadences", _cadences(day))
            return _day(connection, day.date)["total"].to_pylist()

    hours = [window(hour, 3600, 1.0) for hour in range(24)]
    sixes = [window(hour, 6 * 3600, 6.5) for hour in range(0, 24, 6)]
    assert total(*hours, *sixes) == [24.0], "the shorter of two that cover as much"
    assert total(*hours[:5], *sixes) == [26.0], "the one that covers more"
    growing = [window(0, 3 * 3600 * n, float(n)) for n in range(1, 9)]
    assert total(*growing) == [8.0], "totals that grow from 3 to 24 hours"
