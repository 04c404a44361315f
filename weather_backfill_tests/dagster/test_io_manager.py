"""The IO manager under real materializations: what a downstream asset loads, and what a write survives."""

# No `from __future__ import annotations`: Dagster reads the annotations of the assets below.

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from weather_backfill.backfill.status import failed_days_of
from weather_backfill.dagster.io_manager import ParquetIOManager
from weather_backfill.dagster.partitions import daily_by_tenant, tenants_partitions
from weather_backfill.dagster.resources import LakeResource
from weather_backfill.definitions import build_definitions, build_resources
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.errors import AccessDeniedError, StorageUnavailableError
from weather_backfill.model.partitions import PartitionKey, tenants_partition_name
from weather_backfill.model.schemas import RAW
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill_tests.platform import START, Platform
from weather_backfill_tests.refine.test_windows import raw_table

DAYS = daily_by_tenant("tempest", START)
QUARTERS = dg.MultiPartitionsDefinition(
    {"date": dg.TimeWindowPartitionsDefinition(
        start=START.isoformat(), fmt="%Y-%m-%d", cron_schedule="0 0 1 */3 *", timezone="UTC"
    ), "tenant": tenants_partitions("tempest")}
)  # fmt: skip
DAYS_OF_A_QUARTER = dg.MultiPartitionMapping(
    {
        "date": dg.DimensionPartitionMapping("date", dg.TimeWindowPartitionMapping()),
        "tenant": dg.DimensionPartitionMapping("tenant", dg.IdentityPartitionMapping()),
    }
)
RAW_KEY = dg.AssetKey(["tempest", layout.RAW_OBSERVATIONS])
LOADED: list[Any] = []


def take(value: Any) -> None:
    """What a downstream asset was given; a relation is read while it is open."""
    LOADED.append(value.to_arrow_table() if isinstance(value, duckdb.DuckDBPyRelation) else value)


def downstream(kind: Any, partitions: Any = DAYS, mapping: Any = None) -> dg.AssetsDefinition:
    """An asset that loads raw observations as `kind`."""
    ins = {"raw": dg.AssetIn(RAW_KEY, partition_mapping=mapping, input_manager_key="lake_parquet")}

    @dg.asset(
        name="downstream", ins=ins, partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="nothing",
    )  # fmt: skip
    def made(raw: kind) -> None:  # type: ignore[valid-type]
        take(raw)

    return made


class Nothing(dg.IOManager):
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep nothing."""

    def load_input(self, context: dg.InputContext) -> None:
        """Load nothing."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        made.add_dynamic_partitions(tenants_partition_name("tempest"), ["acme", "borealis"])
        yield made


@pytest.fixture
def load(platform: Platform, instance: dg.DagsterInstance) -> Callable[..., Any]:
    """Materialize a downstream asset; what it was given, as a table."""
    LOADED.clear()
    for tenant in ("acme", "borealis"):
        for number in (0, 1, 2, 120):
            day = START + timedelta(days=number)
            table = raw_table([(number, f"ST-{tenant}", "air_temperature", float(number), 1)])
            key = PartitionKey(day, tenant)
            write_day(platform.lake, "tempest", layout.RAW_OBSERVATIONS, DayTable(key, table))
    resources = build_resources(platform.settings) | {"nothing": Nothing()}

    def run(asset: dg.AssetsDefinition, first: str, last: str | None = None, raise_on_error: bool = True) -> Any:
        spec = dg.AssetSpec(RAW_KEY, partitions_def=DAYS)
        span: dict[str, Any] = {"partition_key": first}
        if last:
            tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            span = {"tags": tags}
        result = dg.materialize(
            [asset, spec], instance=instance, resources=resources, selection=[asset], raise_on_error=raise_on_error,
            **span,
        )  # fmt: skip
        return LOADED.pop() if result.success else result

    return run


KINDS = [pa.Table, pd.DataFrame, duckdb.DuckDBPyRelation]


def values(loaded: Any) -> list[float]:
    return list(loaded["value"].to_list() if isinstance(loaded, pd.DataFrame) else loaded["value"].to_pylist())


@pytest.mark.parametrize("kind", KINDS)
def test_one_day(load: Callable[..., Any], kind: Any) -> None:
    loaded = load(downstream(kind), "2024-01-02|acme")
    assert isinstance(loaded, pd.DataFrame if kind is pd.DataFrame else pa.Table)
    assert values(loaded) == [1.0]
    assert set(loaded["station_id"].tolist() if kind is pd.DataFrame else loaded["station_id"].to_pylist()) == {
        "ST-acme"
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_in_order_of_days_and_of_one_tenant(load: Callable[..., Any], kind: Any) -> None:
    assert values(load(downstream(kind), "2024-01-01|acme", "2024-01-03|acme")) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_quarter_holds_the_days_that_are_in_the_lake(load: Callable[..., Any], kind: Any) -> None:
    asset = downstream(kind, QUARTERS, DAYS_OF_A_QUARTER)
    assert values(load(asset, "2024-01-01|borealis")) == [0.0, 1.0, 2.0]
    assert values(load(asset, "2024-04-01|borealis")) == [120.0]
    assert values(load(asset, "2024-07-01|borealis")) == [], "no day at all is an empty table of the schema"


def test_a_table_has_the_schema(load: Callable[..., Any]) -> None:
    assert load(downstream(pa.Table), "2024-01-01|acme", "2024-01-03|acme").schema.equals(RAW)


def test_a_single_day_that_is_missing_is_named(load: Callable[..., Any]) -> None:
    result = load(downstream(pa.Table), "2024-01-09|acme", raise_on_error=False)
    [failed] = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    text = str(failed.step_failure_data.error)
    assert "date=2024-01-09/part.parquet is not in the lake: materialize that day first" in text


def test_days_of_two_tenants_at_once_are_refused(load: Callable[..., Any]) -> None:
    result = load(downstream(pa.Table), "2024-01-01|acme", "2024-01-02|borealis", raise_on_error=False)
    [failed] = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "load one tenant at a time" in str(failed.step_failure_data.error)


class FlakyStore(ObjectStore):
    """A store that refuses the first write of every day."""

    refused: set[str]

    def put(self, key: str, data: bytes) -> StoredObject:
        if key.endswith(layout.FILE) and key not in self.refused:
            self.refused.add(key)
            raise StorageUnavailableError("503 Slow Down")
        return super().put(key, data)


class FlakyLake(LakeResource):
    @cached_property
    def store(self) -> ObjectStore:
        store = FlakyStore(self.storage_url)
        store.refused = set()
        return store


def test_a_write_is_tried_again_when_the_store_hiccups(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", 1)
    resources = build_resources(platform.settings)
    lake = FlakyLake(storage_url=platform.storage_url, s3=resources["s3"])
    definitions = build_definitions(
        platform.settings, resource_overrides={"lake": lake, "lake_parquet": ParquetIOManager(lake=lake)}
    )
    raw = definitions.resolve_assets_def(RAW_KEY)
    with platform.instance as instance:
        result = dg.materialize([raw], instance=instance, partition_key="2024-01-01|acme")
    assert result.success
    assert platform.dates(layout.RAW_OBSERVATIONS, "acme") == {START}
    [event] = [e for e in result.asset_materializations_for_node(raw.op.name) if e.asset_key == RAW_KEY]
    assert event.metadata["dagster/row_count"].value == platform.day(layout.RAW_OBSERVATIONS, "acme", START).num_rows


class ShutStore(ObjectStore):
    """A store that takes neither the second day nor any provenance."""

    def put(self, key: str, data: bytes) -> StoredObject:
        if key.startswith(layout.LEDGER) or ("2024-01-02" in key and key.endswith(layout.FILE)):
            raise AccessDeniedError(f"{key} may not be written.")
        return super().put(key, data)


class ShutLake(LakeResource):
    @cached_property
    def store(self) -> ObjectStore:
        return ShutStore(self.storage_url)


def test_provenance_that_cannot_be_saved_hides_no_failed_day(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", 2)
    lake = ShutLake(storage_url=platform.storage_url, s3=build_resources(platform.settings)["s3"])
    definitions = build_definitions(
        platform.settings, resource_overrides={"lake": lake, "lake_parquet": ParquetIOManager(lake=lake)}
    )
    raw = definitions.resolve_assets_def(RAW_KEY)
    days = [str(PartitionKey(START + timedelta(days=number), "acme")) for number in range(2)]
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]}
    with platform.instance as instance:
        result = dg.materialize([raw], instance=instance, tags=tags, raise_on_error=False)
        [run] = instance.get_runs()
        assert list(failed_days_of(instance, [run])) == [START + timedelta(days=1)]
    [failed] = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    metadata = failed.step_failure_data.user_failure_data.metadata
    assert metadata["days_failed"].value == 1
    assert "AccessDeniedError: _ledger/" in metadata["provenance"].value
    events = result.asset_materializations_for_node(raw.op.name)
    assert [event.partition for event in events if event.asset_key == RAW_KEY] == days[:1]
    kept = [stored.key for stored in platform.lake.list(layout.JOURNAL)]
    days_kept = [key.rsplit("/", 1)[-1] for key in kept if key.endswith(".json")]
    assert days_kept == ["2024-01-01.json"], "housekeeping saves the entries from here"


def test_the_events_of_a_range_come_day_by_day(local_platform: Platform) -> None:
    """For the backfill daemon, which may look in between, launches a run for every unbroken range that it sees."""
    platform = local_platform
    platform.add_tempest("acme", 12)
    raw = build_definitions(platform.settings).resolve_assets_def(RAW_KEY)
    days = [str(PartitionKey(START + timedelta(days=number), "acme")) for number in range(12)]
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    with platform.instance as instance:
        result = dg.materialize([raw], instance=instance, tags=tags)
    events = result.asset_materializations_for_node(raw.op.name)
    assert [event.partition for event in events if event.asset_key == RAW_KEY] == days


def test_the_file_says_whether_a_day_is_whole(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    key = PartitionKey(date(2024, 1, 1), "acme")
    table = raw_table([(0, "ST-1", "air_temperature", 1.0, 1)])
    record = write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(key, table, incomplete="station 7 is damaged"))
    metadata = parquet.metadata_of(store.get(record.object_key))
    assert metadata is not None
    assert parquet.footer_of(metadata)["incomplete"] == "station 7 is damaged"
