"""The asset `catalog`: the lake's tables in AWS Glue, for Athena and other engines that read Glue."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

from collections.abc import Sequence

import dagster as dg

from weather_backfill.catalog.client import Catalog
from weather_backfill.catalog.lake_and_archive import raise_for_failures, register_lake
from weather_backfill.dagster.asset_attributes import REQUIRED, asset_attributes
from weather_backfill.dagster.assets.warehouse import datasets_of
from weather_backfill.dagster.resources import LakeResource, TenantsResource
from weather_backfill.model.errors import WeatherError
from weather_backfill.settings import Settings

TABLES_TABLE = dg.TableSchema(
    columns=[
        dg.TableColumn("table", "string", "Table in the Glue database", constraints=REQUIRED),
        dg.TableColumn("state", "string", "What became of the table's definition; null: not compared"),
        dg.TableColumn("created", "int64", "Partitions created by this run", constraints=REQUIRED),
        dg.TableColumn("existing", "int64", "Partitions that were registered before", constraints=REQUIRED),
        dg.TableColumn("moved", "int64", "Partitions whose location was put right", constraints=REQUIRED),
        dg.TableColumn("failed_chunks", "int64", "Groups of partitions that failed", constraints=REQUIRED),
        dg.TableColumn("skipped_folders", "int64", "Folders of the lake that hold no day", constraints=REQUIRED),
        dg.TableColumn("registration", "string", "Id of the registration; null: the table needs no partitions"),
        dg.TableColumn("problem", "string", "Error of the first group that failed; null: none failed"),
    ],
    constraints=dg.TableConstraints(other=["unique by table"]),
)


def build_catalog(services: Sequence[str], settings: Settings) -> dg.AssetsDefinition:
    """The asset `catalog`. Run it again for a new tenant, or without partition projection after every load."""

    @dg.asset(
        deps=datasets_of(services),
        group_name="warehouse",
        kinds={"glue"},
        **asset_attributes("catalog", settings, TABLES_TABLE),
        description="The lake's tables in AWS Glue; does nothing unless WEATHER_CATALOG_DATABASE names a database.",
    )
    def catalog(
        context: dg.AssetExecutionContext, lake: LakeResource, tenants: TenantsResource
    ) -> dg.MaterializeResult:
        if not settings.catalog_database:
            context.log.info("No catalog: WEATHER_CATALOG_DATABASE is not set. Nothing was registered.")
            return dg.MaterializeResult(metadata={"registered": "nothing: WEATHER_CATALOG_DATABASE is not set"})
        glue = Catalog(settings)
        try:
            tables = register_lake(glue, settings, lake.store, services, tenants.registry.ids())
            raise_for_failures(tables)
        except WeatherError as error:
            raise dg.Failure(str(error), allow_retries=error.retryable) from error
        return dg.MaterializeResult(
            metadata={
                "database": settings.catalog_database,
                "tables": {registered.table: registered.row() for registered in tables},
                "dagster/row_count": len(tables),
                "calls": dict(glue.calls),
            }
        )

    return catalog
