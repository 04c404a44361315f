"""Raw observations: a day of a tenant's upstream, decoded, flagged and written as it came."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import dagster as dg

from weather_backfill.assets.streaming import check_results, check_specs, skip_finished
from weather_backfill.checks import RAW_CHECKS, check_raw, coverage
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.days import Day, DayFailed, DayStream, DayTable
from weather_backfill.lake.io_manager import journal_of
from weather_backfill.partitions import PartitionKey, by_tenant
from weather_backfill.refine.quality import flag
from weather_backfill.resources import LakeResource, TenantsResource
from weather_backfill.run_coordinator import ACCEPT_LOSS_TAG
from weather_backfill.settings import Settings
from weather_backfill.sources.base import DayFailure, RawDay
from weather_backfill.sources.registry import open_source


def build_raw(
    service: str,
    partitions: dg.MultiPartitionsDefinition,
    settings: Settings,
    backfill_policy: dg.BackfillPolicy,
) -> dg.AssetsDefinition:
    """The asset `<service>/raw_observations`."""
    key = dg.AssetKey([service, layout.RAW_OBSERVATIONS])

    @dg.asset(
        key=key,
        partitions_def=partitions,
        backfill_policy=backfill_policy,
        io_manager_key="lake_parquet",
        check_specs=check_specs(key, RAW_CHECKS),
        group_name=service,
        kinds={"parquet"},
        pool=f"{service}_source",
        description="Every observation of a tenant's day as the upstream sent it, long rows, flagged by quality.",
    )
    def raw_observations(
        context: dg.AssetExecutionContext, lake: LakeResource, tenants: TenantsResource
    ) -> Iterator[dg.Output[DayStream] | dg.AssetCheckResult]:
        accept_loss = context.run.tags.get(ACCEPT_LOSS_TAG) == "true"
        journal = journal_of(context.get_step_execution_context(), lake.store, key)

        def read(tenant: str, days: list[date]) -> Iterator[Day]:
            source = open_source(tenants.registry.get(tenant), service, lake.store, tenants.s3_defaults, settings)
            for day in source.days(days):
                yield to_raw_table(PartitionKey(day.date, tenant), day, settings, accept_loss)

        stream = DayStream(skip_finished(by_tenant(context.partition_keys), journal, read))
        yield dg.Output(stream)
        yield from check_results(key, RAW_CHECKS, stream)

    return raw_observations


def to_raw_table(key: PartitionKey, day: RawDay | DayFailure, settings: Settings, accept_loss: bool = False) -> Day:
    """A day as read to a day to write: flagged, checked, its lineage complete."""
    if isinstance(day, DayFailure):
        return DayFailed(key, day.error)
    with ThreadPoolExecutor(1, thread_name_prefix="coverage") as beside:  # neither needs the other's result
        counting = beside.submit(coverage, day)
        table = flag(day.table, day.cadence)
        held = counting.result()
    flagged = replace(day, table=table)
    lineage = {**day.lineage, **parquet.cadence_lineage(day.cadence), "completeness": f"{held.share:.6f}"}
    return DayTable(
        key=key,
        table=table,
        lineage={**lineage, "rejects": str(day.rejects.num_rows)},
        facts={**day.facts, "completeness": round(held.share, 6), "rejects": day.rejects.num_rows},
        checks=check_raw(flagged, held, settings.completeness_target, settings.rejects_limit),
        rejects=day.rejects,
        incomplete=day.incomplete,
        accept_loss=accept_loss,
    )
