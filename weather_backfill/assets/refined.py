"""Refined: 15-minute windows of every raw day, made from the raw file alone."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

import time
from collections.abc import Iterator
from datetime import date
from functools import partial

import dagster as dg

from weather_backfill.assets.streaming import check_results, check_specs, skip_finished
from weather_backfill.checks import REFINED_CHECKS, check_refined
from weather_backfill.lake import layout
from weather_backfill.lake.days import Day, DayFailed, DayStream, DayTable
from weather_backfill.lake.io_manager import journal_of
from weather_backfill.lake.storage import ObjectStore
from weather_backfill.partitions import PartitionKey, by_tenant
from weather_backfill.refine.windows import refine_file
from weather_backfill.resources import LakeResource
from weather_backfill.sources.base import DayFailure, each_day


def build_refined(
    service: str, partitions: dg.MultiPartitionsDefinition, backfill_policy: dg.BackfillPolicy
) -> dg.AssetsDefinition:
    """The asset `<service>/refined_15m`."""
    key = dg.AssetKey([service, layout.REFINED_15M])

    @dg.asset(
        key=key,
        deps=[dg.AssetKey([service, layout.RAW_OBSERVATIONS])],
        partitions_def=partitions,
        backfill_policy=backfill_policy,
        io_manager_key="lake_parquet",
        check_specs=check_specs(key, REFINED_CHECKS),
        group_name=service,
        kinds={"duckdb", "parquet"},
        description="15-minute windows [start, end) in UTC, labelled by their start, with completeness and quality.",
    )
    def refined_15m(
        context: dg.AssetExecutionContext, lake: LakeResource
    ) -> Iterator[dg.Output[DayStream] | dg.AssetCheckResult]:
        journal = journal_of(context.get_step_execution_context(), lake.store, key)

        read = partial(refine_days, lake.store, service)
        stream = DayStream(skip_finished(by_tenant(context.partition_keys), journal, read))
        yield dg.Output(stream)
        yield from check_results(key, REFINED_CHECKS, stream)

    return refined_15m


def refine_days(store: ObjectStore, service: str, tenant: str, days: list[date]) -> Iterator[Day]:
    """Refine a tenant's raw days in order, one ahead of the consumer; a day that cannot be is `DayFailed`."""
    for made in each_day(days, lambda day: refine_day(store, service, PartitionKey(day, tenant))):
        yield DayFailed(PartitionKey(made.date, tenant), made.error) if isinstance(made, DayFailure) else made


def refine_day(store: ObjectStore, service: str, key: PartitionKey) -> DayTable:
    """Refine one raw day of the lake; raises `NotFoundError` if it is not there."""
    started = time.monotonic()
    raw_key = layout.day_key(layout.RAW_OBSERVATIONS, service, key)
    with store.local_copy(raw_key) as path:
        refined = refine_file(path)
    return DayTable(
        key=key,
        table=refined.table,
        lineage={
            "source": f"{layout.RAW_OBSERVATIONS}/service={service}",
            "cadence": refined.footer["cadence"],
            **({"raw_rows": refined.footer["rows"]} if "rows" in refined.footer else {}),  # not in older raw files
        },
        facts={"source_objects": 1, "raw_rows": refined.raw_rows, "seconds": time.monotonic() - started},
        checks=check_refined(refined.table, refined.good_values),
    )
