"""`weather-backfill`: simulate, tenants, coverage, requests, breakers, demo, dev."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from weather_backfill import __version__
from weather_backfill.errors import WeatherError
from weather_backfill.simulate.aceiot import aceiot_command

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, help=__doc__)
simulate = typer.Typer(no_args_is_help=True, help="Write what a service would have sent, with its faults.")
tenants = typer.Typer(no_args_is_help=True, help="Tenants and their connections.")
app.add_typer(simulate, name="simulate")
app.add_typer(tenants, name="tenants")
simulate.command("aceiot")(aceiot_command)

out = Console()
err = Console(stderr=True)
SHARES = {"complete", "progress"}
F = TypeVar("F", bound=Callable[..., Any])

Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="UTC day, YYYY-MM-DD")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")]


def friendly(command: F) -> F:
    """Print our own errors as one line on stderr and exit with 2, without a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except WeatherError as error:
            err.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from error

    return run  # type: ignore[return-value]


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; the yielded function advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(label, total=total)
        yield lambda steps: progress.advance(task, steps)


def print_rows(rows: list[dict[str, Any]], title: str, as_json: bool) -> None:
    """Rows as a table for people, or as JSON for programs."""
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str, indent=2) + "\n")
        return
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ["nothing to show"]:
        numeric = all(isinstance(row.get(name), (int, float)) for row in rows)
        table.add_column(
            name.replace("_", " "), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric
        )
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    out.print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.1%}" if name in SHARES else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value if value is not None else "")


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    """Backfill weather observations into clean 15-minute Parquet."""
    if version:
        out.print(__version__)


@simulate.command("tempest")
@friendly
def simulate_tempest(
    to: Annotated[str, typer.Option(help="Where to write: a folder or s3://bucket/prefix")],
    start: Day,
    end: Day,
    stations: Annotated[int, typer.Option(min=1, max=1000)] = 3,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes")] = 1,
    minutes_per_object: Annotated[int, typer.Option(min=1, max=60)] = 5,
    corrupt_day: Annotated[int | None, typer.Option(help="Day (from 0) that gets an object cut in half")] = None,
    silent_station: Annotated[int | None, typer.Option(help="Station (from 0) that is silent")] = None,
    silent_day: Annotated[int | None, typer.Option(help="... on this day (from 0)")] = None,
) -> None:
    """Write a Tempest archive: weather, jitter, gaps, nulls, duplicates, damage.

    Example: weather-backfill simulate tempest --to archive/acme --start 2024-01-01 --end 2024-01-10
    """
    from weather_backfill.lake.storage import ObjectStore
    from weather_backfill.partitions import days_between
    from weather_backfill.settings import load_settings
    from weather_backfill.simulate.tempest import Archive, Faults, write_archive

    faults = Faults(corrupt_day=corrupt_day, silent_station=silent_station, silent_day=silent_day)
    archive = Archive("simulated", start.date(), end.date(), stations, seed, minutes_per_object, faults)
    with progress_bar("days", len(days_between(archive.start, archive.end))) as advance:
        written = write_archive(archive, ObjectStore(to, load_settings().s3), lambda _: advance(1))
    out.print(f"{written:,} objects of stations {', '.join(archive.station_ids)} in {to}")


@tenants.command("add")
@friendly
def tenants_add(
    tenant: Annotated[str, typer.Argument(help="Id: a-z, 0-9, '-' and '_'")],
    tempest: Annotated[str, typer.Option(help="Tempest archive: a folder or s3://bucket/prefix")],
    endpoint_url: Annotated[str | None, typer.Option(help="S3 server of the archive, if not AWS")] = None,
) -> None:
    """Write a tenant's file and register it with Dagster.

    Example: weather-backfill tenants add acme --tempest s3://acme-weather/tempest
    """
    import dagster as dg

    from weather_backfill.backfill.launch import register_tenant
    from weather_backfill.partitions import validate_tenant_id
    from weather_backfill.settings import load_settings
    from weather_backfill.sources.tempest_connection import TempestConnection
    from weather_backfill.tenants import Services, Tenant, TenantRegistry

    connection = TempestConnection(archive_url=tempest, endpoint_url=endpoint_url)
    model = Tenant(id=validate_tenant_id(tenant), services=Services(tempest=connection))
    where = TenantRegistry(load_settings().tenant_files()).put(model)
    new = register_tenant(dg.DagsterInstance.get(), "tempest", tenant)
    out.print(f"{where} written; tempest: {'registered' if new else 'was registered already'}")


@tenants.command("register")
@friendly
def tenants_register(tenant: Annotated[str, typer.Argument(help="The id of a tenant that has a file")]) -> None:
    """Check a tenant's file and register the tenant with Dagster for every service that the file connects."""
    import dagster as dg

    from weather_backfill.backfill.launch import register_tenant
    from weather_backfill.settings import load_settings
    from weather_backfill.tenants import TenantRegistry

    model = TenantRegistry(load_settings().tenant_files()).get(tenant)
    instance = dg.DagsterInstance.get()
    for service in model.services.model_dump(exclude_none=True):
        new = register_tenant(instance, service, tenant)
        out.print(f"{service}: {'registered' if new else 'was registered already'}")


@tenants.command("list")
@friendly
def tenants_list(as_json: Json = False) -> None:
    """List the tenants and what they connect."""
    from weather_backfill.settings import load_settings
    from weather_backfill.tenants import TenantRegistry

    registry = TenantRegistry(load_settings().tenant_files())
    rows = []
    for name in registry.ids():
        try:
            services = registry.get(name).services.model_dump(exclude_none=True)
            rows.append({"tenant": name, "services": ", ".join(services), "problem": None})
        except WeatherError as error:
            rows.append({"tenant": name, "services": None, "problem": str(error)})
    print_rows(rows, "Tenants", as_json)


@app.command()
@friendly
def coverage(
    service: Annotated[str, typer.Option()],
    start: Day,
    end: Day,
    tenant: Annotated[list[str] | None, typer.Option(help="Tenants to show; default all")] = None,
    picture: Annotated[Path, typer.Option(help="Where to draw the calendar (PNG, SVG, PDF)")] = Path("coverage.png"),
    as_json: Json = False,
) -> None:
    """Show what the lake holds, and draw the calendar.

    Example: weather-backfill coverage --service tempest --start 2024-01-01 --end 2024-01-31
    """
    import dagster as dg

    from weather_backfill.backfill.summary import summarize_tenants
    from weather_backfill.settings import load_settings

    instance = dg.DagsterInstance.get()
    settings = load_settings()
    rows, drawn = summarize_tenants(instance, settings, service, tenant, start.date(), end.date(), picture)
    print_rows(rows, f"{service}, {start:%Y-%m-%d} to {end:%Y-%m-%d}", as_json)
    if not as_json:
        out.print(f"Calendar: {drawn}")


@app.command()
@friendly
def requests(
    tenant: Annotated[str, typer.Option()],
    service: Annotated[str, typer.Option()] = "aceiot",
    days: Annotated[int, typer.Option(min=1, max=36_500)] = 365,
    as_json: Json = False,
) -> None:
    """Show what a range costs in requests and in waiting at the rate limit, by page size.

    Example: weather-backfill requests --service aceiot --tenant acme --days 365
    """
    from weather_backfill.settings import load_settings
    from weather_backfill.sources.status import plan_requests, plan_rows

    plan = plan_requests(load_settings(), service, tenant, days)
    print_rows(plan_rows(plan), f"{service} of {tenant}, {days} days", as_json)
    if not as_json:
        out.print(str(plan), highlight=False)


@app.command()
@friendly
def breakers(as_json: Json = False) -> None:
    """Show which services are not asked for now, because they kept failing, and until when."""
    from weather_backfill.settings import load_settings
    from weather_backfill.sources.status import breaker_rows

    print_rows(breaker_rows(load_settings()), "Breakers", as_json)


@app.command()
@friendly
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo lives")] = Path(".demo"),
    days: Annotated[int, typer.Option(min=3, max=365)] = 10,
) -> None:
    """Simulate two tenants, backfill them natively with a real daemon, show the result."""
    from weather_backfill.demo import run_demo

    run_demo(folder.absolute(), days)


@app.command()
@friendly
def dev(
    folder: Annotated[Path, typer.Option(help="The demo's folder")] = Path(".demo"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    host: str = "127.0.0.1",
) -> None:
    """Webserver and daemon on the demo data; prints the URL. Stop with Ctrl-C."""
    from weather_backfill.demo import run_dev

    raise typer.Exit(run_dev(folder.absolute(), host, port))


def today() -> date:
    """The UTC day that is running."""
    from weather_backfill.partitions import UTC

    return datetime.now(UTC).date()


if __name__ == "__main__":
    app()
