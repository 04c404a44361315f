"""deploy/s3-lifecycle.json: S3 takes it, and it never touches what we have to keep."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from weather_backfill.lake import layout
from weather_backfill.lake.warehouse import COLUMNS
from weather_backfill_tests.platform import PROJECT

RULES = json.loads((PROJECT / "deploy" / "s3-lifecycle.json").read_text())["Rules"]


def removing(key: str) -> list[dict[str, Any]]:
    """The rules that would delete the current version of an object."""
    return [r for r in RULES if "Days" in r.get("Expiration", {}) and key.startswith(r["Filter"]["Prefix"])]


def test_s3_takes_the_rules(s3_endpoint: str, bucket: str) -> None:
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": RULES})
    found = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert sorted(rule["ID"] for rule in found) == sorted(rule["ID"] for rule in RULES)
    assert {rule["Status"] for rule in found} == {"Enabled"}
    days = {r["NoncurrentVersionExpiration"]["NoncurrentDays"] for r in found if "NoncurrentVersionExpiration" in r}
    assert days == {30}


@pytest.mark.parametrize("folder", [*COLUMNS, layout.BACKFILLS, layout.AUDIT, layout.ARCHIVE, layout.LEDGER])
def test_no_rule_deletes_data_or_records(folder: str) -> None:
    assert removing(f"lake/{folder}/service=dwd/tenant=acme/date=2024-01-01/part.parquet") == []


@pytest.mark.parametrize(
    "key",
    [
        f"lake/{layout.journal_prefix('run', 'dwd/raw_observations')}/tenant=acme/2024-01-01.json",
        f"lake/{layout.registration_keys('raw_observations-0123456789ab')[0]}",
        "dagster-logs/storage/run/compute_logs/step.err",
    ],
)
def test_what_is_left_over_goes_after_30_days(key: str) -> None:
    [rule] = removing(key)
    assert rule["Expiration"]["Days"] == 30


def test_every_prefix_is_one_of_ours() -> None:
    known = {"", "lake/", "lake/_journal/", f"lake/{layout.CATALOG}/", "dagster-logs/"}
    assert {rule["Filter"]["Prefix"] for rule in RULES} == known
