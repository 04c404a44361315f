"""`weather-backfill tenants`: tenant files written, checked, registered, listed, removed."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from weather_backfill.cli.output import Json, desk, err, friendly, open_instance, out, print_rows
from weather_backfill.model.errors import NotFoundError, WeatherError
from weather_backfill.sources.registry import REGISTERED
from weather_backfill.sources.service import ConnectOption

app = typer.Typer(no_args_is_help=True, help="Tenants and their connections.")


def _parameter(option: ConnectOption) -> inspect.Parameter:
    """An option of a service as the command line takes it."""
    annotation = Annotated[str | None, typer.Option(f"--{option.name}", help=option.help)]
    name = option.name.replace("-", "_")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=annotation)


def _with_options(command: Any) -> Any:
    """Give a command the options by which the registered services are connected, instead of its keywords."""
    first, *_ = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [first, *(_parameter(option) for service in REGISTERED for option in service.options)]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


@app.command("add")
@friendly
@_with_options
def tenants_add(tenant: Annotated[str, typer.Argument(help="Id: a-z, 0-9, '-' and '_'")], **values: str | None) -> None:
    """Write a tenant's file, or the named services in it, and register it with Dagster.

    Example: weather-backfill tenants add acme --tempest s3://acme-weather/tempest

    Example: weather-backfill tenants add berlin --dwd-stations 00433 --dwd-products air_temperature,wind
    """
    from weather_backfill.backfill.launch import register_tenant
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.access import check_places
    from weather_backfill.tenants.files import TenantRegistry

    settings = load_settings()
    asked = {name.replace("_", "-"): value for name, value in values.items()}
    connections = {service.name: service.connect(asked) for service in REGISTERED}
    services = {name: connection for name, connection in connections.items() if connection is not None}
    with open_instance() as instance:
        registry = TenantRegistry(open_tenant_files(settings))
        where = registry.connect(tenant, services, lambda made: check_places(made, settings))
        out.print(f"{where} written")
        for service in services:
            new = register_tenant(instance, service, tenant)
            out.print(f"{service}: {'registered' if new else 'was registered already'}")


@app.command("register")
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


@app.command("check")
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


@app.command("remove")
@friendly
def tenants_remove(tenant: Annotated[str, typer.Argument(help="The id of a tenant that has a file")]) -> None:
    """Delete a tenant's file and stop its backfills: nothing more is loaded for it, its data stays.

    Example: weather-backfill tenants remove acme
    """
    from weather_backfill.backfill.audit import audit
    from weather_backfill.backfill.stopping import stop_tenant
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.files import TenantRegistry

    at = desk()
    at.claim()
    where = TenantRegistry(open_tenant_files(at.settings)).remove(tenant)
    audit(at.store, "remove tenant", parameters={"tenant": tenant}, outcome="removed")
    stop_tenant(at, tenant)
    out.print(f"{where} removed and its backfills stopped. Its data stays in the lake.")


@app.command("list")
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
