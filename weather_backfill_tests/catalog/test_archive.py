"""An archive in its original layout: planned from its folders, registered hour by hour."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from weather_backfill.catalog.client import Catalog
from weather_backfill.catalog.holdings import archive_hours, lake_days
from weather_backfill.catalog.lake_and_archive import archive_plan, register_archive
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.settings import Settings
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.tenants.files import Services, Tenant
from weather_backfill_tests.catalog.front import Front

STRANGERS = [
    "year=2024/month=1/day=01/hour=00/a.json",  # not padded
    "year=2024/month=02/day=30/hour=00/a.json",
    "year=2024/month=01/day=01/hour=24/a.json",
    "year=2024/month=01/day=01/extra/a.json",
    "year=٢٠٢٤/month=01/day=01/hour=00/a.json",
    "readme/a.txt",
]


def test_hours_are_read_from_folders(store: ObjectStore) -> None:
    write_archive(SimulatedArchive("acme", date(2023, 12, 31), date(2024, 1, 2), 1, minutes_per_object=60), store)
    for key in STRANGERS:
        store.put(key, b"{}")
    store.put("_audit/a.json", b"{}")
    found = archive_hours(store)
    assert len(found.values) == 72
    assert found.values[0] == ("2023", "12", "31", "00")
    assert found.values[-1] == ("2024", "01", "02", "23")
    assert found.strangers == [
        "readme",
        "year=2024/month=01/day=01/extra",
        "year=2024/month=01/day=01/hour=24",
        "year=2024/month=02/day=30",
        "year=2024/month=1",
        "year=٢٠٢٤",
    ]
    some = archive_hours(store, date(2024, 1, 1), date(2024, 1, 1)).values
    assert some == [("2024", "01", "01", f"{hour:02}") for hour in range(24)]
    assert len(archive_hours(store, end=date(2023, 12, 31)).values) == 24
    assert len(archive_hours(store, start=date(2024, 1, 2)).values) == 24
    assert archive_hours(store, start=date(2025, 1, 1)).values == []


def test_an_empty_archive_and_an_empty_lake_hold_nothing(tmp_path: Path) -> None:
    assert archive_hours(ObjectStore(str(tmp_path))).values == []
    assert lake_days(ObjectStore(str(tmp_path)), "raw_observations").values == []


def test_days_of_the_lake(store: ObjectStore) -> None:
    for folder in ("service=dwd/tenant=acme-2/date=2024-01-02", "service=dwd/tenant=acme/date=2024-01-01"):
        store.put(f"refined_15m/{folder}/part.parquet", b"x")
    for folder in (
        "service=D W'D/tenant=acme/date=2024-01-02",
        "service=dwd/tenant=Acme/date=2024-01-02",
        "service=dwd/tenant=acme/date=20240101",
    ):
        store.put(f"refined_15m/{folder}/part.parquet", b"x")
    found = lake_days(store, "refined_15m")
    assert found.values == [("dwd", "acme", "2024-01-01"), ("dwd", "acme-2", "2024-01-02")]
    assert found.strangers == [
        "refined_15m/service=D W'D",
        "refined_15m/service=dwd/tenant=Acme",
        "refined_15m/service=dwd/tenant=acme/date=20240101",
    ]


def test_an_archive_registered_twice(settings: Settings, lake: ObjectStore, bucket: str, front: Front) -> None:
    url = f"s3://{bucket}/archive"
    write_archive(
        SimulatedArchive("acme-2", date(2024, 1, 1), date(2024, 1, 5), 1, minutes_per_object=60),
        ObjectStore(url, settings.s3),
    )
    tenant = Tenant(id="acme-2", services=Services(tempest=TempestConnection(archive_url=url)))
    plan = archive_plan(settings, tenant, None, None, None)
    assert plan.summary() == {
        "table": f"{settings.catalog_database}.tempest_messages_acme_2",
        "partitions": 120,
        "first": "2024/01/01/00",
        "last": "2024/01/05/23",
        "chunks": 1,
        "most_calls": 3,
        "skipped_folders": 0,
        "location": url,
    }
    assert not front.calls, "a plan asks Glue nothing"
    row = register_archive(Catalog(settings), lake, plan).row()
    assert (row["state"], row["created"], row["existing"]) == ("created", 120, 0)
    row = register_archive(Catalog(settings), lake, plan).row()
    assert (row["state"], row["created"], row["existing"]) == ("unchanged", 0, 120)
    glue = Catalog(settings).glue
    names = {"DatabaseName": settings.catalog_database, "TableName": plan.table.name}
    partition = glue.get_partition(**names, PartitionValues=["2024", "01", "05", "23"])["Partition"]
    folder = partition["StorageDescriptor"]["Location"].removeprefix(f"{url}/").rstrip("/")
    assert ObjectStore(url, settings.s3).list(folder), "the partition points at the hour's objects"
    assert partition["StorageDescriptor"]["Columns"] == [{"Name": "message", "Type": "string"}]


def test_without_a_database_there_is_no_plan(settings: Settings, bucket: str) -> None:
    tenant = Tenant(id="acme", services=Services(tempest=TempestConnection(archive_url=f"s3://{bucket}/archive")))
    none = settings.model_copy(update={"catalog_database": None})
    with pytest.raises(ConfigurationError, match="WEATHER_CATALOG_DATABASE"):
        archive_plan(none, tenant, None, None, None)
    with pytest.raises(ConfigurationError, match="table name"):
        archive_plan(settings, tenant, "x; DROP TABLE y", None, None)


def test_no_table_is_made_of_an_archive_inside_the_lake(settings: Settings, bucket: str) -> None:
    """Its files are all tenants'; loading refuses it too."""
    inside = settings.model_copy(update={"storage_url": f"s3://{bucket}/lake"})
    url = f"s3://{bucket}/lake/raw_observations"
    tenant = Tenant(id="acme", services=Services(tempest=TempestConnection(archive_url=url)))
    with pytest.raises(ConfigurationError, match="lies in the lake"):
        archive_plan(inside, tenant, None, None, None)
