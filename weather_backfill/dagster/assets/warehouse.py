"""The warehouse: `warehouse.duckdb`, a file of views over the lake's Parquet, and never of data."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

from weather_backfill.dagster.resources import LakeResource
from weather_backfill.lake import layout
from weather_backfill.lake.warehouse import VIEWS, create_views
from weather_backfill.sources.registry import service_named

UPSTREAM = (layout.RAW_OBSERVATIONS, layout.REJECTED_OBSERVATIONS, layout.REFINED_15M, layout.QUARTERLY_FEATURES)


def datasets_of(services: Sequence[str]) -> list[dg.AssetKey]:
    """All assets of the services that have tables in the lake."""
    keys = [dg.AssetKey([service, dataset]) for service in services for dataset in UPSTREAM]
    return keys + [
        dg.AssetKey([service, layout.STATION_HISTORY])
        for service in services
        if service_named(service).has_station_history
    ]


def build_warehouse(services: Sequence[str]) -> dg.AssetsDefinition:
    """The asset `warehouse`. Views see new days at once; rebuild when a dataset or service gets its first."""

    @dg.asset(
        deps=datasets_of(services),
        group_name="warehouse",
        kinds={"duckdb"},
        description=f"DuckDB views over the lake: {', '.join(VIEWS)}.",
    )
    def warehouse(warehouse: DuckDBResource, lake: LakeResource) -> dg.MaterializeResult:
        target = Path(warehouse.database)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Built beside it and moved into place: a reader that has the old file open neither blocks nor breaks.
        staged = target.with_name(f"{target.name}.{os.getpid()}.new")
        staged.unlink(missing_ok=True)
        try:
            with warehouse.model_copy(update={"database": str(staged)}).get_connection() as connection:
                columns = create_views(connection, lake.store)
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
        return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(str(target)), "views": columns})

    return warehouse
