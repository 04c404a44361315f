"""`weather-backfill report`: coverage as a table and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weather_backfill.cli.output import Day, Json, friendly, open_instance, out, print_rows
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.registry import any_of


@friendly
def report(
    service: Annotated[str, typer.Option(help=any_of())],
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
