"""Commands over what was: versions of a day, rollback, backup, restore, housekeeping."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from weather_backfill.cli_backfill import desk
from weather_backfill.cli_common import Day, Json, friendly, out, print_rows, progress_bar
from weather_backfill.errors import ConfigurationError

Tenant = Annotated[str, typer.Option(help="Tenant id")]
Service = Annotated[str, typer.Option(help="tempest, dwd or aceiot")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")]


def known_service(service: str) -> str:
    """The service; raises `ConfigurationError` if there is none of this name."""
    from weather_backfill.sources.registry import SERVICES

    if service not in SERVICES:
        raise ConfigurationError(f"service {service!r} is not known: expected one of {', '.join(SERVICES)}.")
    return service


@friendly
def versions(tenant: Tenant, service: Service, day: Day, as_json: Json = False) -> None:
    """List the versions of a raw day, the current one first.

    Example: weather-backfill versions --tenant acme --service dwd --day 2024-01-05
    """
    from weather_backfill.lake import kept
    from weather_backfill.partitions import PartitionKey
    from weather_backfill.settings import load_settings

    store, key = load_settings().lake(), PartitionKey(day.date(), tenant)
    rows = [kept.describe(store, version) for version in kept.versions_of(store, known_service(service), key)]
    print_rows(rows, f"Versions of {day:%Y-%m-%d}, {tenant}, {service}", as_json)


@friendly
def rollback(
    tenant: Tenant, service: Service, day: Day,
    to: Annotated[str | None, typer.Option(help="A version's name; default: the one before the current")] = None,
    yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Return a day to an earlier version: raw is put back, refined made from it; undo with another rollback.

    Example: weather-backfill rollback --tenant acme --service dwd --day 2024-01-05 --yes
    """
    from weather_backfill.backfill import rollback as rolling

    at = desk()
    version = rolling.choose_version(at, known_service(service), tenant, day.date(), to)
    _confirm(f"Return {day:%Y-%m-%d} of {tenant} ({service}) to {version.name}?", yes)
    done = rolling.rollback(at, service, tenant, day.date(), version)
    _show(done, f"Rolled back to {version.name}: {done['rows']:,} rows, refined made again.", as_json)


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("nothing was done: without a terminal to ask on, say --yes.")
    if not typer.confirm(question):
        raise ConfigurationError("nothing was done.")


def _show(document: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document, default=str) + "\n")
    else:
        out.print(text, highlight=False)


COMMANDS = (versions, rollback)
