"""What must be true at the end: no gap, every file as a fresh load gives it, an audit that names every launch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg

from weather_backfill.backfill.status import MANAGED_TAG
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.days import refine_day, to_raw_table
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.tenants.access import open_source
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.soak.world import World

_FILES = (layout.RAW_OBSERVATIONS, layout.REFINED_15M, layout.REJECTED_OBSERVATIONS)


def gaps(platform: Platform, world: World) -> Iterator[str]:
    """What `weather-backfill gaps` prints of every living tenant but a day that is broken still; absent days."""
    for tenant in sorted(world.living):
        first, last = world.window(tenant)
        span = ("--start", str(first), "--end", str(last))
        done = platform.run(
            "weather-backfill", "gaps", "--tenant", tenant, "--service", world.service(tenant), *span, "--json",
            check=False,
        )  # fmt: skip
        found = json.loads(done.stdout) if done.returncode in (0, 1) else done.stderr
        if found != world.broken_days(tenant):
            yield f"gaps of {tenant}: exit {done.returncode}: {done.stdout.strip()} {done.stderr.strip()}"
    for tenant in sorted(world.wanted):
        for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M):
            lacking = world.expected(tenant) - platform.dates(dataset, tenant, world.service(tenant))
            if lacking:
                yield f"{tenant} lacks {dataset} of {', '.join(map(str, sorted(lacking)))}"


def fresh_load(platform: Platform, world: World, folder: Path) -> tuple[int, list[str]]:
    """Load what the lake holds anew from the final upstreams into an empty lake; files compared, and differences."""
    settings, fresh = platform.settings, ObjectStore(str(folder))
    compared, different = 0, list[str]()
    for tenant in sorted(world.wanted):
        service = world.service(tenant)
        days = sorted(platform.dates(layout.RAW_OBSERVATIONS, tenant, service))
        _load(settings, world, tenant, days, fresh)
        for dataset in _FILES:
            held = {
                o.key
                for store in (platform.lake, fresh)
                for o in store.list(layout.tenant_prefix(dataset, service, tenant))
            }
            for key in sorted(held):
                compared += 1
                if not _same(platform.lake, fresh, key, service):
                    different.append(key)
    return compared, different


def _load(settings: Settings, world: World, tenant: str, days: list[date], fresh: ObjectStore) -> None:
    service = world.service(tenant)
    source = open_source(world.model(tenant), service, fresh, settings.s3, settings)
    connection = world.model(tenant).connection(service)
    limits, asked = settings.limits_of(service, connection), connection.asked()
    for day in source.days(days):
        key = PartitionKey(day.date, tenant)
        made = to_raw_table(key, day, limits, asked=asked)
        assert isinstance(made, DayTable), made
        write_day(fresh, service, layout.RAW_OBSERVATIONS, made)
        write_day(fresh, service, layout.REFINED_15M, refine_day(fresh, service, key))


def _same(lake: ObjectStore, fresh: ObjectStore, key: str, service: str) -> bool:
    """Byte for byte; raw days of DWD by their rows, for their footers name the version of a file that changes daily."""
    if not lake.exists(key) or not fresh.exists(key):
        return False
    ours, theirs = lake.get(key), fresh.get(key)
    if service == "dwd" and key.startswith(layout.RAW_OBSERVATIONS):
        return bool(
            parquet.decode(ours)
            .replace_schema_metadata(None)
            .equals(parquet.decode(theirs).replace_schema_metadata(None))
        )
    return ours == theirs


def audit(platform: Platform, instance: dg.DagsterInstance) -> tuple[int, list[str]]:
    """How many backfills Dagster knows, and which of them lack the one event of their launch or that of their end."""
    done = platform.run("weather-backfill", "log", "--limit", "1000000", "--json")
    events = [(event["action"], event.get("backfill_id")) for event in json.loads(done.stdout)]
    launched = {b.tags.get(MANAGED_TAG, b.backfill_id): MANAGED_TAG in b.tags for b in instance.get_backfills()}
    lacking = []
    for name, managed in sorted(launched.items()):
        if events.count(("start", name)) != 1:
            lacking.append(f"{name} has {events.count(('start', name))} events of its start")
        if managed and ("ended", name) not in events:
            lacking.append(f"{name} has no event of its end")
    return len(launched), lacking


def leftovers(platform: Platform, instance: dg.DagsterInstance, world: World) -> list[str]:
    """What should not be there: journals, open backfills, other dynamic partitions than the tenants there were."""
    lake = platform.lake
    found = [o.key for o in lake.list(layout.JOURNAL)]
    found += [o.key for o in lake.list(layout.OPEN) if not o.key.endswith("/.marked")]
    for service in SERVICES:
        there = set(instance.get_dynamic_partitions(f"{service}_tenants"))
        ever = {tenant for tenant in world.wanted if world.service(tenant) == service}
        if there != ever:
            found.append(f"dynamic partitions of {service}: {sorted(there)}, tenants there were: {sorted(ever)}")
    return found
