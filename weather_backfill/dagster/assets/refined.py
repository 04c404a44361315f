"""Refined: 15-minute windows of every raw day, made from the raw file alone."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

from collections.abc import Iterator
from functools import partial

import dagster as dg

from weather_backfill.dagster.asset_attributes import lake_asset_attributes
from weather_backfill.dagster.assets.streaming import check_results, check_specs, selected_partitions, skip_finished
from weather_backfill.dagster.io_manager import journal_of
from weather_backfill.dagster.resources import LakeResource
from weather_backfill.lake import layout
from weather_backfill.model.days import DayStream
from weather_backfill.model.partitions import by_tenant
from weather_backfill.refine.checks import REFINED_CHECKS
from weather_backfill.refine.days import refine_days
from weather_backfill.settings import Settings


def build_refined(
    service: str, partitions: dg.MultiPartitionsDefinition, settings: Settings, backfill_policy: dg.BackfillPolicy
) -> dg.AssetsDefinition:
    """The asset `<service>/refined_15m`; columns as in `schemas.REFINED`."""
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
        **lake_asset_attributes(service, layout.REFINED_15M, settings),
    )
    def refined_15m(
        context: dg.AssetExecutionContext, lake: LakeResource
    ) -> Iterator[dg.Output[DayStream] | dg.AssetCheckResult]:
        journal = journal_of(context.run, lake.store, key)

        read = partial(refine_days, lake.store, service)
        stream = DayStream(skip_finished(by_tenant(selected_partitions(context)), journal, read))
        yield dg.Output(stream)
        yield from check_results(key, REFINED_CHECKS, stream)

    return refined_15m
