"""Commands about the services themselves: restatements, requests that a range costs, open circuit breakers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from weather_backfill.cli.output import Json, desk, err, friendly, out, print_rows


@friendly
def restatements(
    tenant: Annotated[str, typer.Option(help="Tenant id")],
    service: Annotated[str, typer.Option(help="A service that restates: dwd or ghcnh")] = "dwd",
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


@friendly
def breakers(as_json: Json = False) -> None:
    """Show which services are not asked for now, because they kept failing, and until when.

    Example: weather-backfill breakers
    """
    from weather_backfill.backfill.service_status import breaker_rows
    from weather_backfill.settings import load_settings

    print_rows(breaker_rows(load_settings()), "Breakers", as_json)


COMMANDS = (restatements, requests, breakers)
