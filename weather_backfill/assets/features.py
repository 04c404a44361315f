"""Quarterly features: one row a station and quarter, from the refined days."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

import time
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import pyarrow as pa

from weather_backfill.assets.streaming import skip_finished
from weather_backfill.errors import NotFoundError
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.days import Day, DayFailed, DayStream, DayTable
from weather_backfill.lake.io_manager import journal_of
from weather_backfill.lake.storage import ObjectStore
from weather_backfill.partitions import PartitionKey, by_tenant, days_between, quarter_end, quarterly_by_tenant
from weather_backfill.refine.features import RefinedDay, quarter_features, read_refined_day
from weather_backfill.resources import LakeResource
from weather_backfill.settings import Settings
from weather_backfill.sources.base import DayFailure, each_day

DAYS_OF_THE_QUARTER = dg.MultiPartitionMapping(
    {
        # The first quarter may begin before the service's first day.
        "date": dg.DimensionPartitionMapping(
            "date", dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
        ),
        "tenant": dg.DimensionPartitionMapping("tenant", dg.IdentityPartitionMapping()),
    }
)


def build_features(
    service: str, settings: Settings, backfill_policy: dg.BackfillPolicy, has_history: bool
) -> dg.AssetsDefinition:
    """The asset `<service>/quarterly_features`."""
    key = dg.AssetKey([service, layout.QUARTERLY_FEATURES])
    deps = [dg.AssetDep(dg.AssetKey([service, layout.REFINED_15M]), partition_mapping=DAYS_OF_THE_QUARTER)]
    if has_history:
        of_the_tenant = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="tenant")
        deps.append(dg.AssetDep(dg.AssetKey([service, layout.STATION_HISTORY]), partition_mapping=of_the_tenant))

    @dg.asset(
        key=key,
        deps=deps,
        partitions_def=quarterly_by_tenant(service, settings.first_day_of(service)),
        backfill_policy=backfill_policy,
        io_manager_key="lake_parquet",
        group_name=service,
        kinds={"duckdb", "parquet"},
        description="Statistics per station and quarter; null where less than 75 % of the quarter's slots hold values.",
    )
    def quarterly_features(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.Output[DayStream]:
        journal = journal_of(context.get_step_execution_context(), lake.store, key)

        def read(tenant: str, quarters: list[date]) -> Iterator[Day]:
            made = each_day(quarters, lambda start: make_quarter(lake.store, service, PartitionKey(start, tenant)))
            for day in made:
                yield DayFailed(PartitionKey(day.date, tenant), day.error) if isinstance(day, DayFailure) else day

        return dg.Output(DayStream(skip_finished(by_tenant(context.partition_keys), journal, read)))

    return quarterly_features


def make_quarter(store: ObjectStore, service: str, key: PartitionKey) -> DayTable:
    """A quarter's features; `key.date` is its first day. Raises `NotFoundError` if none of its days is refined."""
    started = time.monotonic()
    folder = layout.tenant_prefix(layout.REFINED_15M, service, key.tenant)
    held = {layout.date_of(o.key) for o in store.list(folder) if o.key.endswith(layout.FILE)}
    every = days_between(key.date, quarter_end(key.date) - timedelta(days=1))
    days = [day for day in every if day in held]
    if not days:
        raise NotFoundError(f"{store.uri(folder)} holds no day of the quarter from {key.date}: refine its days first.")
    return DayTable(
        key=key,
        table=quarter_features(key.date, _days(store, service, key.tenant, days), _history(store, service, key.tenant)),
        lineage={"source": f"{layout.REFINED_15M}/service={service}", "days": str(len(days))},
        facts={
            "source_objects": len(days),
            "missing_days": len(every) - len(days),
            "seconds": time.monotonic() - started,
        },
    )


def _days(store: ObjectStore, service: str, tenant: str, days: list[date]) -> Iterator[RefinedDay]:
    def read(day: date) -> RefinedDay:
        key = layout.day_key(layout.REFINED_15M, service, PartitionKey(day, tenant))
        return read_refined_day(day, store.get(key), store.uri(key))

    for made in each_day(days, read):
        if isinstance(made, DayFailure):
            raise made.error
        yield made


def _history(store: ObjectStore, service: str, tenant: str) -> pa.Table | None:
    try:
        return parquet.decode(store.get(layout.tenant_key(layout.STATION_HISTORY, service, tenant)))
    except NotFoundError:
        return None
