"""Desired state of every connection, reconciled: onboarding, daily loads, gaps. No state of its own.

What should exist is derived from the tenant files and the clock; what exists is read from the manifests and
Dagster's backfills. Ids are deterministic and launching is idempotent, so a tick that dies anywhere is simply
made good by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from weather_backfill.backfill.operations import Desk, advance, busy_days, capacity, start, unlaunched
from weather_backfill.backfill.plan import Order, Plan, Reason, Reprocess, build_plan
from weather_backfill.backfill.records import ACTIVE, Manifest, audit, load_manifest, manifests
from weather_backfill.backfill.status import natives_of, open_summaries, write_summary
from weather_backfill.connections import Connection
from weather_backfill.errors import WeatherError
from weather_backfill.sources.registry import SERVICES
from weather_backfill.tenants import Tenant, TenantRegistry

KIND = "weather/kind"
_LOOKBACK = "weather/lookback"
Rules = Mapping[tuple[str, str], Connection]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One enabled connection."""

    tenant: Tenant
    service: str
    connection: Connection

    @property
    def name(self) -> str:
        """`<tenant>-<service>`, as ids carry it."""
        return f"{self.tenant.id}-{self.service}"

    def window(self, today: date) -> tuple[date, date]:
        """The days the connection wants, both included: the look-back up to yesterday."""
        first = today - timedelta(days=self.connection.lookback_days)
        return max(first, self.connection.first_day or first), today - timedelta(days=1)


def connections(desk: Desk, notes: list[str]) -> Iterator[Wanted]:
    """All enabled connections of all readable tenant files; a broken file is noted and blocks nobody."""
    registry, trust = TenantRegistry(desk.settings.tenant_files()), desk.settings.trust()
    for name in registry.ids():
        try:
            tenant = registry.get(name)
        except WeatherError as error:
            notes.append(f"{name}: {error}")
            continue
        for service in SERVICES:
            connection = getattr(tenant.services, service, None)
            if connection is None or not connection.enabled:
                continue
            try:
                trust.check(tenant.id, connection.reach())
            except WeatherError as error:
                notes.append(f"{name}: {error}")
            else:
                yield Wanted(tenant, service, connection)


def onboard(desk: Desk, today: date, now: datetime | None = None) -> list[str]:
    """One reconciling pass: launch what is missing, as far as capacity goes; what happened, and what waits and why."""
    notes: list[str] = []
    now = now or datetime.now(UTC)
    known = {manifest.backfill_id: manifest for manifest in manifests(desk.store)}
    enabled = list(connections(desk, notes))
    for wanted in enabled:
        try:
            note = _onboarding(desk, wanted, today, known)
        except Exception as error:  # a tenant's trouble stays the tenant's
            note = f"{wanted.name}: {type(error).__name__}: {error}"
        notes += [note] if note else []
    notes += _settle(desk)
    rules = {(wanted.tenant.id, wanted.service): wanted.connection for wanted in enabled}
    waiting = [m for m in manifests(desk.store) if m.state == ACTIVE and unlaunched(desk, m)]
    return notes + _share(desk, [m for m in waiting if _may_launch(m, rules, now, notes)], rules)


def _settle(desk: Desk) -> list[str]:
    """Bring the summaries of backfills up to date that have not ended, and write the end into the audit."""
    notes = []
    for name in sorted(open_summaries(desk.store)):
        if manifest := load_manifest(desk.store, name):
            status = write_summary(desk.instance, desk.graph, desk.store, manifest)
            if status.ended_at:
                audit(desk.store, "ended", backfill_id=name, outcome=status.status, rows=status.rows)
                notes.append(f"{name}: {status.status}")
    return notes


def _may_launch(manifest: Manifest, rules: Rules, now: datetime, notes: list[str]) -> bool:
    """Whether a waiting backfill's connection is still there and wants launches at this hour."""
    connection = rules.get((manifest.plan.tenant, manifest.plan.service))
    if connection is None:
        notes.append(f"{manifest.backfill_id} waits: its connection is gone, switched off or broken")
        return False
    if connection.off_peak and not connection.off_peak.holds(now):
        window = connection.off_peak
        notes.append(f"{manifest.backfill_id} waits for {window.start:%H:%M}-{window.end:%H:%M} {window.time_zone}")
        return False
    return True


def _onboarding(desk: Desk, wanted: Wanted, today: date, known: dict[str, Manifest]) -> str | None:
    """Write the manifest of a connection's onboarding if there is none for its window; says so if it did."""
    mine = [m for name, m in known.items() if name == _id(wanted) or name.startswith(f"{_id(wanted)}.")]
    label = f"{wanted.connection.lookback_days}/{wanted.connection.first_day or ''}"
    if any(m.labels.get(_LOOKBACK) == label for m in mine):
        return None
    begin, end = wanted.window(today)
    plan = build_plan(
        desk.instance, desk.settings, wanted.tenant, wanted.service, begin, end,
        reprocess=Reprocess.MISSING, order=Order.NEWEST, chunk_days=wanted.connection.chunk_days,
    )  # fmt: skip
    if not plan.days:
        return f"{wanted.name}: nothing to load from {begin} to {end}: {_why(plan)}"
    name = _id(wanted) if not mine else f"{_id(wanted)}.again{len(mine)}"
    _write_only(desk, plan, name, {KIND: "onboarding", _LOOKBACK: label})
    return f"{wanted.name}: onboarding {len(plan.days)} days"


def _id(wanted: Wanted) -> str:
    return f"onboard-{wanted.name}"


def _why(plan: Plan) -> str:
    none = sum(reason is Reason.NO_UPSTREAM for reason in plan.reasons.values())
    return f"{none} of {len(plan.reasons)} days have no upstream data, the others are done"


def _write_only(desk: Desk, plan: Plan, name: str, labels: dict[str, str]) -> None:
    """Write a manifest without launching: `_share` launches, fairly."""
    start(desk, plan, backfill_id=name, labels=labels, launch=False)


def _share(desk: Desk, waiting: list[Manifest], rules: Rules) -> list[str]:
    """Launch one part of each tenant in turn until capacity is used up; who has least goes first."""
    notes: list[str] = []

    def has(manifest: Manifest) -> int:
        return sum(
            len(natives_of(desk.instance, m.backfill_id)) for m in waiting if m.plan.tenant == manifest.plan.tenant
        )

    def rank(manifest: Manifest) -> tuple[int, int, datetime]:
        return -rules[(manifest.plan.tenant, manifest.plan.service)].priority, has(manifest), manifest.created_at

    queue = sorted(waiting, key=rank)
    while queue and capacity(desk):
        manifest = queue.pop(0)
        launched = advance(desk, manifest, most=1)
        notes += [f"launched {name}" for name in launched]
        if launched and unlaunched(desk, manifest):
            queue.append(manifest)
    if queue:
        names = ", ".join(m.backfill_id for m in queue[:10])
        notes.append(f"{len(queue)} wait, {desk.settings.max_active_backfills} backfills are active: {names}")
    return notes


def load_daily(desk: Desk, today: date) -> list[str]:
    """Yesterday and the late days before it, for every onboarded connection; what happened.

    Days that an active backfill is at are its own: together they leave no gap and do nothing twice.
    """
    late = desk.settings.late_days

    def plan(wanted: Wanted) -> Plan:
        _, end = wanted.window(today)
        return build_plan(
            desk.instance, desk.settings, wanted.tenant, wanted.service, end - timedelta(days=late), end,
            reprocess=Reprocess.ALL, order=Order.OLDEST,
        )  # fmt: skip

    return _once_a_day(desk, today, "daily", plan)


def fill_gaps(desk: Desk, today: date) -> list[str]:
    """What the lake lacks of every connection's window; what happened."""

    def plan(wanted: Wanted) -> Plan:
        begin, end = wanted.window(today)
        return build_plan(
            desk.instance, desk.settings, wanted.tenant, wanted.service, begin, end, reprocess=Reprocess.MISSING
        )

    return _once_a_day(desk, today, "gaps", plan)


def _once_a_day(desk: Desk, today: date, kind: str, plan_of: Callable[[Wanted], Plan]) -> list[str]:
    notes: list[str] = []
    for wanted in connections(desk, notes):
        name = f"{kind}-{wanted.name}-{today - timedelta(days=1)}"
        if load_manifest(desk.store, name) or load_manifest(desk.store, _id(wanted)) is None:
            continue
        try:
            plan = plan_of(wanted)
            busy = set().union(*busy_days(desk, wanted.service, wanted.tenant.id).values())
            plan = replace(plan, reasons={day: why for day, why in plan.reasons.items() if day not in busy})
            if not plan.days:
                continue
            start(desk, plan, backfill_id=name, labels={KIND: kind})
            notes.append(f"{name}: {len(plan.days)} days")
        except Exception as error:  # a tenant's trouble stays the tenant's
            notes.append(f"{wanted.name}: {type(error).__name__}: {error}")
    return notes
