"""`weather-backfill accept` and `accepted`: what lacks for good, or for a while, with who and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from weather_backfill.cli.history import known_service
from weather_backfill.cli.output import Day, Json, desk, friendly, print_rows
from weather_backfill.sources.registry import any_of

Tenant = Annotated[str, typer.Option(help="Tenant id")]
Service = Annotated[str, typer.Option(help=any_of())]
Station = Annotated[str, typer.Option(help="Only this station or site; default: all")]
Metric = Annotated[str, typer.Option(help="Only this metric, or product of DWD; default: all")]
Until = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last UTC day on which it counts")]


@friendly
def accept(
    tenant: Tenant, service: Service, start: Day, end: Day,
    why: Annotated[str, typer.Option(help="The reason, for the audit and for whoever looks at the gap")] = "",
    station: Station = "", metric: Metric = "", until: Until = None,
    remove: Annotated[bool, typer.Option("--withdraw", help="Withdraw the acceptance of exactly these")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Accept what days lack: it counts as accepted in plan, gaps and report, never as done. Audited.

    Example: weather-backfill accept --tenant acme --service dwd --start 2024-01-01 --end 2024-01-30 --station 00433
    --why "mast down for repair"
    """
    from weather_backfill.backfill import accepting

    at = desk()
    first, last, name = start.date(), end.date(), known_service(service)
    if remove:
        gone = accepting.withdraw(at, name, tenant, first, last, station, metric)
        print_rows([{"withdrawn": gone}], "Withdrawn", as_json)
        return
    ends = until.date() if until else None
    given = accepting.accept(at, name, tenant, first, last, why=why, station=station, metric=metric, until=ends)
    print_rows([given.to_json()], f"Accepted, {tenant} in {service}", as_json)


@friendly
def accepted(tenant: Tenant, service: Service, as_json: Json = False) -> None:
    """List what has been accepted as lacking, ended acceptances too.

    Example: weather-backfill accepted --tenant acme --service dwd
    """
    from weather_backfill.backfill.acceptances import acceptances
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_lake

    found = acceptances(open_lake(load_settings()), known_service(service), tenant)
    print_rows([one.to_json() for one in found], f"Accepted, {tenant} in {service}", as_json)


COMMANDS = (accept, accepted)
