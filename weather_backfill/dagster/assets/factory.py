"""The assets of a service: `<service>/raw_observations`, `refined_15m` and those that depend on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from weather_backfill.dagster.asset_attributes import lake_asset_attributes
from weather_backfill.dagster.assets.coverage import build_coverage
from weather_backfill.dagster.assets.features import build_features
from weather_backfill.dagster.assets.raw import build_raw
from weather_backfill.dagster.assets.refined import build_refined
from weather_backfill.dagster.assets.station_history import build_station_history
from weather_backfill.dagster.partitions import daily_by_tenant
from weather_backfill.lake import layout
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import service_named

PolicyOf = Callable[[int], dg.BackfillPolicy]


def build_service_assets(
    service: str, settings: Settings, policy: PolicyOf
) -> Sequence[dg.AssetsDefinition | dg.AssetSpec]:
    """All assets of one service.

    Raw, refined and features get different backfill policies on purpose: Dagster then runs them separately, and refined
    follows for every good raw day even when another day of the chunk has failed.
    """
    partitions = daily_by_tenant(service, settings.first_day_of(service))
    days = settings.chunk_days_of(service)
    rejected = dg.AssetSpec(
        [service, layout.REJECTED_OBSERVATIONS],
        deps=[dg.AssetKey([service, layout.RAW_OBSERVATIONS])],
        partitions_def=partitions,
        group_name=service,
        kinds={"parquet"},
        description="Rows that were read and could not be kept, with the reason; written together with the raw day.",
        **lake_asset_attributes(service, layout.REJECTED_OBSERVATIONS, settings),
    )
    has_history = service_named(service).has_station_history
    return [
        build_raw(service, partitions, settings, policy(days)),
        rejected,
        build_refined(service, partitions, settings, policy(days + 1)),
        build_coverage(service, settings),
        build_features(service, settings, policy(days + 2), has_history),
        *([build_station_history(service, settings)] if has_history else []),
    ]
