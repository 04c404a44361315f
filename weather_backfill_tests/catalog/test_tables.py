"""The lake's tables in Glue: columns, keys, projection; created once, corrected where they differ."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from weather_backfill.catalog.client import Catalog
from weather_backfill.catalog.tables import (
    Projection,
    archive_table,
    ensure_database,
    ensure_table,
    glue_type,
    lake_tables,
    valid_name,
)
from weather_backfill.lake import layout
from weather_backfill.model.errors import AccessDeniedError, CatalogUnavailableError, ConfigurationError, SchemaError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.catalog.front import Front, throttle

PROJECTION = Projection(("dwd", "tempest"), ("acme", "borealis"), date(2018, 2, 1))


def glue_table(catalog: Catalog, settings: Settings, name: str) -> dict[str, Any]:
    return dict(catalog.glue.get_table(DatabaseName=settings.catalog_database, Name=name)["Table"])


def ensure_all(catalog: Catalog, settings: Settings, lake: ObjectStore, projection: Projection | None) -> set[str]:
    assert settings.catalog_database
    ensure_database(catalog, settings.catalog_database)
    return {ensure_table(catalog, settings.catalog_database, table) for table in lake_tables(lake, projection)}


def test_every_dataset_is_a_table_with_projection(settings: Settings, lake: ObjectStore) -> None:
    catalog = Catalog(settings)
    assert ensure_all(catalog, settings, lake, PROJECTION) == {"created"}
    names = {t["Name"] for t in catalog.glue.get_tables(DatabaseName=settings.catalog_database)["TableList"]}
    assert names == {
        "raw_observations", "refined_15m", "rejected_observations", "quarterly_features", "station_history"
    }  # fmt: skip

    raw = glue_table(catalog, settings, "raw_observations")
    columns = {c["Name"]: c["Type"] for c in raw["StorageDescriptor"]["Columns"]}
    assert columns == {
        "observed_at": "timestamp", "station_id": "string", "metric": "string", "value": "double",
        "quality": "tinyint", "interval_seconds": "int", "interval_end_offset_seconds": "int",
        "source_quality": "tinyint",
    }  # fmt: skip
    assert [k["Name"] for k in raw["PartitionKeys"]] == ["service", "tenant", "date"]
    assert raw["StorageDescriptor"]["Location"] == f"{lake.url}/raw_observations/"
    parameters = raw["Parameters"]
    assert parameters["projection.enabled"] == "true"
    assert parameters["projection.service.values"] == "dwd,tempest"
    assert (parameters["projection.tenant.type"], parameters["projection.tenant.values"]) == ("enum", "acme,borealis")
    assert parameters["projection.date.range"] == "2018-02-01,NOW"
    assert (parameters["projection.date.interval"], parameters["projection.date.interval.unit"]) == ("1", "DAYS")


def test_the_projected_location_is_where_the_lake_puts_a_day(settings: Settings, lake: ObjectStore) -> None:
    [raw] = [t for t in lake_tables(lake, PROJECTION) if t.name == layout.RAW_OBSERVATIONS]
    template = raw.parameters["storage.location.template"]
    projected = template.replace("${service}", "dwd").replace("${tenant}", "acme").replace("${date}", "2024-01-31")
    key = layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(date(2024, 1, 31), "acme"))
    assert projected + layout.FILE == lake.uri(key)
    [history] = [t for t in lake_tables(lake, PROJECTION) if t.name == layout.STATION_HISTORY]
    template = history.parameters["storage.location.template"]
    assert template.replace("${service}", "dwd").replace("${tenant}", "acme") + layout.FILE == lake.uri(
        layout.tenant_key(layout.STATION_HISTORY, "dwd", "acme")
    )
    assert not any(name.startswith("projection.date") for name in history.parameters)
    assert history.columns["instruments"] == "array<string>"


def test_quarters_start_on_a_quarter_and_tenants_may_be_injected(lake: ObjectStore) -> None:
    tables = lake_tables(lake, Projection(("dwd",), (), date(2018, 2, 1)))
    [features] = [t for t in tables if t.name == layout.QUARTERLY_FEATURES]
    assert features.parameters["projection.date.range"] == "2018-01-01,NOW"
    assert features.parameters["projection.date.interval"] == "3"
    assert features.parameters["projection.date.interval.unit"] == "MONTHS"
    assert features.parameters["projection.tenant.type"] == "injected"
    assert "projection.tenant.values" not in features.parameters


def test_a_second_time_nothing_is_written(settings: Settings, lake: ObjectStore, front: Front) -> None:
    ensure_all(Catalog(settings), settings, lake, PROJECTION)
    front.calls.clear()
    assert ensure_all(Catalog(settings), settings, lake, PROJECTION) == {"unchanged"}
    assert front.calls == {"GetDatabase": 1, "GetTable": 5}


def test_a_new_tenant_updates_and_others_parameters_stay(settings: Settings, lake: ObjectStore) -> None:
    catalog = Catalog(settings)
    ensure_all(catalog, settings, lake, PROJECTION)
    table = lake_tables(lake, PROJECTION)[0].table_input()
    table["Parameters"] |= {"owner": "meteorology", "projection.region.type": "injected"}
    catalog.glue.update_table(DatabaseName=settings.catalog_database, TableInput=table)
    more = Projection(PROJECTION.services, (*PROJECTION.tenants, "cirrus"), PROJECTION.first_day)
    assert ensure_all(catalog, settings, lake, more) == {"updated"}
    parameters = glue_table(catalog, settings, table["Name"])["Parameters"]
    assert parameters["projection.tenant.values"] == "acme,borealis,cirrus"
    assert parameters["owner"] == "meteorology"
    assert "projection.region.type" not in parameters
    assert ensure_all(catalog, settings, lake, more) == {"unchanged"}
    assert ensure_all(catalog, settings, lake, None) == {"updated"}
    assert "projection.enabled" not in glue_table(catalog, settings, table["Name"])["Parameters"]


def test_an_archives_table_is_not_moved_to_another_archive(settings: Settings, lake: ObjectStore) -> None:
    assert settings.catalog_database
    catalog = Catalog(settings)
    ensure_database(catalog, settings.catalog_database)
    here, there = (ObjectStore(f"{lake.url}/{name}", settings.s3) for name in ("here", "there"))
    assert (
        ensure_table(catalog, settings.catalog_database, archive_table("messages", here), may_move=False) == "created"
    )
    with pytest.raises(ConfigurationError, match=r"over s3://.*/here and not s3://.*/there: name another"):
        ensure_table(catalog, settings.catalog_database, archive_table("messages", there), may_move=False)
    table = glue_table(catalog, settings, "messages")
    assert [c["Name"] for c in table["StorageDescriptor"]["Columns"]] == ["message"]
    assert [k["Name"] for k in table["PartitionKeys"]] == ["year", "month", "day", "hour"]


def test_a_local_lake_and_bad_names_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigurationError, match="local folder"):
        lake_tables(ObjectStore(str(tmp_path)), PROJECTION)
    for name in ("Weather", "1st", "a-b", "a`; DROP", "", "a" * 129):
        with pytest.raises(ConfigurationError, match="not allowed"):
            valid_name(name, "table")
    with pytest.raises(SchemaError, match="no Glue type"):
        glue_type(pa.binary())


def test_errors_of_aws_are_ours(settings: Settings, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weather_backfill.catalog.client.TRIES", 2)
    front.rule = lambda *_: {"__type": "AccessDeniedException", "message": "not authorized"}
    with pytest.raises(AccessDeniedError, match="not authorized"):
        ensure_database(Catalog(settings), "weather")
    front.rule = throttle("GetDatabase", 99)
    catalog = Catalog(settings)
    with pytest.raises(CatalogUnavailableError, match="WEATHER_CATALOG_CONCURRENCY"):
        ensure_database(catalog, "weather")
    assert (catalog.calls["GetDatabase"], catalog.throttled) == (2, 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:9")
    with pytest.raises(CatalogUnavailableError, match="Check the network"):
        ensure_database(Catalog(settings), "weather")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigurationError, match="AWS_DEFAULT_REGION"):
        Catalog(settings)
