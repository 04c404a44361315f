"""`weather-backfill`: tenants, backfills from plan to retry, coverage, simulators, demo."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from weather_backfill import __version__
from weather_backfill.cli import backfill, catalog, history, monitoring
from weather_backfill.cli.output import (
    Day,
    Json,
    check_range,
    desk,
    err,
    friendly,
    open_instance,
    out,
    print_rows,
    progress_bar,
)
from weather_backfill.model.errors import ConfigurationError, NotFoundError, WeatherError
from weather_backfill.sources.aceiot.simulate import aceiot_command

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, help=__doc__)
simulate = typer.Typer(no_args_is_help=True, help="Write what a service would have sent, with its faults.")
tenants = typer.Typer(no_args_is_help=True, help="Tenants and their connections.")
app.add_typer(simulate, name="simulate")
app.add_typer(tenants, name="tenants")
app.add_typer(catalog.app, name="catalog")
app.add_typer(monitoring.alerts, name="alerts")
for command in (*backfill.COMMANDS, *history.COMMANDS):
    app.command()(command)
app.command()(monitoring.metrics)
simulate.command("aceiot")(aceiot_command)


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
    stations: Annotated[int, typer.Option(min=1, max=1000, help="Stations, each a message a minute")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes")] = 1,
    minutes_per_object: Annotated[int, typer.Option(min=1, max=60, help="Minutes of messages in an object")] = 5,
    corrupt_day: Annotated[int | None, typer.Option(help="Day (from 0) that gets an object cut in half")] = None,
    silent_station: Annotated[int | None, typer.Option(help="Station (from 0) that is silent")] = None,
    silent_day: Annotated[int | None, typer.Option(help="... on this day (from 0)")] = None,
) -> None:
    """Write a Tempest archive: weather, jitter, gaps, nulls, duplicates, damage.

    Example: weather-backfill simulate tempest --to archive/acme --start 2024-01-01 --end 2024-01-10
    """
    from weather_backfill.model.partitions import days_between
    from weather_backfill.settings import load_settings
    from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
    from weather_backfill.storage.object_store import ObjectStore

    check_range(start, end)
    faults = Faults(corrupt_day=corrupt_day, silent_station=silent_station, silent_day=silent_day)
    archive = SimulatedArchive("simulated", start.date(), end.date(), stations, seed, minutes_per_object, faults)
    store = ObjectStore(to, load_settings().s3)
    with progress_bar("days", len(days_between(archive.start, archive.end))) as advance:
        written = write_archive(archive, store, lambda _: advance(1))
    out.print(f"{written:,} objects of stations {', '.join(archive.station_ids)} in {to}")


@tenants.command("add")
@friendly
def tenants_add(
    tenant: Annotated[str, typer.Argument(help="Id: a-z, 0-9, '-' and '_'")],
    tempest: Annotated[str | None, typer.Option(help="Tempest archive: a folder or s3://bucket/prefix")] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="S3 server of the archive, if not AWS")] = None,
    dwd_stations: Annotated[str | None, typer.Option(help="DWD station ids (00433,01048), or all")] = None,
    dwd_resolution: Annotated[str, typer.Option(help="hourly, 10_minutes, ...")] = "hourly",
    dwd_products: Annotated[str, typer.Option(help="air_temperature,wind,...")] = "air_temperature",
    dwd_base_url: Annotated[str | None, typer.Option(help="Mirror of the folder above `hourly`: URL or folder")] = None,
) -> None:
    """Write a tenant's file, or the named services in it, and register it with Dagster.

    Example: weather-backfill tenants add acme --tempest s3://acme-weather/tempest

    Example: weather-backfill tenants add berlin --dwd-stations 00433 --dwd-products air_temperature,wind
    """
    from weather_backfill.backfill.launch import register_tenant
    from weather_backfill.settings import absolute, load_settings
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.access import check_places
    from weather_backfill.tenants.files import TenantRegistry

    settings = load_settings()
    services: dict[str, dict[str, Any]] = {}
    if tempest:
        services["tempest"] = {"archive_url": absolute(tempest)} | (
            {"endpoint_url": endpoint_url} if endpoint_url else {}
        )
    if dwd_stations:
        ids = dwd_stations if dwd_stations == "all" else split(dwd_stations)
        services["dwd"] = {"resolution": dwd_resolution, "products": split(dwd_products), "stations": ids}
        if dwd_base_url:
            place = absolute(dwd_base_url)
            services["dwd"]["base_url"] = place if "://" in place else Path(place).as_uri()
    with open_instance() as instance:
        registry = TenantRegistry(open_tenant_files(settings))
        where = registry.connect(tenant, services, lambda made: check_places(made, settings))
        out.print(f"{where} written")
        for service in services:
            new = register_tenant(instance, service, tenant)
            out.print(f"{service}: {'registered' if new else 'was registered already'}")


def split(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


@tenants.command("register")
@friendly
def tenants_register(tenant: Annotated[str, typer.Argument(help="The id of a tenant that has a file")]) -> None:
    """Check a tenant's file and register the tenant with Dagster for every service that the file connects.

    Example: weather-backfill tenants register acme
    """
    from weather_backfill.backfill.launch import register_tenant
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.access import check_places
    from weather_backfill.tenants.files import TenantRegistry

    settings = load_settings()
    model = check_places(TenantRegistry(open_tenant_files(settings)).get(tenant), settings)
    instance = open_instance()
    services = list(model.services.model_dump(exclude_none=True))
    for service in services:
        new = register_tenant(instance, service, tenant)
        out.print(f"{service}: {'registered' if new else 'was registered already'}")


@tenants.command("check")
@friendly
def tenants_check(
    tenant: Annotated[str, typer.Argument(help="The id of a tenant that has a file")],
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days before today to look at")] = 30,
    as_json: Json = False,
) -> None:
    """Connect to each of a tenant's services and say what is there; exits with 1 if one cannot be reached.

    Example: weather-backfill tenants check acme --days 365
    """
    from weather_backfill.backfill.connection_probe import check_connections
    from weather_backfill.settings import load_settings

    rows = check_connections(load_settings(), tenant, days)
    print_rows(rows, f"Connections of {tenant}", as_json)
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


@tenants.command("remove")
@friendly
def tenants_remove(tenant: Annotated[str, typer.Argument(help="The id of a tenant that has a file")]) -> None:
    """Delete a tenant's file and stop its backfills: nothing more is loaded for it, its data stays.

    Example: weather-backfill tenants remove acme
    """
    from weather_backfill.backfill.audit import audit
    from weather_backfill.backfill.commands import stop_tenant
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.files import TenantRegistry

    at = desk()
    where = TenantRegistry(open_tenant_files(at.settings)).remove(tenant)
    audit(at.store, "remove tenant", parameters={"tenant": tenant}, outcome="removed")
    stop_tenant(at, tenant)
    out.print(f"{where} removed and its backfills stopped. Its data stays in the lake.")


@tenants.command("list")
@friendly
def tenants_list(as_json: Json = False) -> None:
    """List the tenants, what they connect, and what is wrong with their files.

    Example: weather-backfill tenants list
    """
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.access import check_places
    from weather_backfill.tenants.files import TenantRegistry

    settings = load_settings()
    registry = TenantRegistry(open_tenant_files(settings))
    rows = []
    try:
        names = registry.ids()
    except NotFoundError as error:  # a new place, or one that is not mounted: said beside an empty list
        err.print(str(error))
        names = []
    for name in names:
        try:
            services = check_places(registry.get(name), settings).services.model_dump(exclude_none=True)
            rows.append({"tenant": name, "services": ", ".join(services), "problem": None})
        except WeatherError as error:
            rows.append({"tenant": name, "services": None, "problem": str(error)})
    print_rows(rows, "Tenants", as_json)


@app.command()
@friendly
def report(
    service: Annotated[str, typer.Option(help="tempest, dwd or aceiot")],
    start: Day,
    end: Day,
    tenant: Annotated[list[str] | None, typer.Option(help="Tenants to show; default all")] = None,
    to: Annotated[Path, typer.Option(help="Where to write the page; the calendar is drawn beside it")] = Path(
        "report.html"
    ),
    as_json: Json = False,
) -> None:
    """Show what the lake holds: a table here, and a page with the calendar (HTML and PNG).

    Example: weather-backfill report --service tempest --start 2024-01-01 --end 2024-01-31
    """
    from weather_backfill.backfill.report import write_report
    from weather_backfill.backfill.summary import summarize_tenants
    from weather_backfill.model.partitions import tenants_partition_name
    from weather_backfill.settings import load_settings
    from weather_backfill.sources.registry import SERVICES

    if service not in SERVICES:
        raise ConfigurationError(f"service {service!r} is not known: expected one of {', '.join(SERVICES)}.")
    instance = open_instance()
    settings = load_settings()
    known = set(instance.get_dynamic_partitions(tenants_partition_name(service)))
    if unknown := sorted(set(tenant or ()) - known):
        raise ConfigurationError(
            f"tenant {unknown[0]!r} is not known for {service!r}: `weather-backfill tenants list` shows who is."
        )
    begin, last = start.date(), end.date()
    rows, drawn = summarize_tenants(instance, settings, service, tenant, begin, last, to.with_suffix(".png"))
    page = write_report(rows, drawn, service, begin, last, to)
    print_rows(rows, f"{service}, {start:%Y-%m-%d} to {end:%Y-%m-%d}", as_json)
    if not as_json:
        out.print(f"Report: {page}, calendar: {drawn}")


@app.command()
@friendly
def restatements(
    tenant: Annotated[str, typer.Option(help="Tenant id")],
    service: Annotated[str, typer.Option(help="A service that restates: dwd")] = "dwd",
    start: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; default all held")] = None,
    end: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day; default all held")] = None,
    launch: Annotated[bool, typer.Option("--launch", help="Backfill the restated days")] = False,
    as_json: Json = False,
) -> None:
    """Name the days whose rows the upstream has changed since they were ingested.

    Example: weather-backfill restatements --service dwd --tenant acme --launch
    """
    from weather_backfill.backfill.restatements import find_restatements, launch_restatements
    from weather_backfill.settings import load_settings

    days = (start.date() if start else None, end.date() if end else None)
    found = find_restatements(load_settings(), service, tenant, *days)
    print_rows(found.rows(), f"Restated days of {tenant} ({service})", as_json)
    for station, problem in sorted(found.found.problems.items()):
        err.print(f"[yellow]not compared:[/yellow] station {station}: {problem}", highlight=False, soft_wrap=True)
    if launch:
        backfill = launch_restatements(desk(), found)
        said = f"Asked for {backfill}. Watch it: weather-backfill status {backfill} --watch"
        err.print(said if backfill else "nothing to launch", highlight=False, soft_wrap=True)


@app.command()
@friendly
def requests(
    tenant: Annotated[str, typer.Option(help="Tenant id")],
    service: Annotated[str, typer.Option(help="A service that is asked by request: aceiot")] = "aceiot",
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days before today")] = 365,
    as_json: Json = False,
) -> None:
    """Show what a range costs in requests and in waiting at the rate limit, by page size.

    Example: weather-backfill requests --service aceiot --tenant acme --days 365
    """
    from weather_backfill.backfill.service_status import plan_requests, plan_rows
    from weather_backfill.settings import load_settings

    plan = plan_requests(load_settings(), service, tenant, days)
    print_rows(plan_rows(plan), f"{service} of {tenant}, {days} days", as_json)
    if not as_json:
        out.print(str(plan), highlight=False)


@app.command()
@friendly
def breakers(as_json: Json = False) -> None:
    """Show which services are not asked for now, because they kept failing, and until when.

    Example: weather-backfill breakers
    """
    from weather_backfill.backfill.service_status import breaker_rows
    from weather_backfill.settings import load_settings

    print_rows(breaker_rows(load_settings()), "Breakers", as_json)


@app.command()
@friendly
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo lives")] = Path(".demo"),
    days: Annotated[int, typer.Option(min=3, max=365, help="Days from 2024-01-01")] = 10,
) -> None:
    """Simulate two tenants, backfill them natively with a real daemon, show the result.

    Example: weather-backfill demo --days 30
    """
    from weather_backfill.cli.demo import run_demo

    run_demo(folder.absolute(), days)


@app.command()
@friendly
def dev(
    folder: Annotated[Path, typer.Option(help="The demo's folder")] = Path(".demo"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the webserver")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
) -> None:
    """Webserver and daemon on the demo data; prints the URL. Stop with Ctrl-C.

    Example: weather-backfill dev --port 3001
    """
    from weather_backfill.cli.demo import run_dev

    raise typer.Exit(run_dev(folder.absolute(), host, port))


if __name__ == "__main__":
    app()
