"""Coverage summary, one row per tenant: days, rows, rejects, completeness and failures, from the lake and Dagster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType

from weather_backfill.backfill.coverage import draw_calendar, held_days
from weather_backfill.backfill.footer_cache import remembered_refined
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey, days_between, tenants_partition_name
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake


def failed_dates(instance: dg.DagsterInstance, service: str, tenant: str, days: Sequence[date]) -> list[date]:
    """The days whose last try of raw failed.

    Only the events of these days are read: Dagster keeps the status of all of an asset's partitions as one value, and
    reading that takes longer with every other tenant.
    """
    asset, keys = dg.AssetKey([service, layout.RAW_OBSERVATIONS]), {str(PartitionKey(d, tenant)): d for d in days}
    if not keys:
        return []
    planned, written = (
        instance.event_log_storage.get_latest_storage_id_by_partition(asset, kind, set(keys))
        for kind in (DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_MATERIALIZATION)
    )
    unwritten = {number: key for key, number in planned.items() if number > written.get(key, 0)}
    if not unwritten:
        return []
    tries = instance.get_asset_event_summary_records(
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset, storage_ids=list(unwritten)
    )
    runs = instance.get_runs(dg.RunsFilter(run_ids=sorted({record.run_id for record in tries if record.run_id})))
    failed = {run.run_id for run in runs if run.status == dg.DagsterRunStatus.FAILURE}
    return sorted(keys[unwritten[record.storage_id]] for record in tries if record.run_id in failed)


def summarize_tenants(
    instance: dg.DagsterInstance,
    settings: Settings,
    service: str,
    tenants: Sequence[str] | None,
    start: date,
    end: date,
    picture: Path,
) -> tuple[list[dict[str, Any]], Path]:
    """Summarize tenants over the UTC days from start to end (both included), and draw their coverage calendar.

    Returns one row per tenant (`tenant`, `days`, `raw`, `refined`, `rows`, `rejects`, `complete` 0 to 1, `MB`, `failed`
    days) and the path of the picture. Raises `ConfigurationError` for a range that is backwards.
    """
    if end < start:
        raise ConfigurationError(f"end {end} is before start {start}: swap them.")
    store = open_lake(settings)
    days = days_between(start, end)
    names = sorted(tenants or instance.get_dynamic_partitions(tenants_partition_name(service)))
    rows, calendar, failures = [], {}, {}
    for tenant in names:
        held = {day: raw for day, raw in held_days(store, service, tenant).items() if start <= day <= end}
        failed = failed_dates(instance, service, tenant, days)
        calendar[tenant], failures[tenant] = held, failed
        rows.append(
            {
                "tenant": tenant,
                "days": len(days),
                "raw": len(held),
                "refined": _usable(store, service, tenant, days),
                "rows": sum(day.rows for day in held.values()),
                "rejects": sum(day.rejects for day in held.values()),
                "complete": sum(day.completeness for day in held.values()) / len(days),
                "MB": round(sum(day.bytes for day in held.values()) / 1e6, 2),
                "failed": ", ".join(day.isoformat() for day in sorted(failed)),
            }
        )
    return rows, draw_calendar(calendar, failures, start, end, picture)


def _usable(store: ObjectStore, service: str, tenant: str, days: Sequence[date]) -> int:
    """The number of days with a refined file that can be read."""
    refined = day_objects(store, layout.REFINED_15M, service, tenant)
    read = remembered_refined(store, {day: refined[day] for day in days if day in refined})
    return sum(made.problem is None for made in read.values())
