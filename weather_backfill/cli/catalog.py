"""`weather-backfill catalog ...`: the lake's tables and archives in AWS Glue and Athena."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from weather_backfill.cli.output import Json, err, friendly, out, print_rows, progress_bar
from weather_backfill.model.errors import ConfigurationError

if TYPE_CHECKING:
    from weather_backfill.catalog.chunked_registration import RegistrationPlan
    from weather_backfill.catalog.client import Catalog
    from weather_backfill.catalog.lake_and_archive import Registered
    from weather_backfill.catalog.tables import Table
    from weather_backfill.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The lake and archives as tables of AWS Glue and Athena.")
Archive = Annotated[
    str | None, typer.Option("--archive-of", help="A tenant: its Tempest archive in its original layout, not the lake")
]
TableName = Annotated[
    str | None, typer.Option("--table", help="Table for the archive; default tempest_messages_<tenant>")
]
MaybeDay = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC day, YYYY-MM-DD; for an archive")]


@app.command("plan")
@friendly
def plan_command(
    archive_of: Archive = None, table: TableName = None, start: MaybeDay = None, end: MaybeDay = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show the tables, and the partitions that would be registered; asks nothing of AWS but listings of S3.

    Example: weather-backfill catalog plan --archive-of acme --start 2024-01-01 --end 2024-12-31
    """
    settings = _settings()
    plans = _plans(settings, archive_of, table, start, end)
    rows = [plan.summary() for plan in plans]
    if not archive_of:
        planned = {plan.table.name for plan in plans}
        rows += [_projected(settings, one) for one in _tables(settings) if one.name not in planned]
    _warn(plans)
    print_rows(rows, f"Catalog {settings.catalog_database}", as_json)


@app.command("register")
@friendly
def register_command(
    archive_of: Archive = None, table: TableName = None, start: MaybeDay = None, end: MaybeDay = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Create or correct the tables and register partitions; again, it changes nothing. Exits with 1 if any failed.

    Example: weather-backfill catalog register

    Example: weather-backfill catalog register --archive-of acme
    """
    from weather_backfill.catalog.client import Catalog
    from weather_backfill.catalog.lake_and_archive import register_archive, register_lake
    from weather_backfill.sources.registry import SERVICES
    from weather_backfill.storage.places import open_lake, open_tenant_files
    from weather_backfill.tenants.files import TenantRegistry

    settings = _settings()
    catalog = Catalog(settings)
    plans = _plans(settings, archive_of, table, start, end)
    _warn(plans)
    with progress_bar("partitions", sum(len(plan.values) for plan in plans)) as advance:
        if archive_of:
            found = [register_archive(catalog, open_lake(settings), plan, advance) for plan in plans]
        else:
            tenants = TenantRegistry(open_tenant_files(settings)).ids()
            found = register_lake(catalog, settings, open_lake(settings), SERVICES, tenants, advance)
    _report(catalog, found, as_json)


@app.command("retry")
@friendly
def retry_command(
    registration: Annotated[str, typer.Argument(help="Id, as `catalog register` prints it")], as_json: Json = False
) -> None:
    """Register what failed, or was not reached, of a registration; exits with 1 if any failed again.

    Example: weather-backfill catalog retry tempest_messages_acme-0123456789ab
    """
    from weather_backfill.catalog.chunked_registration import ChunkState, load, retry
    from weather_backfill.catalog.client import Catalog
    from weather_backfill.catalog.lake_and_archive import Registered
    from weather_backfill.storage.places import open_lake

    settings = _settings()
    catalog, lake = Catalog(settings), open_lake(settings)
    plan, before = load(lake, registration)
    with progress_bar(
        "partitions", sum(chunk.partitions for chunk in before if chunk.state != ChunkState.DONE)
    ) as advance:
        chunks = retry(catalog, lake, registration, advance)
    _report(catalog, [Registered(plan.table.name, None, plan, chunks)], as_json)


@app.command("ddl")
@friendly
def ddl_command(
    archive_of: Archive = None, table: TableName = None, start: MaybeDay = None, end: MaybeDay = None,
    run: Annotated[bool, typer.Option("--run", help="Run the statements through Athena")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Print Athena's ALTER TABLE ... ADD IF NOT EXISTS PARTITION statements, or run them; the tables must exist.

    Example: weather-backfill catalog ddl --archive-of acme --run
    """
    from weather_backfill.catalog.client import Catalog
    from weather_backfill.catalog.ddl import run_statements, statements

    settings = _settings()
    plans = _plans(settings, archive_of, table, start, end)
    _warn(plans)
    found = [text for plan in plans for text in statements(plan.database, plan.table, plan.values)]
    if not plans:
        err.print("[yellow]nothing to add:[/yellow] the tables have partition projection, or nothing is there yet.")
    if run:
        with progress_bar("statements", len(found)) as advance:
            run_statements(Catalog(settings), found, advance)
    if as_json:
        print_rows([{"statement": text} for text in found], "Statements", as_json)
    elif not run:
        sys.stdout.write("".join(f"{text};\n" for text in found))


def _settings() -> Settings:
    from weather_backfill.catalog.lake_and_archive import database_of
    from weather_backfill.settings import load_settings

    settings = load_settings()
    database_of(settings)
    return settings


def _projected(settings: Settings, table: Table) -> dict[str, object]:
    """The row of a table that needs no partitions: as RegistrationPlan.summary, with nothing to register."""
    from weather_backfill.catalog.chunked_registration import RegistrationPlan
    from weather_backfill.catalog.lake_and_archive import database_of

    return RegistrationPlan(database_of(settings), table, ()).summary()


def _tables(settings: Settings) -> list[Table]:
    from weather_backfill.catalog.lake_and_archive import tables_of
    from weather_backfill.sources.registry import SERVICES
    from weather_backfill.storage.places import open_lake, open_tenant_files
    from weather_backfill.tenants.files import TenantRegistry

    return tables_of(settings, open_lake(settings), SERVICES, TenantRegistry(open_tenant_files(settings)).ids())


def _plans(
    settings: Settings, archive_of: str | None, table: str | None, start: datetime | None, end: datetime | None
) -> list[RegistrationPlan]:
    from weather_backfill.catalog.lake_and_archive import archive_plan, database_of, lake_plans
    from weather_backfill.storage.places import open_lake, open_tenant_files
    from weather_backfill.tenants.files import TenantRegistry

    if archive_of:
        tenant = TenantRegistry(open_tenant_files(settings)).get(archive_of)
        days = (start.date() if start else None, end.date() if end else None)
        return [archive_plan(settings, tenant, table, *days)]
    if table or start or end:
        raise ConfigurationError("--table, --start and --end go with --archive-of: the lake is registered whole.")
    return lake_plans(database_of(settings), open_lake(settings), _tables(settings))


def _warn(plans: Sequence[RegistrationPlan]) -> None:
    for plan in plans:
        for folder in plan.strangers:
            err.print(f"[yellow]skipped:[/yellow] {plan.table.location}/{folder} is no partition", soft_wrap=True)


def _report(catalog: Catalog, found: Sequence[Registered], as_json: bool) -> None:
    rows = [one.row() for one in found]
    print_rows(rows, "Catalog", as_json)
    if not as_json:
        calls = ", ".join(f"{name} {count}" for name, count in sorted(catalog.calls.items()))
        out.print(f"Calls: {calls}; throttled: {catalog.throttled}", highlight=False)
    if any(row["failed_chunks"] for row in rows):
        raise typer.Exit(1)
