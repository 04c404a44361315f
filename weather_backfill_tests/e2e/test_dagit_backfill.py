"""A backfill as Dagit launches it: real webserver, real daemon, GraphQL."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.conftest import long_on
from weather_backfill_tests.platform import START, Platform, graphql
from weather_backfill_tests.servers import until

START_TAG, END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DAYS = 30
BAD_DAY = START + timedelta(days=12)
ALL_DAYS = set(days_between(START, START + timedelta(days=DAYS - 1)))

LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
RETRY = """
mutation Retry($params: ReexecutionParams!) {
  reexecutePartitionBackfill(reexecutionParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
STATUS = """
query Status($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill {
      status
      assetBackfillData {
        assetBackfillStatuses {
          ... on AssetPartitionsStatusCounts {
            assetKey { path } numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed
          }
        }
      }
    }
  }
}"""
ENDED = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}


def keys(days: set[date]) -> list[str]:
    return [f"{day}|acme" for day in sorted(days)]


def launch(url: str, days: set[date]) -> str:
    selection = [{"path": ["tempest", name]} for name in ("raw_observations", "refined_15m")]
    params = {"assetSelection": selection, "partitionNames": keys(days)}
    answer = graphql(url, LAUNCH, {"params": params})["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def wait_for(url: str, backfill: str) -> dict[str, tuple[int, int, int]]:
    """Wait for the end; targeted, materialized and failed partitions by asset."""

    def ended() -> Any:
        found = graphql(url, STATUS, {"id": backfill})["partitionBackfillOrError"]
        return found if found["status"] in ENDED else None

    found = until(ended, seconds=280, every=1)
    return {
        status["assetKey"]["path"][1]: (
            status["numPartitionsTargeted"], status["numPartitionsMaterialized"], status["numPartitionsFailed"],
        )
        for status in found["assetBackfillData"]["assetBackfillStatuses"]
    }  # fmt: skip


@long_on("local")
@pytest.mark.timeout(800)
def test_one_bad_day_of_thirty_costs_only_itself_and_is_retried_alone(platform: Platform) -> None:
    archive = platform.add_tempest("acme", DAYS, faults=Faults(corrupt_day=12))
    with platform.daemon(), platform.webserver() as url:
        backfill = launch(url, ALL_DAYS)
        # Dagster counts the refined day that waits for its failed raw day as failed too.
        assert wait_for(url, backfill) == {"raw_observations": (30, 29, 1), "refined_15m": (30, 29, 1)}
        assert platform.dates("raw_observations", "acme") == ALL_DAYS - {BAD_DAY}
        assert platform.dates("refined_15m", "acme") == ALL_DAYS - {BAD_DAY}
        assert platform.materialized("raw_observations", "acme") == ALL_DAYS - {BAD_DAY}
        assert platform.materialized("refined_15m", "acme") == ALL_DAYS - {BAD_DAY}
        _check_partition_events(platform)

        # The tenant uploads the day again, whole.
        (archive / "year=2024/month=01/day=13/hour=12/cut-off.json.gz").unlink()
        write_archive(SimulatedArchive("acme", BAD_DAY, BAD_DAY, 1, 7, 60), ObjectStore(str(archive)))
        answer = graphql(url, RETRY, {"params": {"parentRunId": backfill, "strategy": "FROM_FAILURE"}})
        retry = answer["reexecutePartitionBackfill"]
        assert retry["__typename"] == "LaunchBackfillSuccess", retry
        assert wait_for(url, retry["backfillId"]) == {"raw_observations": (1, 1, 0), "refined_15m": (1, 1, 0)}
    assert platform.dates("refined_15m", "acme") == ALL_DAYS
    with platform.instance as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": retry["backfillId"]}))
        touched = {
            (run.tags[START_TAG], run.tags[END_TAG], *(k.path[1] for k in run.asset_selection or ())) for run in runs
        }
        bad = f"{BAD_DAY}|acme"
        assert touched == {(bad, bad, "raw_observations"), (bad, bad, "refined_15m")}


def _check_partition_events(platform: Platform) -> None:
    """Each good day is recorded once, with its own metadata, checks and tags."""
    with platform.instance as instance:
        raw = dg.AssetKey(["tempest", "raw_observations"])
        records = instance.fetch_materializations(raw, limit=100).records
        assert sorted(r.partition_key for r in records) == keys(ALL_DAYS - {BAD_DAY})
        for record in records:
            metadata = {k: v.value for k, v in record.asset_materialization.metadata.items()}
            day = platform.day("raw_observations", "acme", date.fromisoformat(record.partition_key[:10]))
            assert metadata["rows"] == metadata["dagster/row_count"] == day.num_rows
            assert metadata["first_observation"].startswith(record.partition_key[:10])
            middle = datetime.fromisoformat(metadata["last_observation"]) - timedelta(seconds=30)  # of its minute
            assert str(middle.date()) == record.partition_key[:10]
            assert {"stations", "metrics", "bytes", "first_observation", "source_objects", "sha256", "seconds"} <= set(
                metadata
            )
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(raw, "completeness"), limit=200
        )
        assert {r.partition for r in history if r.partition} == set(keys(ALL_DAYS - {BAD_DAY}))
        for run in instance.get_runs(dg.RunsFilter(tags={"weather/tenant": "acme"})):
            assert run.tags["weather/service"] == "tempest"
            assert int(run.tags["dagster/priority"]) > 0
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert len(failed) == 1, "the failed range is not retried as a whole"
        refined = [
            r.partition_key
            for r in instance.fetch_materializations(dg.AssetKey(["tempest", "refined_15m"]), limit=100).records
        ]
        assert sorted(refined) == keys(ALL_DAYS - {BAD_DAY}), "each day once, however the daemon cut the runs"
