"""The catalog: the lake's tables in AWS Glue, for Athena and whatever else reads Glue."""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

from collections.abc import Sequence

import dagster as dg

from weather_backfill.catalog.client import Catalog
from weather_backfill.catalog.lake_and_archive import raise_for_failures, register_lake
from weather_backfill.dagster.assets.warehouse import datasets_of
from weather_backfill.dagster.resources import LakeResource, TenantsResource
from weather_backfill.model.errors import WeatherError
from weather_backfill.settings import Settings


def build_catalog(services: Sequence[str], settings: Settings) -> dg.AssetsDefinition:
    """The asset `catalog`. With partition projection, run it again for a new tenant; else after every load."""

    @dg.asset(
        deps=datasets_of(services),
        group_name="warehouse",
        kinds={"glue"},
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
            found = register_lake(glue, settings, lake.store, services, tenants.registry.ids())
            raise_for_failures(found)
        except WeatherError as error:
            raise dg.Failure(str(error), allow_retries=error.retryable) from error
        return dg.MaterializeResult(
            metadata={
                "database": settings.catalog_database,
                "tables": {one.table: one.row() for one in found},
                "calls": dict(glue.calls),
            }
        )

    return catalog
