"""Registers the lake's tables and a Tempest archive's hours in the catalog, for the asset and for the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from weather_backfill.catalog.chunked_registration import ChunkResult, ChunkState, RegistrationPlan, register
from weather_backfill.catalog.client import Catalog
from weather_backfill.catalog.holdings import Holdings, archive_hours, lake_days
from weather_backfill.catalog.tables import (
    Projection,
    Table,
    archive_table,
    ensure_database,
    ensure_table,
    lake_tables,
    valid_name,
)
from weather_backfill.lake import layout, listing
from weather_backfill.model.errors import CatalogError, ConfigurationError
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.access import check_connection
from weather_backfill.tenants.files import Tenant


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered table (`state` None: not checked), and the results of its partitions' chunks, if it has any."""

    table: str
    state: str | None
    plan: RegistrationPlan | None = None
    chunks: Sequence[ChunkResult] = ()

    def row(self) -> dict[str, Any]:
        """One row for the screen and the asset's metadata: the table's state, partition counts, the first problem."""
        failed = [chunk for chunk in self.chunks if chunk.state == ChunkState.FAILED]
        return {
            "table": self.table,
            "state": self.state,
            "created": sum(chunk.created for chunk in self.chunks),
            "existing": sum(chunk.existing for chunk in self.chunks),
            "moved": sum(chunk.moved for chunk in self.chunks),
            "failed_chunks": len(failed),
            "skipped_folders": len(self.plan.strangers) if self.plan else 0,
            "registration": self.plan.id if self.plan else None,
            "problem": failed[0].error if failed else None,
        }


def database_of(settings: Settings) -> str:
    """The Glue database of the settings; raises `ConfigurationError` if none is set."""
    if not settings.catalog_database:
        raise ConfigurationError("no catalog is set up: set WEATHER_CATALOG_DATABASE to the name of a Glue database.")
    return settings.catalog_database


def tables_of(settings: Settings, lake: ObjectStore, services: Sequence[str], tenants: Sequence[str]) -> list[Table]:
    """The lake's tables by the settings; tenants that have data but no file are added to `tenants`."""
    if not settings.catalog_projection:
        return lake_tables(lake, None)
    all_tenants = set(tenants)
    for service in services:
        all_tenants.update(listing.tenants(lake, layout.RAW_OBSERVATIONS, service))
    first = min(settings.first_day_of(service) for service in services)
    listed = sorted(all_tenants) if settings.catalog_tenants == "enum" else []
    return lake_tables(lake, Projection(services, listed, first))


def lake_plans(database: str, lake: ObjectStore, tables: Sequence[Table]) -> list[RegistrationPlan]:
    """Plan the partitions of tables without projection; tables without data have no plan."""
    plans = []
    for table in tables:
        if "projection.enabled" not in table.parameters:
            plans.append(_plan(database, table, lake_days(lake, table.name, table.keys)))
    return [plan for plan in plans if plan.values]


def register_lake(
    catalog: Catalog,
    settings: Settings,
    lake: ObjectStore,
    services: Sequence[str],
    tenants: Sequence[str],
    progress: Callable[[int], None] = lambda _: None,
) -> list[Registered]:
    """Create or correct the lake's tables, and register partitions where there is no projection."""
    database = database_of(settings)
    tables = tables_of(settings, lake, services, tenants)
    ensure_database(catalog, database)
    states = {table.name: ensure_table(catalog, database, table) for table in tables}
    plans = {plan.table.name: plan for plan in lake_plans(database, lake, tables)}
    registered = []
    for name, state in states.items():
        if plan := plans.get(name):
            registered.append(Registered(name, state, plan, register(catalog, lake, plan, progress)))
        else:
            registered.append(Registered(name, state))
    return registered


def archive_plan(
    settings: Settings, tenant: Tenant, name: str | None, start: date | None, end: date | None
) -> RegistrationPlan:
    """Plan the hours (UTC) of a tenant's Tempest archive, from `start` to `end` (both included; None: all)."""
    database = valid_name(database_of(settings), "database")
    connection = tenant.connection("tempest")
    check_connection(tenant, "tempest", open_lake(settings), settings)
    archive = connection.archive(settings.s3)
    table = archive_table(name or f"tempest_messages_{tenant.id.replace('-', '_')}", archive)
    return _plan(database, table, archive_hours(archive, start, end))


def register_archive(
    catalog: Catalog, lake: ObjectStore, plan: RegistrationPlan, progress: Callable[[int], None] = lambda _: None
) -> Registered:
    """Create the archive's table if it is missing, and register its hours.

    Raises `ConfigurationError` for a table of that name at another location.
    """
    ensure_database(catalog, plan.database)
    state = ensure_table(catalog, plan.database, plan.table, may_move=False)
    return Registered(plan.table.name, state, plan, register(catalog, lake, plan, progress))


def raise_for_failures(tables: Sequence[Registered]) -> None:
    """Raise `CatalogError` naming the registrations with failed chunks and how to run them again."""
    failed = [row for table in tables if (row := table.row())["failed_chunks"]]
    if failed:
        commands = "; ".join(f"weather-backfill catalog retry {row['registration']}" for row in failed)
        raise CatalogError(f"partitions of {len(failed)} tables failed: {failed[0]['problem']} Then run: {commands}")


def _plan(database: str, table: Table, holdings: Holdings) -> RegistrationPlan:
    return RegistrationPlan(database, table, tuple(holdings.values), tuple(holdings.strangers))
