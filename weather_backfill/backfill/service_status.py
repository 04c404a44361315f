"""Services that are reached over HTTP: the request budget of a range, and the state of the circuit breakers."""

from __future__ import annotations

from typing import Any, cast

from weather_backfill.http.circuit_breaker import BREAKERS, status_of
from weather_backfill.http.shared_state import open_state
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.settings import Settings
from weather_backfill.sources.aceiot.request_budget import PageSizeCost, RequestBudget
from weather_backfill.sources.aceiot.source import AceiotSource
from weather_backfill.sources.registry import REGISTERED, any_of, service_named
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import TenantRegistry


def plan_requests(settings: Settings, service: str, tenant: str, days: int) -> RequestBudget:
    """Estimate the requests for `days` days of a tenant; asks the service once per site for its points.

    Raises `ConfigurationError` for a service without a rate limit.
    """
    connected = TenantRegistry(open_tenant_files(settings)).get(tenant)
    if not service_named(service).has_request_budget:
        able = any_of(tuple(known.name for known in REGISTERED if known.has_request_budget))
        raise ConfigurationError(f"{service} has no limit on requests, so there is nothing to plan; {able} has one.")
    with open_source(connected, service, open_lake(settings), settings.s3, settings) as source:
        return cast("AceiotSource", source).plan(days)


def plan_rows(plan: RequestBudget) -> list[dict[str, Any]]:
    """A budget as rows, one per page size; `saves_days` is the waiting time that the chosen size saves against it."""
    return [_row(budget, plan.chosen) for budget in sorted(plan.by_page_size.values(), key=lambda b: b.page_size)]


def _row(budget: PageSizeCost, chosen: PageSizeCost) -> dict[str, Any]:
    hours = budget.duration.total_seconds() / 3600
    saved = (budget.duration - chosen.duration).total_seconds() / 86_400
    return {
        "page_size": budget.page_size,
        "requests": budget.requests,
        "hours": round(hours, 2),
        "waiting_days": round(hours / 24, 2),
        "saves_days": round(saved, 2),
        "chosen": budget.page_size == chosen.page_size,
    }


def breaker_rows(settings: Settings) -> list[dict[str, Any]]:
    """One row per circuit breaker that has ever counted a failure, by service and host; times are UTC."""
    state = open_state(settings.limits_url)
    rows = []
    for scope in sorted(scope for scope in state.scopes() if scope.startswith(BREAKERS)):
        status = status_of(*state.read(scope), scope)
        rows.append(
            {
                "service": scope.removeprefix(BREAKERS),
                "state": str(status.state),
                "failures": status.failures,
                "since": status.since,
                "next_try": status.until,
                "last_error": status.last_error,
            }
        )
    return rows
