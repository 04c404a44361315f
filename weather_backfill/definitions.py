"""`build_definitions` puts together all assets, checks, jobs, sensors, schedules and resources for Dagster.

Webserver, daemon and code server load `defs`: runs of a backfill take `chunk_days` partitions each.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource
from dagster_duckdb import DuckDBResource

from weather_backfill.dagster.assets.catalog import build_catalog
from weather_backfill.dagster.assets.factory import PolicyOf, build_service_assets
from weather_backfill.dagster.assets.warehouse import build_warehouse
from weather_backfill.dagster.backfill_form import build_managed_backfill
from weather_backfill.dagster.checks.alignment import build_alignment_check
from weather_backfill.dagster.checks.freshness import build_freshness_check
from weather_backfill.dagster.io_manager import ParquetIOManager
from weather_backfill.dagster.lost_starts import build_lost_starts
from weather_backfill.dagster.resources import LakeResource, TenantsResource
from weather_backfill.dagster.restatement_sensor import build_restatement_job, build_restatement_sensor
from weather_backfill.dagster.schedules import build_housekeeping
from weather_backfill.dagster.sensors import build_sensors
from weather_backfill.settings import Settings, load_settings
from weather_backfill.sources.registry import REGISTERED, SERVICES
from weather_backfill.sources.service import absolute


def chunked(days: int) -> dg.BackfillPolicy:
    """A policy of runs of at most so many days."""
    return dg.BackfillPolicy.multi_run(max_partitions_per_run=days)


def build_resources(settings: Settings) -> dict[str, Any]:
    """The resources by name, configured from the settings."""
    s3 = S3Resource(
        endpoint_url=settings.s3_endpoint_url, region_name=settings.s3_region, profile_name=settings.s3_profile
    )
    lake = LakeResource(storage_url=absolute(settings.storage_url), s3_checksums=settings.s3_checksums, s3=s3)
    return {
        "s3": s3,
        "lake": lake,
        "tenants": TenantsResource(tenants_url=absolute(settings.tenants_url), s3=s3),
        "lake_parquet": ParquetIOManager(lake=lake),
        "warehouse": DuckDBResource(database=settings.warehouse_path()),
    }


def with_scaffolded(platform: dg.Definitions) -> dg.Definitions:
    """The platform's definitions and, where there are any, those that `dg scaffold defs` has put into `defs/`."""
    folder = Path(__file__).parent / "defs"
    if {path.name for path in folder.iterdir()} <= {"__init__.py", "__pycache__"}:
        return platform  # the usual case costs nothing
    # Not `load_from_defs_folder`: it reads the next pyproject.toml above, and an installed package has none.
    tree = dg.ComponentTree.from_module(import_module("weather_backfill.defs"), folder.parent.parent)
    return dg.Definitions.merge(platform, tree.build_defs())


RESTATING = [service for service in REGISTERED if service.restates]


def build_definitions(
    settings: Settings | None = None,
    *,
    backfill_policy: PolicyOf = chunked,
    resource_overrides: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """All definitions over the given settings (default: the environment's).

    `backfill_policy` maps a number of days to a policy; `resource_overrides` replaces resources by name.
    """
    settings = settings or load_settings()
    assets = [asset for service in SERVICES for asset in build_service_assets(service, settings, backfill_policy)]
    definitions: list[dg.Definitions] = []
    definitions.append(
        dg.Definitions(
            assets=[*assets, build_warehouse(SERVICES, settings), build_catalog(SERVICES, settings)],
            asset_checks=[
                *(build_freshness_check(service, settings) for service in SERVICES),
                *(build_alignment_check(service) for service in SERVICES),
            ],
            resources={**build_resources(settings), **(resource_overrides or {})},
            jobs=[
                build_managed_backfill(settings, lambda: definitions[0]),
                *(build_restatement_job(service, settings, lambda: definitions[0]) for service in RESTATING),
            ],
            sensors=[
                *build_sensors(settings, lambda: definitions[0]),
                *map(build_restatement_sensor, RESTATING),
                build_lost_starts(),
            ],
            schedules=[build_housekeeping(settings)],
            # A step subprocess costs two seconds, and a run here is one or two steps.
            executor=dg.in_process_executor,
        )
    )
    return definitions[0]


defs = with_scaffolded(build_definitions())
