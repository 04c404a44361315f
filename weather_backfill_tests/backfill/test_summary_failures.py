"""Failed days, asked for by tenant, are those that Dagster shows."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg
from dagster import AssetMaterialization, DagsterEvent, DagsterEventType, DagsterRunStatus
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.storage.partition_status_cache import AssetPartitionStatus
from dagster._core.test_utils import create_run_for_test

from weather_backfill.backfill.launch import register_tenant
from weather_backfill.backfill.summary import failed_dates
from weather_backfill.dagster.partitions import daily_by_tenant
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.settings import Settings

START = date(2024, 1, 1)
DAYS = [START + timedelta(days=number) for number in range(6)]
ASSET = dg.AssetKey(["tempest", "raw_observations"])


def run(instance: dg.DagsterInstance, status: DagsterRunStatus, planned: list[str], written: list[str]) -> None:
    """What a run leaves in the event log."""
    made = create_run_for_test(instance, status=status)
    for key in planned:
        instance.report_dagster_event(
            DagsterEvent(
                DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value, "job",
                event_specific_data=AssetMaterializationPlannedData(ASSET, partition=key),
            ),
            made.run_id,
        )  # fmt: skip
    for key in written:
        day, tenant = key.split("|")
        partition = dg.MultiPartitionKey({"date": day, "tenant": tenant})
        instance.report_runless_asset_event(AssetMaterialization(ASSET, partition=partition))


def test_failed_days_are_those_that_dagster_shows() -> None:
    with dg.instance_for_test() as instance:
        for tenant in ("acme", "borealis"):
            register_tenant(instance, "tempest", tenant)
        acme = [str(PartitionKey(day, "acme")) for day in DAYS]
        other = [str(PartitionKey(day, "borealis")) for day in DAYS]
        run(instance, DagsterRunStatus.FAILURE, acme[:4], acme[:1])  # three of four failed
        run(instance, DagsterRunStatus.SUCCESS, acme[1:2], acme[1:2])  # one is put right
        run(instance, DagsterRunStatus.STARTED, acme[2:3], [])  # one is on its way again
        run(instance, DagsterRunStatus.FAILURE, other, [])
        found = failed_dates(instance, "tempest", "acme", DAYS)
        partitions = daily_by_tenant("tempest", Settings().first_day_of("tempest"))
        shown = instance.get_status_by_partition(ASSET, acme, partitions) or {}
        assert found == [DAYS[3]]
        assert acme[3:4] == [key for key, status in shown.items() if status == AssetPartitionStatus.FAILED]
        assert failed_dates(instance, "tempest", "acme", []) == []
        assert failed_dates(instance, "tempest", "borealis", DAYS) == DAYS
