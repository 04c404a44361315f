"""One row a tenant: days, rows, rejects, completeness and failures, from the lake and Dagster's records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from weather_backfill.backfill.coverage import draw_calendar, held_days, refined_dates
from weather_backfill.errors import ConfigurationError
from weather_backfill.lake import layout
from weather_backfill.partitions import PartitionKey, daily_by_tenant, days_between, tenants_partition_name
from weather_backfill.settings import Settings


def failed_dates(
    instance: dg.DagsterInstance, settings: Settings, service: str, tenant: str, days: Sequence[date]
) -> list[date]:
    """The days whose last try of raw failed, as Dagster shows them."""
    keys = {str(PartitionKey(day, tenant)): day for day in days}
    statuses = instance.get_status_by_partition(
        dg.AssetKey([service, layout.RAW_OBSERVATIONS]),
        list(keys),
        daily_by_tenant(service, settings.first_day_of(service)),
    )
    return [keys[key] for key, status in (statuses or {}).items() if status == AssetPartitionStatus.FAILED]


def summarize_tenants(
    instance: dg.DagsterInstance,
    settings: Settings,
    service: str,
    tenants: Sequence[str] | None,
    start: date,
    end: date,
    picture: Path,
) -> tuple[list[dict[str, Any]], Path]:
    """Rows of a summary table, and the path of the coverage calendar over the same tenants and days."""
    if end < start:
        raise ConfigurationError(f"the end {end} lies before the start {start}: exchange them.")
    store = settings.lake()
    days = days_between(start, end)
    names = sorted(tenants or instance.get_dynamic_partitions(tenants_partition_name(service)))
    rows, calendar, failures = [], {}, {}
    for tenant in names:
        held = {day: found for day, found in held_days(store, service, tenant).items() if start <= day <= end}
        failed = failed_dates(instance, settings, service, tenant, days)
        calendar[tenant], failures[tenant] = held, failed
        rows.append(
            {
                "tenant": tenant,
                "days": len(days),
                "raw": len(held),
                "refined": len(refined_dates(store, service, tenant) & set(days)),
                "rows": sum(day.rows for day in held.values()),
                "rejects": sum(day.rejects for day in held.values()),
                "complete": sum(day.completeness for day in held.values()) / len(days),
                "MB": round(sum(day.bytes for day in held.values()) / 1e6, 2),
                "failed": ", ".join(day.isoformat() for day in sorted(failed)),
            }
        )
    return rows, draw_calendar(calendar, failures, start, end, picture)
