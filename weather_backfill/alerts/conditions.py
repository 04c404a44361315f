"""Finds what is wrong now, from Dagster's records, the lake, the circuit breakers and the tenant files. No state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster import DagsterRunStatus

from weather_backfill.alerts.commands import retry_command, start_command
from weather_backfill.alerts.completeness import incomplete_backfills
from weather_backfill.alerts.incidents import Condition, Explanation
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.status import (
    MANAGED_TAG,
    active_backfills,
    failed_days_of,
    natives_of,
    service_of,
    status_of,
)
from weather_backfill.dagster.private import WILL_RETRY_TAG, PartitionBackfill
from weather_backfill.http.circuit_breaker import BREAKERS, BreakerState, BreakerStatus
from weather_backfill.http.circuit_breaker import status_of as breaker_status
from weather_backfill.http.shared_state import open_state
from weather_backfill.lake import layout
from weather_backfill.model.errors import WeatherError
from weather_backfill.model.partitions import tenants_partition_name
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Tenant, TenantRegistry

_EXAMINED = 40  # a connection's latest runs that are examined for a row of failures; refined runs are among them
_TOGETHER = timedelta(hours=1)  # parts of a managed backfill at most this far apart are one stretch of work


@dataclass
class CurrentConditions:
    """The conditions that hold now; kinds that could not be judged, whose incidents stay open; notes for the log."""

    conditions: list[Condition] = field(default_factory=list)
    unjudged: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def current_conditions(context: BackfillContext, now: datetime) -> CurrentConditions:
    """Judge all kinds of conditions; a kind that cannot be judged stops no other."""
    current = CurrentConditions()
    tenants = _tenant_files(context, current)
    kinds: dict[str, Callable[[], Iterable[Condition]]] = {
        "failed_chunks": lambda: failed_chunks(context, tenants),
        "long_backfill": lambda: long_backfills(context, now),
        "completeness": lambda: incomplete_backfills(context, now),
        "breaker_open": lambda: open_breakers(context, tenants),
    }
    for kind, judge in kinds.items():
        try:
            for condition in judge():
                current.conditions.append(condition)
        except Exception as error:
            current.unjudged.add(kind)
            current.notes.append(f"{kind} could not be judged: {type(error).__name__}: {error}")
    return current


Tenants = dict[str, Tenant | None]
"""The tenants that have a file; None where it is broken."""


def _tenant_files(context: BackfillContext, current: CurrentConditions) -> Tenants:
    """Read all tenant files; broken ones become conditions."""
    tenants: Tenants = {}
    registry = TenantRegistry(open_tenant_files(context.settings))
    try:
        broken_defaults = registry.problem_of_defaults()
        if broken_defaults:
            current.conditions.append(_broken_file("_defaults", broken_defaults, None))
        for name in registry.ids():
            tenants[name] = None
            try:
                tenants[name] = registry.get(name)
            except WeatherError as error:
                if error.retryable:
                    raise
                if not broken_defaults:  # else one message covers all files
                    current.conditions.append(_broken_file(name, str(error), name))
    except WeatherError as error:
        current.unjudged |= {"tenant_file", "failed_chunks"}  # unknown for tenants that were not read
        current.notes.append(f"tenant files could not be read: {error}")
    return tenants


def _broken_file(name: str, problem: str, tenant: str | None) -> Condition:
    command = f"correct {name}.yaml, then: weather-backfill tenants {f'check {tenant}' if tenant else 'list'}"
    return Condition(
        "tenant_file", name, f"the tenant file {name}.yaml is broken", lambda: Explanation({"all": problem}, command),
        tenant,
    )  # fmt: skip


def connected(context: BackfillContext, tenants: Tenants, service: str) -> list[str]:
    """The tenants registered for a service in Dagster, without those whose connection is gone or switched off."""

    def is_connected(name: str) -> bool:
        if name not in tenants:
            return False
        tenant = tenants[name]
        connection = getattr(tenant.services, service, None) if tenant else None
        return tenant is None or (connection is not None and connection.enabled)

    return sorted(filter(is_connected, context.instance.get_dynamic_partitions(tenants_partition_name(service))))


def failed_chunks(context: BackfillContext, tenants: Tenants) -> Iterator[Condition]:
    """Yield a condition for each connection with too many failed chunks in a row."""
    most = context.settings.alert_failed_chunks
    for service in SERVICES:
        for tenant in connected(context, tenants, service):
            failures = failures_in_a_row(context.instance, service, tenant, _EXAMINED + 4 * most)
            if len(failures) > most:
                yield Condition(
                    "failed_chunks", f"{service}/{tenant}", f"more than {most} chunks in a row have failed",
                    partial(_explain_runs, context, failures, service, tenant), tenant, service,
                )  # fmt: skip


def failures_in_a_row(instance: dg.DagsterInstance, service: str, tenant: str, limit: int) -> list[dg.DagsterRun]:
    """The failed runs of raw since the connection's last success, newest first, without runs that Dagster retries."""
    records = instance.get_run_records(
        dg.RunsFilter(
            tags={SERVICE_TAG: service, TENANT_TAG: tenant},
            statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE],
        ),
        limit=limit,
    )
    failures = []
    for record in sorted(records, key=lambda r: (r.end_time or 0, r.storage_id), reverse=True):
        run = record.dagster_run
        if not any(key.path[-1] == layout.RAW_OBSERVATIONS for key in run.asset_selection or ()):
            continue
        if run.tags.get(WILL_RETRY_TAG) == "true":
            continue
        if run.status == DagsterRunStatus.SUCCESS:
            break
        failures.append(run)
    return failures


def _explain_runs(context: BackfillContext, runs: Sequence[dg.DagsterRun], service: str, tenant: str) -> Explanation:
    days = failed_days_of(context.instance, runs)
    reasons = {str(day): why for day, why in days.items()}
    if not reasons:
        reasons = {f"run {run.run_id}": "the run failed as a whole: see its log" for run in runs}
    return Explanation(reasons, retry_command(context.instance, runs, service, tenant, sorted(days)))


def long_backfills(context: BackfillContext, now: datetime) -> Iterator[Condition]:
    """Yield a condition for each backfill that has been active too long, by its managed id where it has one."""
    most = context.settings.alert_backfill_hours
    names = {native.tags.get(MANAGED_TAG, native.backfill_id): native for native in active_backfills(context.instance)}
    for name, native in sorted(names.items()):
        if now - active_since(natives_of(context.instance, name)) > timedelta(hours=most):
            yield Condition(
                "long_backfill", name, f"backfill {name} is active for more than {most:g} hours",
                partial(_explain_backfill, context, name), native.tags.get(TENANT_TAG),
                native.tags.get(SERVICE_TAG) or service_of(native),
            )  # fmt: skip


def active_since(natives: Sequence[PartitionBackfill]) -> datetime:
    """The start (UTC) of the present stretch of work: parts that follow each other closely are one stretch."""
    since = natives[-1].backfill_timestamp
    for native in reversed(natives[:-1]):
        ended = native.backfill_end_timestamp
        if ended is not None and since - ended > _TOGETHER.total_seconds():
            break
        since = min(since, native.backfill_timestamp)
    return datetime.fromtimestamp(since, UTC)


def _explain_backfill(context: BackfillContext, name: str) -> Explanation:
    status = status_of(context.instance, context.graph, context.store, name)
    open_days = [day for day in status.days if day not in status.done]
    days = {str(day): status.failed.get(day, "not done yet") for day in open_days}
    if not open_days:
        return Explanation(days, f"weather-backfill status {name} --watch")
    return Explanation(
        days, f"weather-backfill cancel {name}\n{start_command(status.service, status.tenant, open_days, 'missing')}"
    )


def open_breakers(context: BackfillContext, tenants: Tenants) -> Iterator[Condition]:
    """Yield a condition for each circuit breaker that is open, or half-open: then no request has succeeded yet."""
    state = open_state(context.settings.limits_url)
    for scope in sorted(scope for scope in state.scopes() if scope.startswith(BREAKERS)):
        status = breaker_status(*state.read(scope), scope)
        if status.state is BreakerState.CLOSED:
            continue
        service, _, host = scope.removeprefix(BREAKERS).partition("@")
        users = [name for name, tenant in tenants.items() if tenant and _host_of(tenant, service) == host]
        yield Condition(
            "breaker_open", scope, f"{service} at {host} keeps failing, no requests are sent (circuit breaker open)",
            partial(_explain_breaker, context, status, service, users), ", ".join(sorted(users)) or None, service,
        )  # fmt: skip


def _host_of(tenant: Tenant, service: str) -> str | None:
    url: Any = getattr(getattr(tenant.services, service, None), "base_url", None)
    return urlsplit(str(url)).netloc if url else None


def _explain_breaker(
    context: BackfillContext, status: BreakerStatus, service: str, users: Sequence[str]
) -> Explanation:
    since = status.since.timestamp() if status.since else 0.0
    days = {"service": f"failing since {status.since:%Y-%m-%d %H:%M} UTC: {status.last_error}"} if status.since else {}
    commands = ["weather-backfill breakers"]
    for tenant in sorted(users)[:10]:
        runs = [
            run
            for run in failures_in_a_row(context.instance, service, tenant, _EXAMINED)
            if (stats := context.instance.get_run_record_by_id(run.run_id)) and (stats.end_time or 0) >= since
        ]
        failed = failed_days_of(context.instance, runs)
        days |= {f"{day} of {tenant}": why for day, why in failed.items()}
        if runs:
            commands += retry_command(context.instance, runs, service, tenant, sorted(failed)).splitlines()
    return Explanation(days, "\n".join(commands))
