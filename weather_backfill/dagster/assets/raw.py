"""Raw observations: a day of a tenant's upstream, decoded, flagged and written as it came."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

from collections.abc import Iterator
from datetime import date
from functools import partial

import dagster as dg

from weather_backfill.dagster.asset_attributes import lake_asset_attributes
from weather_backfill.dagster.assets.streaming import check_results, check_specs, selected_partitions, skip_finished
from weather_backfill.dagster.io_manager import journal_of
from weather_backfill.dagster.resources import LakeResource, TenantsResource
from weather_backfill.lake import layout
from weather_backfill.model.days import Day, DayFailure, DayStream, RawDay
from weather_backfill.model.expectation import Asked
from weather_backfill.model.limits import Limits
from weather_backfill.model.partitions import PartitionKey, by_tenant
from weather_backfill.model.tags import ACCEPT_LOSS_TAG, FILL_TAG
from weather_backfill.refine.checks import RAW_CHECKS
from weather_backfill.refine.days import to_raw_table
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES_BY_NAME
from weather_backfill.tenants.access import open_connection
from weather_backfill.tenants.filling import filled_days


def build_raw(
    service: str,
    partitions: dg.MultiPartitionsDefinition,
    settings: Settings,
    backfill_policy: dg.BackfillPolicy,
) -> dg.AssetsDefinition:
    """The asset `<service>/raw_observations`; columns as in `schemas.RAW`."""
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
        **lake_asset_attributes(service, layout.RAW_OBSERVATIONS, settings),
    )
    def raw_observations(
        context: dg.AssetExecutionContext, lake: LakeResource, tenants: TenantsResource
    ) -> Iterator[dg.Output[DayStream] | dg.AssetCheckResult]:
        accept_loss = context.run.tags.get(ACCEPT_LOSS_TAG) == "true"
        fills = context.run.tags.get(FILL_TAG) == "true"
        journal = journal_of(context.run, lake.store, key)

        def flagged(tenant: str, limits: Limits, asked: Asked, day: RawDay | DayFailure) -> Day:
            return to_raw_table(PartitionKey(day.date, tenant), day, limits, accept_loss, asked)

        def read(tenant: str, days: list[date]) -> Iterator[Day]:
            connected = tenants.registry.get(tenant)
            connection = connected.switched_on(service)
            judged = partial(flagged, tenant, settings.limits_of(service, connection), connection.asked())
            opened = partial(open_connection, connected, service, lake.store, tenants.s3_defaults, settings)
            if fills:
                yield from map(judged, filled_days(lake.store, service, tenant, connection, days, opened))
                return
            with opened(connection) as source:
                yield from map(judged, source.days(days))  # `map` holds no day while the next is read

        ranges = SERVICES_BY_NAME[service].reads_ranges
        stream = DayStream(skip_finished(by_tenant(selected_partitions(context)), journal, read, ranges=ranges))
        yield dg.Output(stream)
        yield from check_results(key, RAW_CHECKS, stream)

    return raw_observations
