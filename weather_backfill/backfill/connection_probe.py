"""Trying a tenant's connections: are the credentials good, and what does the upstream hold?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from weather_backfill.model.days import DayFailure
from weather_backfill.model.errors import WeatherError
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import Tenant, TenantRegistry


def check_connections(settings: Settings, tenant_id: str, days: int) -> list[dict[str, Any]]:
    """One row a connected service: days with data in the last `days`, first and last of them, volume, stations.

    The newest day is read for its stations. `problem` says what went wrong instead of raising, so that one
    service's trouble does not hide the others. Raises `ConfigurationError` for a tenant without a readable file.
    """
    tenant = TenantRegistry(open_tenant_files(settings)).get(tenant_id)
    rows = []
    for service in SERVICES:
        connection = getattr(tenant.services, service, None)
        if connection is None:
            continue
        row: dict[str, Any] = {"service": service, "enabled": connection.enabled}
        try:
            found = _look(settings, tenant, service, days) if connection.enabled else {}
        except WeatherError as error:
            found = {"problem": str(error)}
        columns = ("days_with_data", "first_day", "last_day", "objects", "MB", "stations", "problem")
        rows.append(row | {name: found.get(name) for name in columns})
    return rows


def _look(settings: Settings, tenant: Tenant, service: str, days: int) -> dict[str, Any]:
    source = open_source(tenant, service, open_lake(settings), settings.s3, settings)
    end = datetime.now(UTC).date() - timedelta(days=1)
    held = source.inventory(end - timedelta(days=days - 1), end)
    if not held:
        return {
            "days_with_data": 0,
            "problem": f"reached, but no data in the last {days} days: look further with --days",
        }
    newest = max(held)
    found = {
        "days_with_data": len(held),
        "first_day": min(held).isoformat(),
        "last_day": newest.isoformat(),
        "objects": sum(day.objects for day in held.values()),
        "MB": round(sum(day.bytes for day in held.values()) / 1e6, 2),
    }
    for day in source.days([newest]):
        if isinstance(day, DayFailure):
            return found | {"problem": f"{newest}: {day.error}"}
        found["stations"] = len(day.table["station_id"].unique())
    return found
