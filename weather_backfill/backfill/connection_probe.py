"""Probes a tenant's connections: are the credentials accepted, and which days does the upstream hold?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from weather_backfill.model.days import DayFailure
from weather_backfill.model.errors import WeatherError
from weather_backfill.settings import Settings
from weather_backfill.sources.base import Source
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import Tenant, TenantRegistry


def check_connections(settings: Settings, tenant_id: str, days: int) -> list[dict[str, Any]]:
    """Probe every connected service of a tenant; one row each.

    Columns: `service`, `enabled`, `days_with_data` among the last `days` UTC days, their `first_day` and `last_day`
    (ISO), `objects`, `MB`, `stations` (of the newest day, which is read for them) and `problem`: an error of one
    service is reported there instead of raised, so that it does not hide the others. Raises `ConfigurationError` for
    a tenant without a readable file.
    """
    tenant = TenantRegistry(open_tenant_files(settings)).get(tenant_id)
    rows = []
    for service in SERVICES:
        connection = getattr(tenant.services, service, None)
        if connection is None:
            continue
        row: dict[str, Any] = {"service": service, "enabled": connection.enabled}
        try:
            result = _probe(settings, tenant, service, days) if connection.enabled else {}
        except WeatherError as error:
            result = {"problem": str(error)}
        columns = ("days_with_data", "first_day", "last_day", "objects", "MB", "stations", "problem")
        rows.append(row | {name: result.get(name) for name in columns})
    return rows


def _probe(settings: Settings, tenant: Tenant, service: str, days: int) -> dict[str, Any]:
    with open_source(tenant, service, open_lake(settings), settings.s3, settings) as source:
        return _probed(source, days)


def _probed(source: Source, days: int) -> dict[str, Any]:
    end = datetime.now(UTC).date() - timedelta(days=1)
    inventory = source.inventory(end - timedelta(days=days - 1), end)
    if not inventory:
        return {
            "days_with_data": 0,
            "problem": f"reached, but no data in the last {days} days: look further with --days",
        }
    newest = max(inventory)
    result = {
        "days_with_data": len(inventory),
        "first_day": min(inventory).isoformat(),
        "last_day": newest.isoformat(),
        "objects": sum(day.objects for day in inventory.values()),
        "MB": round(sum(day.bytes for day in inventory.values()) / 1e6, 2),
    }
    for day in source.days([newest]):
        if isinstance(day, DayFailure):
            return result | {"problem": f"{newest}: {day.error}"}
        result["stations"] = len(day.table["station_id"].unique())
    return result
