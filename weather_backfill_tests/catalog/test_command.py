"""`weather-backfill catalog`: plan, register, retry and statements of an archive and of the lake, from the outside."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from weather_backfill.settings import Settings
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.catalog.front import Front
from weather_backfill_tests.cli.test_main import assert_one_line, cli
from weather_backfill_tests.conftest import CREDENTIALS
from weather_backfill_tests.platform import Platform


@pytest.fixture
def platform(settings: Settings, front: Front, tmp_path: Path, bucket: str) -> Platform:
    """A platform with a catalog, and a tenant whose archive holds two days and a stranger."""
    url = f"s3://{bucket}/archive"
    archive = ObjectStore(url, settings.s3)
    write_archive(SimulatedArchive("acme", date(2024, 1, 1), date(2024, 1, 2), 1, minutes_per_object=60), archive)
    archive.put("year=2024/month=13/day=01/hour=00/a.json", b"{}")
    environment = {
        **CREDENTIALS,
        "WEATHER_S3_ENDPOINT_URL": str(settings.s3_endpoint_url),
        "AWS_ENDPOINT_URL_GLUE": front.url,
        "AWS_ENDPOINT_URL_ATHENA": front.url,
        "WEATHER_CATALOG_DATABASE": str(settings.catalog_database),
    }
    found = Platform(tmp_path, settings.storage_url, environment)
    open_tenant_files(found.settings).put(
        "acme.yaml", f"id: acme\nservices: {{tempest: {{archive_url: '{url}'}}}}".encode()
    )
    return found


def refuse_hour(operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
    if operation != "BatchCreatePartition":
        return None
    detail = {"ErrorCode": "InvalidInputException", "ErrorMessage": "no"}
    return {"Errors": [{"PartitionValues": request["PartitionInputList"][0]["Values"], "ErrorDetail": detail}]}


def test_an_archive_from_plan_to_retry(platform: Platform, front: Front) -> None:
    done = cli(platform, "catalog", "plan", "--archive-of", "acme", "--end", "2024-01-01", "--json")
    [row] = json.loads(done.stdout)
    assert (row["partitions"], row["skipped_folders"]) == (24, 1)
    assert "month=13" in done.stderr

    front.rule = refuse_hour
    done = cli(platform, "catalog", "register", "--archive-of", "acme", "--json")
    assert done.returncode == 1
    [row] = json.loads(done.stdout)
    assert row["failed_chunks"] == 1
    assert "2024/01/01/00: InvalidInputException" in row["problem"]

    front.rule = lambda *_: None
    done = cli(platform, "catalog", "retry", row["registration"])
    assert done.returncode == 0, done.stderr
    assert "Calls: BatchCreatePartition 1, GetPartitions 1; throttled: 0" in done.stdout
    assert "48/48" in done.stderr

    done = cli(platform, "catalog", "ddl", "--archive-of", "acme", "--run", "--json")
    [row] = json.loads(done.stdout)
    assert row["statement"].count("PARTITION (") == 48
    assert front.calls["StartQueryExecution"] == 1


def test_the_lake_with_and_without_projection(platform: Platform) -> None:
    platform.lake.put("raw_observations/service=tempest/tenant=acme/date=2024-01-01/part.parquet", b"x")
    rows = json.loads(cli(platform, "catalog", "plan", "--json").stdout)
    assert len(rows) == 5
    assert {row["partitions"] for row in rows} == {0}
    rows = json.loads(cli(platform, "catalog", "register", "--json").stdout)
    assert {row["state"] for row in rows} == {"created"}
    assert "nothing to add" in cli(platform, "catalog", "ddl").stderr

    platform.environment["WEATHER_CATALOG_PROJECTION"] = "false"
    done = cli(platform, "catalog", "ddl")
    assert re.search(
        r"ADD IF NOT EXISTS\n  PARTITION \(`service` = 'tempest', .*\) LOCATION 's3://.*/';\n", done.stdout
    )
    rows = json.loads(cli(platform, "catalog", "register", "--json").stdout)
    assert {row["table"]: (row["state"], row["created"]) for row in rows}["raw_observations"] == ("updated", 1)


def test_what_is_wrong_is_one_line(platform: Platform) -> None:
    assert_one_line(cli(platform, "catalog", "plan", "--archive-of", "nobody"), "nobody", "tenants add")
    assert_one_line(cli(platform, "catalog", "plan", "--table", "x"), "--archive-of")
    assert_one_line(cli(platform, "catalog", "retry", "x"), "catalog register")
    platform.environment["WEATHER_CATALOG_DATABASE"] = "My Weather"
    assert_one_line(cli(platform, "catalog", "plan"), "WEATHER_CATALOG_DATABASE", "My Weather")
    del platform.environment["WEATHER_CATALOG_DATABASE"]
    assert_one_line(cli(platform, "catalog", "register"), "WEATHER_CATALOG_DATABASE")


@pytest.mark.parametrize("command", ["register"])
def test_help_shows_an_example(local_platform: Platform, command: str) -> None:
    assert f"weather-backfill catalog {command}" in cli(local_platform, "catalog", command, "--help").stdout
