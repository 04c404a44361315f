"""The views of the warehouse, queried for real, and `read_refined` and `read_raw`, on disk and on S3."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import weather_backfill
from weather_backfill.dagster.assets.warehouse import build_warehouse as build_asset
from weather_backfill.definitions import build_resources
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.warehouse import VIEWS
from weather_backfill.model import intervals, schemas
from weather_backfill.model.errors import ConfigurationError, NotFoundError, UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.reader import connect_warehouse
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake
from weather_backfill_tests.dagster.assets.test_station_history import history
from weather_backfill_tests.dagster.checks.test_alignment import FIRST, PLANTED
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.refine.test_features import fill_lake

DAY = date(2020, 1, 1)
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def small_lake(store: ObjectStore) -> None:
    """Two tenants, three days of hourly data with a failed and a suspect value, and one of every other dataset."""
    grid = pd.date_range(datetime(2020, 1, 1, tzinfo=UTC), periods=72, freq="h")
    parts = [
        pd.DataFrame({"observed_at": grid, "station_id": station, "metric": metric, "value": 1.0, "quality": 1})
        for station in ("1", "2")
        for metric in ("air_temperature", "wind_speed")
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows.loc[3, "quality"], rows.loc[30, "quality"] = 4, 3
    for tenant in ("acme", "007"):
        fill_lake(store, rows, 3600, tenant)
    features = layout.day_key(layout.QUARTERLY_FEATURES, "dwd", PartitionKey(FIRST, "acme"))
    store.put(features, parquet.encode(PLANTED.slice(0, 1), {}).data)
    store.put(
        layout.tenant_key(layout.STATION_HISTORY, "dwd", "acme"),
        parquet.encode(history(("1", DAY, None, 1.0)), {}).data,
    )
    own = pa.table(parquet.decode(store.get(layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(DAY, "acme")))))
    other = own.slice(0, 5).append_column(schemas.SOURCE_QUALITY, pa.array([7] * 5, pa.int8()))
    store.put(
        layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(DAY, "acme")), parquet.encode(other, {}).data
    )
    reject = {"reason": "no time", "source_object": "a.json", "raw_text": "{}"}
    rejects = pa.Table.from_pylist([reject], schemas.REJECTS)
    older = rejects.select(["reason", "source_object", "station_id", "observed_at", "raw_text"])
    newer = pa.Table.from_pylist([reject | {"raw_bytes": 2, "stands_for": 7}], schemas.REJECTS)
    for day, table in ((DAY, older), (date(2020, 1, 3), newer)):
        key = layout.day_key(layout.REJECTED_OBSERVATIONS, "dwd", PartitionKey(day, "acme"))
        store.put(key, parquet.encode(table, {}).data)


def settings_of(platform: Platform) -> Settings:
    return platform.settings.model_copy(update={"warehouse": str(platform.folder / "out" / "warehouse.duckdb")})


def build_warehouse(settings: Settings) -> duckdb.DuckDBPyConnection:
    assert dg.materialize([build_asset(SERVICES, settings)], resources=build_resources(settings)).success
    return connect_warehouse(settings=settings)


def test_views_of_a_small_lake(platform: Platform) -> None:
    small_lake(platform.lake)
    with build_warehouse(settings_of(platform)) as warehouse:

        def rows(query: str) -> list[tuple]:
            return warehouse.sql(query).fetchall()

        assert rows("SELECT service, tenant, count(*) FROM raw_observations GROUP BY ALL ORDER BY ALL") == [
            ("dwd", "007", 288), ("dwd", "acme", 288), ("tempest", "acme", 5),
        ]  # fmt: skip
        assert rows("SELECT DISTINCT service, source_quality FROM raw_observations ORDER BY 1") == [
            ("dwd", None), ("tempest", 7),
        ]  # fmt: skip
        day = "tenant = '007' AND date = '2020-01-01'"
        assert rows(f"SELECT sum(sample_count) FROM refined_15m WHERE {day}") == [(95,)], "the failed one is not in"
        assert rows("SELECT station_id, temperature_completeness, date FROM quarterly_features") == [("1", 1.0, FIRST)]
        assert rows("SELECT station_id, height, tenant FROM station_history") == [("1", 1.0, "acme")]
        issues = rows("SELECT issue, date, reason, metric FROM quality_issues WHERE tenant = 'acme' ORDER BY 1, 2")
        assert issues == [
            ("failed", DAY, None, "air_temperature"), ("failed", DAY, None, "air_temperature"),
            ("rejected", DAY, "no time", None), ("rejected", date(2020, 1, 3), "no time", None),
            ("suspect", date(2020, 1, 2), None, "air_temperature"),
        ]  # fmt: skip
        weights = "raw_bytes, stands_for"
        assert rows(f"SELECT date, {weights} FROM rejected_observations ORDER BY 1") == [
            (DAY, None, None), (date(2020, 1, 3), 2, 7),
        ]  # fmt: skip
        assert rows(f"SELECT {weights} FROM quality_issues WHERE date = '2020-01-03'") == [(2, 7)]
        versions = rows("SELECT dataset, service, tenant, date, bytes, rows, code_version, schema_version, object "
                        "FROM dataset_versions ORDER BY object")  # fmt: skip
        assert len(versions) == 3 * 2 * 2 + 5
        sizes = {stored.key: stored.size for stored in platform.lake.list()}
        for *_, size, _, code, schema, where in versions:
            key = where[where.index(next(d for d in (*VIEWS,) if f"/{d}/" in where)) :]
            assert (size, code, schema) == (sizes[key], weather_backfill.__version__, schemas.SCHEMA_VERSION)
        assert {(d, s, t, day, n) for d, s, t, day, _, n, *_ in versions if d != layout.REFINED_15M} >= {
            (layout.RAW_OBSERVATIONS, "dwd", "007", DAY, 96), (layout.STATION_HISTORY, "dwd", "acme", None, 1),
        }  # fmt: skip
        assert rows("SELECT count(*) FROM duckdb_tables()") == [(0,)], "views only, never data"


def test_an_empty_lake_has_empty_views_with_all_columns(local_platform: Platform) -> None:
    settings = settings_of(local_platform)
    with build_warehouse(settings) as empty:
        assert {view: empty.sql(f"SELECT * FROM {view}").fetchall() for view in VIEWS} == {view: [] for view in VIEWS}
        described = {view: empty.sql(f"FROM {view}").description for view in VIEWS}
        small_lake(local_platform.lake)
        with build_warehouse(settings) as filled:  # while a reader has the old one open
            assert {view: filled.sql(f"FROM {view}").description for view in VIEWS} == described
            assert filled.sql("FROM raw_observations").types == empty.sql("FROM raw_observations").types


def test_a_local_warehouse_needs_nothing_but_duckdb(local_platform: Platform) -> None:
    settings = settings_of(local_platform)
    small_lake(local_platform.lake)
    build_warehouse(settings).close()
    with duckdb.connect(settings.warehouse_path(), read_only=True) as plain:
        query = "SELECT count(*) FROM refined_15m WHERE date >= '2020-01-02'"
        assert plain.sql(query).fetchall() == [(2 * 2 * 2 * 48,)], "tenants, stations, metrics, hours"
    assert list(Path(settings.warehouse_path()).parent.iterdir()) == [Path(settings.warehouse_path())]


def test_where_the_warehouse_lies(tmp_path: Path) -> None:
    assert Settings(storage_url=str(tmp_path / "lake")).warehouse_path() == str(tmp_path / "warehouse.duckdb")
    missing = Settings(storage_url=str(tmp_path / "lake"), warehouse=str(tmp_path / "x.duckdb"))
    with pytest.raises(NotFoundError, match=r"x\.duckdb is not there: materialize the asset `warehouse`"):
        connect_warehouse(settings=missing)


def test_reading_is_pruned_and_filtered(platform: Platform) -> None:
    small_lake(platform.lake)
    settings = platform.settings
    # A day outside the range is not opened, so its damage is not noticed.
    platform.lake.put(layout.day_key(layout.REFINED_15M, "dwd", PartitionKey(date(2020, 1, 3), "acme")), b"damaged")
    span = {"tenant": "acme", "service": "dwd", "start": "2020-01-01", "end": date(2020, 1, 2), "settings": settings}
    with pytest.raises(UnreadableObjectError, match="date=2020-01-03"):
        weather_backfill.read_refined(**span)  # the day after may hold a longer window that began in the range
    quarters = {**span, "window_seconds": 900}
    frame = weather_backfill.read_refined(**quarters, metrics=["wind_speed"], stations=["2"])
    assert len(frame) == 48
    assert set(frame["metric"]) == {"wind_speed"}
    assert set(frame["station_id"]) == {"2"}
    assert str(frame["window_start"].dtype) == "datetime64[us, UTC]"
    table = weather_backfill.read_refined(**quarters, as_="arrow")
    assert table.num_rows == 2 * 2 * 48
    assert table.schema == schemas.REFINED
    hours = {"start": NOON, "end": NOON + timedelta(hours=2)}
    raw = weather_backfill.read_raw(**{**span, **hours}, as_="arrow")
    assert raw.num_rows == 2 * 2 * 2
    assert raw.schema == pa.schema([*schemas.RAW, *intervals.COMPUTED])


def test_longer_windows_are_found_by_their_start(local_platform: Platform) -> None:
    """The hour from 23:50 has its midpoint in the day after, and lies in that day's file."""
    at = datetime(2020, 1, 1, 23, 50, tzinfo=UTC)
    whole = {"station_id": "1", "metric": "precipitation_amount", "sample_count": 1, "expected_count": 1,
             "completeness": 1.0, "quality": 1}  # fmt: skip
    rows = {
        date(2020, 1, 1): [(at.replace(hour=23, minute=45), 900)],
        date(2020, 1, 2): [(at, 3600), (at + timedelta(minutes=10), 900)],
    }
    for day, windows in rows.items():
        table = [whole | {"window_start": start, "window_seconds": seconds} for start, seconds in windows]
        data = parquet.encode(pa.Table.from_pylist(table, schemas.REFINED), {}).data
        local_platform.lake.put(layout.day_key(layout.REFINED_15M, "dwd", PartitionKey(day, "acme")), data)
    span = {"tenant": "acme", "service": "dwd", "start": "2020-01-01", "end": "2020-01-01"}
    for length, expected in ((None, [900, 3600]), (900, [900]), (3600, [3600])):
        frame = weather_backfill.read_refined(**span, window_seconds=length, settings=local_platform.settings)
        assert frame["window_seconds"].tolist() == expected


def test_clear_errors(local_platform: Platform) -> None:
    small_lake(local_platform.lake)
    span = {"tenant": "acme", "service": "dwd", "start": DAY, "end": DAY, "settings": local_platform.settings}
    for change, words in (
        ({"service": "noaa"}, "'noaa' is not known: expected one of tempest, dwd, aceiot"),
        ({"tenant": "../x"}, "tenant id '../x' is not allowed"),
        ({"start": "2020-01-02"}, "is not before end"),
        ({"start": "January"}, "expected a day like '2024-01-31'"),
        ({"end": datetime(2020, 1, 2)}, "without a time zone"),  # noqa: DTZ001 - that is the mistake
        ({"metrics": "wind_speed"}, r"expected a list, for example \['wind_speed'\]"),
        ({"metrics": ["wind_sped"]}, "did you mean wind_speed"),
        ({"metrics": ["wind_from_direction_of_gust"]}, "it is wind_gust_from_direction now"),
        ({"as_": "polars"}, "expected 'pandas' or 'arrow'"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            weather_backfill.read_refined(**{**span, **change})
    with pytest.raises(NotFoundError, match="it holds 3 days from 2020-01-01 to 2020-01-03"):
        weather_backfill.read_refined(**{**span, "start": "2021-01-01", "end": "2021-01-02"})
    with pytest.warns(UserWarning, match="2 of 5 days of raw_observations are not in the lake"):
        weather_backfill.read_raw(**{**span, "end": "2020-01-05"})


def test_importing_the_package_imports_no_engine() -> None:
    heavy = "('dagster', 'duckdb', 'pandas', 'pyarrow')"
    code = f"import sys, weather_backfill; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="read_everything"):
        weather_backfill.read_everything  # noqa: B018


@pytest.mark.parametrize("read", [weather_backfill.read_raw, weather_backfill.read_refined])
def test_a_flipped_bit_is_never_read_as_rows(tmp_path: Path, read: Any) -> None:
    """Wherever a page is damaged, the object is named; no row comes out that is not what was written."""
    settings = Settings(storage_url=str(tmp_path))
    store = open_lake(settings)
    small_lake(store)
    dataset = layout.RAW_OBSERVATIONS if read is weather_backfill.read_raw else layout.REFINED_15M
    key = layout.day_key(dataset, "dwd", PartitionKey(DAY, "acme"))
    good = store.get(key)
    arguments = {"tenant": "acme", "service": "dwd", "start": DAY, "end": DAY, "settings": settings, "as_": "arrow"}
    expected = read(**arguments)
    metadata = pq.read_metadata(pa.BufferReader(good))
    chunks = [metadata.row_group(0).column(n) for n in range(metadata.num_columns)]
    pages = max((c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size for c in chunks)
    told: list[str] = []
    for position in range(4, pages, 41):
        store.put(key, good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        try:
            found = read(**arguments)
        except UnreadableObjectError as error:
            told.append(str(error))
        else:
            assert found.equals(expected), f"byte {position}"  # one that says nothing of the rows
    assert told
    assert all(text.startswith(store.uri(key)) for text in told)
