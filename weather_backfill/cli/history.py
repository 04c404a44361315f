"""Commands over what was: versions of a day, rollback, backup, restore, housekeeping."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from weather_backfill.cli.output import Day, Json, desk, friendly, out, print_rows, progress_bar
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.registry import any_of

Tenant = Annotated[str, typer.Option(help="Tenant id")]
Service = Annotated[str, typer.Option(help=any_of())]
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
    from weather_backfill.lake import versions as version_store
    from weather_backfill.model.partitions import PartitionKey
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_lake

    store, key = open_lake(load_settings()), PartitionKey(day.date(), tenant)
    rows = [
        version_store.describe(store, version)
        for version in version_store.versions_of(store, known_service(service), key)
    ]
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


@friendly
def upgrade(
    tenant: Tenant,
    service: Annotated[str | None, typer.Option(help=f"{any_of()}; default: all of the tenant's")] = None,
    yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Bring a tenant's days of an older release to today's schema, from the lake alone; says first what it costs.

    Example: weather-backfill upgrade --tenant acme
    """
    from weather_backfill.backfill import upgrade as upgrading

    at = desk()
    plans = upgrading.plan_upgrade(at, tenant, known_service(service) if service else None)
    rows = [plan.row() for plan in plans]
    if not (as_json and yes):
        print_rows(rows, f"To upgrade, {tenant}: bytes are read, written, and kept once more as versions", as_json)
    if not rows or (as_json and not yes):
        return
    _confirm("Upgrade these days?", yes)
    done = []
    for plan in plans:
        with progress_bar(plan.service, len(plan.days) + len(plan.refined_only)) as advance:
            done.append(upgrading.upgrade(at, plan, advance))
    print_rows([one.row() for one in done], f"Upgraded, {tenant}", as_json)
    if any(one.failed for one in done):
        raise typer.Exit(1)


@friendly
def backup(
    to: Annotated[str, typer.Option(help="Where backups go: a folder or s3://bucket/prefix")], as_json: Json = False
) -> None:
    """Back up instance (SQLite), tenant files and lake; copies only what no earlier backup there holds.

    Example: weather-backfill backup --to s3://acme-backups/weather
    """
    from weather_backfill.maintenance import backup as backing
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.object_store import ObjectStore
    from weather_backfill.storage.places import open_lake, open_tenant_files

    settings = load_settings()
    target = ObjectStore(to, settings.s3)
    for store in (open_lake(settings), open_tenant_files(settings)):
        if store.contains(to):
            raise ConfigurationError(f"{to} lies in {store.url}, which is backed up: name a place outside of it.")
    done = backing.backup(_places(), target, lambda total: progress_bar("objects", total))
    text = f"{done['objects']:,} objects in snapshot {done['snapshot']}, {done['copied_objects']:,} copied; instance: "
    _show(done, text + done["instance"], as_json)


@friendly
def restore(
    source: Annotated[str, typer.Option("--from", help="What `backup --to` was given")],
    snapshot: Annotated[str | None, typer.Option(help="A snapshot's name; default: the latest")] = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into an empty lake, tenants folder and DAGSTER_HOME; then ask `gaps` what came after it.

    Example: weather-backfill restore --from s3://acme-backups/weather
    """
    from weather_backfill.maintenance import backup as backing
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.object_store import ObjectStore

    store = ObjectStore(source, load_settings().s3)
    done = backing.restore(_places(), store, lambda total: progress_bar("objects", total), snapshot)
    _show(done, f"{done['restored']:,} of {done['objects']:,} objects restored from {done['snapshot']}.", as_json)


@friendly
def housekeeping(
    days: Annotated[
        int | None, typer.Option(min=0, help="Age in days; default: the settings, see docs/operations.md")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; without it, only show")] = False,
    as_json: Json = False,
) -> None:
    """Show what is old enough to go or to be archived, and with --yes do it.

    Example: weather-backfill housekeeping --days 60
    """
    from weather_backfill.backfill.context import claim_lake
    from weather_backfill.cli.output import open_instance
    from weather_backfill.maintenance import retention as keeping
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_lake

    settings = load_settings()
    store = open_lake(settings)
    instance = open_instance()
    found = keeping.find(instance, store, settings, days)
    if yes:
        claim_lake(instance, store)
        keeping.clean(store, found)
    rows = [{"what": k, "objects": n, "action": action, "done": yes} for k, (action, n) in found.counts().items()]
    print_rows(rows, "Housekeeping", as_json)


def _places() -> Any:
    """What is backed up here. Opens no instance: that would make files in an empty DAGSTER_HOME."""
    from weather_backfill.maintenance.backup import Places
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_lake, open_tenant_files

    settings = load_settings()
    home = os.environ.get("DAGSTER_HOME")
    if not home or not Path(home).is_dir():
        raise ConfigurationError("DAGSTER_HOME names no folder: set it to the instance's.")
    return Places(open_lake(settings), open_tenant_files(settings), Path(home) if _is_embedded(home) else None)


def _is_embedded(home: str) -> bool:
    """Whether an instance keeps its events in SQLite files below its home, by the storage that Dagster would open."""
    from weather_backfill.dagster.private import EMBEDDED_STORAGE, InstanceRef

    try:
        storage = InstanceRef.from_dir(home).event_storage_data
    except Exception as error:  # Dagster fails as it falls on what it does not expect
        raise ConfigurationError(
            f"{home}/dagster.yaml is no configuration of an instance: {' '.join(str(error).split())[:200]}."
        ) from error
    return storage is None or storage.module_name.startswith(EMBEDDED_STORAGE)


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


COMMANDS = (versions, rollback, upgrade, backup, restore, housekeeping)
