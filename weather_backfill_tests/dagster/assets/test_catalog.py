"""The asset `catalog`: off without a setting, else projection or partitions; failures with the way on."""

from __future__ import annotations

import os
import uuid
from typing import Any

import boto3
import dagster as dg
import pytest

from weather_backfill.dagster.assets.catalog import build_catalog
from weather_backfill.definitions import build_resources
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.places import open_lake, open_tenant_files


def materialize(settings: Settings) -> dg.ExecuteInProcessResult:
    resources = {name: value for name, value in build_resources(settings).items() if name in ("lake", "tenants", "s3")}
    return dg.materialize([build_catalog(SERVICES, settings)], resources=resources, raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node("catalog")
    return {name: value.value for name, value in event.metadata.items()}


@pytest.fixture
def settings(s3_endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    if "WEATHER_TEST_S3_ENDPOINT" in os.environ:
        pytest.skip("the server given has no Glue")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    return Settings(
        storage_url=f"s3://{bucket}/lake",
        tenants_url=f"s3://{bucket}/tenants",
        s3_endpoint_url=s3_endpoint,
        catalog_database=f"weather_{uuid.uuid4().hex[:10]}",
    )


def test_without_a_database_it_says_so_and_does_nothing(tmp_path: Any) -> None:
    result = materialize(Settings(storage_url=str(tmp_path / "lake"), tenants_url=str(tmp_path / "tenants")))
    assert result.success
    assert metadata(result) == {"registered": "nothing: WEATHER_CATALOG_DATABASE is not set"}


def test_tables_know_tenants_with_a_file_and_those_with_data_only(settings: Settings) -> None:
    open_tenant_files(settings).put("acme.yaml", b"id: acme\nservices: {tempest: {archive_url: archive}}\n")
    open_lake(settings).put("raw_observations/service=dwd/tenant=old/date=2024-01-01/part.parquet", b"x")
    result = materialize(settings)
    assert result.success
    found = metadata(result)
    assert {row["state"] for row in found["tables"].values()} == {"created"}
    glue = boto3.client("glue")
    table = glue.get_table(DatabaseName=settings.catalog_database, Name="raw_observations")["Table"]
    assert table["Parameters"]["projection.tenant.values"] == "acme,old"
    again = metadata(materialize(settings))
    assert {row["state"] for row in again["tables"].values()} == {"unchanged"}


def test_without_projection_the_days_of_the_lake_are_partitions(settings: Settings) -> None:
    settings = settings.model_copy(update={"catalog_projection": False})
    for day in (1, 2, 3):
        open_lake(settings).put(f"raw_observations/service=dwd/tenant=acme/date=2024-01-0{day}/part.parquet", b"x")
    open_lake(settings).put("station_history/service=dwd/tenant=acme/part.parquet", b"x")
    found = metadata(materialize(settings))
    assert found["tables"]["raw_observations"]["created"] == 3
    assert found["tables"]["station_history"]["created"] == 1
    assert found["tables"]["refined_15m"]["registration"] is None
    pages = boto3.client("glue").get_partitions(DatabaseName=settings.catalog_database, TableName="station_history")
    assert [p["Values"] for p in pages["Partitions"]] == [["dwd", "acme"]]
    again = metadata(materialize(settings))
    assert (again["tables"]["raw_observations"]["created"], again["tables"]["raw_observations"]["existing"]) == (0, 3)


def test_a_local_lake_fails_with_the_reason(tmp_path: Any, settings: Settings) -> None:
    local = settings.model_copy(update={"storage_url": str(tmp_path / "lake")})
    result = materialize(local)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "Glue and Athena read S3 only" in str(failure.event_specific_data)
