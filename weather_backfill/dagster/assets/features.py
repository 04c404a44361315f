"""Quarterly features: one row a station and quarter, from the refined days."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

from collections.abc import Iterator
from datetime import date

import dagster as dg

from weather_backfill.dagster.asset_attributes import lake_asset_attributes
from weather_backfill.dagster.assets.streaming import selected_partitions, skip_finished
from weather_backfill.dagster.io_manager import journal_of
from weather_backfill.dagster.partitions import quarterly_by_tenant
from weather_backfill.dagster.resources import LakeResource
from weather_backfill.lake import layout
from weather_backfill.model.days import Day, DayFailure, DayStream
from weather_backfill.model.partitions import PartitionKey, by_tenant
from weather_backfill.refine.quarters import make_quarter
from weather_backfill.settings import Settings
from weather_backfill.util.day_stream import each_day

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
    """The asset `<service>/quarterly_features`; columns as in `schemas.FEATURES`."""
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
        **lake_asset_attributes(service, layout.QUARTERLY_FEATURES, settings),
    )
    def quarterly_features(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.Output[DayStream]:
        journal = journal_of(context.run, lake.store, key)

        def read(tenant: str, quarters: list[date]) -> Iterator[Day]:
            results = each_day(quarters, lambda start: make_quarter(lake.store, service, PartitionKey(start, tenant)))
            for day in results:
                yield day.of(tenant) if isinstance(day, DayFailure) else day

        return dg.Output(DayStream(skip_finished(by_tenant(selected_partitions(context)), journal, read)))

    return quarterly_features
