"""Gauges of the present state for Prometheus: days, backfills, runs, daemons, rate limits, circuit breakers, alerts.

Each function is one part of a scrape and takes a bounded number of queries. Labels are tenant and service, never a
day or a station.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterRunStatus
from prometheus_client.core import GaugeMetricFamily, Metric

from weather_backfill.alerts.incidents import Register
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.desired_state import connections
from weather_backfill.backfill.status import active_backfills, service_of
from weather_backfill.dagster.partitions import daily_by_tenant
from weather_backfill.dagster.private import (
    RETRY_NUMBER_TAG,
    BulkActionsFilter,
    BulkActionStatus,
    get_and_update_asset_status_cache_value,
)
from weather_backfill.http.circuit_breaker import BREAKERS, BreakerState, status_of
from weather_backfill.http.rate_limit import paused_for, whose
from weather_backfill.http.shared_state import open_state
from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.tags import TENANT_TAG
from weather_backfill.sources.registry import SERVICES

PREFIX = "weather_backfill_"
Values = dict[tuple[str, ...], float]
_BY_TENANT = ("service", "tenant")
_MOST_RETRIES = 10


def gauge(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A gauge with its values by label values."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for label_values, value in sorted(values.items()):
        family.add_metric(label_values, value)
    return family


class DayGauge:
    """Days by state, from Dagster's own cache of partition states, counted again only where that has changed."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str, str], tuple[str | None, Counter[str]]] = {}

    def families(self, context: BackfillContext) -> Iterator[Metric]:
        """Yield `days` by service, tenant, dataset and state, and `days_wanted` from the tenant files."""
        days: Values = {}
        for service in SERVICES:
            partitions = daily_by_tenant(service, context.settings.first_day_of(service))
            for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M):
                key = dg.AssetKey([service, dataset])
                status = get_and_update_asset_status_cache_value(context.instance, key, partitions, context.instance)
                for state, text in (
                    ("materialized", status.serialized_materialized_partition_subset if status else None),
                    ("failed", status.serialized_failed_partition_subset if status else None),
                    ("in_progress", status.serialized_in_progress_partition_subset if status else None),
                ):
                    for tenant, count in self._count((service, dataset, state), text, partitions).items():
                        days[(service, tenant, dataset, state)] = count
        labels = (*_BY_TENANT, "dataset", "state")
        yield gauge("days", "Days by their state in Dagster", labels, days)
        today = datetime.now(UTC).date()
        wanted: Values = {}
        for connection in connections(context, []):
            first, last = connection.window(today, context.settings.first_day_of(connection.service))
            wanted[(connection.service, connection.tenant.id)] = max((last - first).days + 1, 0)
        yield gauge("days_wanted", "Days in the look-back of the tenant file", _BY_TENANT, wanted)

    def _count(
        self, series: tuple[str, str, str], text: str | None, partitions: dg.MultiPartitionsDefinition
    ) -> Counter[str]:
        counted = self._counted.get(series)
        if counted is None or counted[0] != text:
            keys = partitions.deserialize_subset(text).get_partition_keys() if text else ()
            by_tenant = Counter(PartitionKey.parse(str(key)).tenant for key in keys)
            counted = self._counted[series] = (text, by_tenant)
        return counted[1]


def backfills(context: BackfillContext) -> Iterator[Metric]:
    """Native backfills by status, and the active ones' days by state, by service and tenant."""
    counts: Values = {
        (status.value.lower(),): float(
            context.instance.get_backfills_count(filters=BulkActionsFilter(statuses=[status]))
        )
        for status in BulkActionStatus
    }  # fmt: skip
    yield gauge("backfills", "Native backfills by status", ("status",), counts)
    active: Counter[tuple[str, ...]] = Counter()
    days: Counter[tuple[str, ...]] = Counter()
    oldest: Values = {}
    now = datetime.now(UTC).timestamp()
    for native in active_backfills(context.instance):
        connection = (service_of(native) or "", native.tags.get(TENANT_TAG, ""))
        active[connection] += 1
        oldest[connection] = max(oldest.get(connection, 0.0), now - native.backfill_timestamp)
        data, raw = native.get_asset_backfill_data(context.graph), dg.AssetKey([connection[0], layout.RAW_OBSERVATIONS])
        for state, subset in (
            ("target", data.target_subset),
            ("requested", data.requested_subset),
            ("materialized", data.materialized_subset),
            ("failed", data.failed_and_downstream_subset),
        ):
            if connection[0] and raw in subset.asset_keys:
                days[(*connection, state)] += len(subset.get_partitions_subset(raw))
    yield gauge("active_backfills", "Native backfills that have not ended", _BY_TENANT, active)
    yield gauge("active_backfill_days", "Raw days of active backfills by state", (*_BY_TENANT, "state"), days)
    yield gauge("active_backfill_seconds", "Age of the oldest active backfill", _BY_TENANT, oldest)


def runs(context: BackfillContext) -> Iterator[Metric]:
    """Runs by status, the queue's length, and runs that were retries of others."""
    counts: Values = {
        (status.value.lower(),): float(context.instance.get_runs_count(dg.RunsFilter(statuses=[status])))
        for status in DagsterRunStatus
    }
    yield gauge("runs", "Runs in Dagster's records by status", ("status",), counts)
    yield gauge("queue_length", "Runs that wait in the queue", (), {(): counts[("queued",)]})
    numbers = [str(number) for number in range(1, _MOST_RETRIES + 1)]
    retried = context.instance.get_runs_count(dg.RunsFilter(tags={RETRY_NUMBER_TAG: numbers}))
    yield gauge("run_retries", "Runs in Dagster's records that retry another", (), {(): retried})


def daemons(context: BackfillContext) -> Iterator[Metric]:
    """Age of each required daemon's last heartbeat; a daemon that never beat has health 0 and no age."""
    now = datetime.now(UTC).timestamp()
    ages: Values = {}
    healthy: Values = {}
    for name, status in context.instance.get_daemon_statuses().items():
        healthy[(name,)] = float(bool(status.healthy))
        if status.last_heartbeat:
            ages[(name,)] = now - status.last_heartbeat.timestamp
    yield gauge("daemon_heartbeat_age_seconds", "Seconds since a daemon's last heartbeat", ("daemon",), ages)
    yield gauge("daemon_healthy", "1 if Dagster calls the daemon healthy, else 0", ("daemon",), healthy)


def limits(context: BackfillContext) -> Iterator[Metric]:
    """Slots in use of each rate limit, seconds it is paused, and circuit breakers (1 open, 0.5 half-open, 0 closed)."""
    state = open_state(context.settings.limits_url)
    taken: Values = {}
    paused: Values = {}
    breakers: Values = {}
    values = {BreakerState.OPEN: 1.0, BreakerState.HALF_OPEN: 0.5, BreakerState.CLOSED: 0.0}
    for scope in state.scopes():
        document, now = state.read(scope)
        if scope.startswith(BREAKERS):
            service, _, host = scope.removeprefix(BREAKERS).partition("@")
            breakers[(service, host)] = values[status_of(document, now, scope).state]
        else:
            key = whose(scope)  # a tenant's servers together
            taken[key] = taken.get(key, 0.0) + len(document.get("slots", ()))
            paused[key] = max(paused.get(key, 0.0), paused_for(document, now))
    yield gauge("limiter_slots", "Requests that count against a rate limit", _BY_TENANT, taken)
    yield gauge("limiter_paused_seconds", "Seconds for which a service has asked for no requests", _BY_TENANT, paused)
    yield gauge("breaker_open", "1 open, 0.5 half-open, 0 closed", ("service", "host"), breakers)


def alerts(context: BackfillContext) -> Iterator[Metric]:
    """Open incidents by kind, service and tenant."""
    incidents: Counter[tuple[str, ...]] = Counter()
    for incident in Register(context.store).open_incidents():
        incidents[(incident.kind, incident.service or "", incident.tenant or "")] += 1
    yield gauge("alerts_open", "Open incidents", ("kind", *_BY_TENANT), incidents)
