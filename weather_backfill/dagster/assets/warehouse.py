"""The asset `warehouse`: `warehouse.duckdb`, a file with views over the lake's Parquet and no data of its own."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

from weather_backfill.dagster.asset_attributes import REQUIRED, asset_attributes, uri_of
from weather_backfill.dagster.resources import LakeResource
from weather_backfill.lake import layout
from weather_backfill.lake.warehouse import VIEWS, create_views
from weather_backfill.settings import Settings
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


VIEWS_TABLE = dg.TableSchema(
    columns=[
        dg.TableColumn("view", "string", "View in warehouse.duckdb", constraints=REQUIRED),
        dg.TableColumn("columns", "list<string>", "Columns of the view, in order", constraints=REQUIRED),
    ],
    constraints=dg.TableConstraints(other=["one row a view: the file holds no data of its own"]),
)


def build_warehouse(services: Sequence[str], settings: Settings) -> dg.AssetsDefinition:
    """The asset `warehouse`. Views see new days at once; rebuild it after the first day of a dataset or service."""

    @dg.asset(
        deps=datasets_of(services),
        group_name="warehouse",
        kinds={"duckdb"},
        **asset_attributes("warehouse", settings, VIEWS_TABLE, uri=uri_of(settings.warehouse_path())),
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
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(target)),
                "views": columns,
                "dagster/row_count": len(columns),
                "dagster/uri": uri_of(str(target)),
            }
        )

    return warehouse
