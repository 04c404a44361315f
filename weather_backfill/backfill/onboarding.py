"""Desired state of every connection, reconciled: onboarding, daily loads, gaps. No state of its own.

What should exist is derived from the tenant files and the clock; what exists is read from the manifests and
Dagster's backfills. Ids are deterministic and launching is idempotent, so a tick that dies anywhere is simply
made good by the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from weather_backfill.backfill.operations import (
    KIND_TAG,
    ONBOARDING,
    Desk,
    advance,
    busy_days,
    capacity,
    held_back,
    start,
    stop_tenant,
    unlaunched,
)
from weather_backfill.backfill.plan import Order, Plan, Reason, Reprocess, build_plan
from weather_backfill.backfill.records import (
    ACTIVE,
    CANCELED,
    STOPPED,
    Manifest,
    audit,
    audit_start,
    close,
    load_manifest,
    open_manifests,
    save_manifest,
)
from weather_backfill.backfill.status import active_backfills, write_summary
from weather_backfill.connections import Connection
from weather_backfill.errors import WeatherError
from weather_backfill.lake import layout
from weather_backfill.partitions import tenants_partition_name
from weather_backfill.run_coordinator import TENANT_TAG
from weather_backfill.sources.registry import SERVICES
from weather_backfill.tenants import Tenant, TenantRegistry

_LOOKBACK = "weather/lookback"


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

    def window(self, today: date, earliest: date) -> tuple[date, date]:
        """The days the connection wants, both included: the look-back up to yesterday, none before `earliest`."""
        first = today - timedelta(days=self.connection.lookback_days)
        return max(first, self.connection.first_day or first, earliest), today - timedelta(days=1)

    def may_launch(self, now: datetime) -> bool:
        """Whether this is an hour in which the connection wants launches."""
        return self.connection.off_peak is None or self.connection.off_peak.holds(now)


Wants = Mapping[tuple[str, str], Wanted]


def connections(desk: Desk, notes: list[str], broken: set[str] | None = None) -> Iterator[Wanted]:
    """All enabled connections of all readable tenant files; a broken file is noted and blocks nobody."""
    registry, trust = TenantRegistry(desk.settings.tenant_files()), desk.settings.trust()
    for name in registry.ids():
        try:
            tenant = registry.get(name)
        except Exception as error:  # whatever is wrong with a file is its tenant's trouble
            notes.append(_note(name, error))
            if broken is not None:
                broken.add(name)
            continue
        for service in SERVICES:
            connection = getattr(tenant.services, service, None)
            if connection is None or not connection.enabled:
                continue
            try:
                trust.check(tenant.id, connection.reach())
            except WeatherError as error:
                notes.append(f"{name}: {error}")
                if broken is not None:
                    broken.add(name)
            else:
                yield Wanted(tenant, service, connection)


def onboard(desk: Desk, today: date, now: datetime | None = None) -> list[str]:
    """One reconciling pass: launch what is missing, as far as capacity goes; what happened, and what waits and why."""
    notes: list[str] = []
    broken: set[str] = set()
    now = now or datetime.now(UTC)
    wanted = {(w.tenant.id, w.service): w for w in connections(desk, notes, broken)}
    notes += _stop_unwanted(desk, wanted, broken)
    for one in wanted.values():
        try:
            note = _onboarding(desk, one, today)
        except Exception as error:  # a tenant's trouble stays the tenant's
            note = _note(one.name, error)
        notes += [note] if note else []
    notes += _settle(desk)
    waiting = [m for m in open_manifests(desk.store) if m.state == ACTIVE and unlaunched(desk, m)]
    return notes + _share(desk, [m for m in waiting if _may_launch(m, wanted, now, notes)], wanted)


def _note(name: str, error: Exception) -> str:
    return f"{name}: {type(error).__name__}: {error}"


def _stop_unwanted(desk: Desk, wanted: Wants, broken: set[str]) -> list[str]:
    """Stop the backfills of connections that are gone or switched off. A broken file is neither: it is put right."""
    known = {
        (tenant, service)
        for service in SERVICES
        for tenant in desk.instance.get_dynamic_partitions(tenants_partition_name(service))
    }
    unfinished = open_manifests(desk.store)
    known |= {(m.plan.tenant, m.plan.service) for m in unfinished}
    stopped: list[str] = []
    for tenant, service in sorted(known - set(wanted)):
        if tenant not in broken:
            onboardings = {m.backfill_id: m for m in _earlier(desk, f"{tenant}-{service}")}
            among = {m.backfill_id: m for m in unfinished} | onboardings
            stopped += stop_tenant(desk, tenant, {service}, among.values())
    return [f"{name}: stopped, its connection is gone or switched off" for name in stopped]


def _settle(desk: Desk) -> list[str]:
    """Bring the records of backfills up to date that have not ended, and write the end into the audit."""
    notes = []
    for manifest in open_manifests(desk.store):
        try:
            notes += _settle_one(desk, manifest)
        except Exception as error:  # one damaged file must not hold up everybody
            notes.append(_note(manifest.backfill_id, error))
    return notes


def _settle_one(desk: Desk, manifest: Manifest) -> list[str]:
    name = manifest.backfill_id
    if not desk.store.exists(layout.summary_key(name)):
        audit_start(desk.store, manifest)  # whoever wrote the manifest may have died before this
    status = write_summary(desk.instance, desk.graph, desk.store, manifest)
    if not status.ended_at:
        return []
    if status.status == "canceled" and manifest.state == ACTIVE:  # by a click in Dagster: it stays cancelled
        save_manifest(desk.store, replace(manifest, state=CANCELED))
        close(desk.store, name)
    audit(desk.store, "ended", backfill_id=name, outcome=status.status, rows=status.rows)
    return [f"{name}: {status.status}"]


def _may_launch(manifest: Manifest, wanted: Wants, now: datetime, notes: list[str]) -> bool:
    """Whether a waiting backfill's connection is still there and wants launches at this hour."""
    found = wanted.get((manifest.plan.tenant, manifest.plan.service))
    if found is None:
        notes.append(f"{manifest.backfill_id} waits: the file of its tenant is broken")
        return False
    if not found.may_launch(now):
        notes.append(f"{manifest.backfill_id} waits for {found.connection.off_peak}")
        return False
    return True


def _onboarding(desk: Desk, wanted: Wanted, today: date) -> str | None:
    """Write the manifest of a connection's onboarding if there is none for its window; says so if it did."""
    mine = _earlier(desk, wanted.name)
    label = f"{wanted.connection.lookback_days}/{wanted.connection.first_day or ''}"
    if any(m.labels.get(_LOOKBACK) == label and m.state != STOPPED for m in mine):
        return None
    begin, end = wanted.window(today, desk.settings.first_day_of(wanted.service))
    plan = build_plan(
        desk.instance, desk.settings, wanted.tenant, wanted.service, begin, end,
        reprocess=Reprocess.MISSING, order=Order.NEWEST, chunk_days=wanted.connection.chunk_days,
    )  # fmt: skip
    busy = _busy(desk, wanted)
    plan = replace(plan, reasons={day: why for day, why in plan.reasons.items() if day not in busy})
    if not plan.days and mine:  # nothing is missing: the last one stands for this window too
        last = mine[-1]
        save_manifest(desk.store, replace(last, state=ACTIVE, labels={**last.labels, _LOOKBACK: label}))
    if not plan.days:
        return f"{wanted.name}: nothing to load from {begin} to {end}: {_why(plan)}"
    name = _id(wanted.name, len(mine))
    start(desk, plan, backfill_id=name, labels={KIND_TAG: ONBOARDING, _LOOKBACK: label}, launch=False)
    return f"{wanted.name}: onboarding {len(plan.days)} days"


def _busy(desk: Desk, wanted: Wanted) -> set[date]:
    """The days that active backfills of the connection are at: theirs, so that nothing is done twice."""
    return set().union(*busy_days(desk, wanted.service, wanted.tenant.id).values())


def _id(connection: str, again: int = 0) -> str:
    return f"{layout.ONBOARD}{connection}" + (f".again{again}" if again else "")


def _earlier(desk: Desk, connection: str) -> list[Manifest]:
    """The connection's onboardings so far, each asked for by its name: the lake's other history costs nothing."""
    found: list[Manifest] = []
    while manifest := load_manifest(desk.store, _id(connection, len(found))):
        found.append(manifest)
    return found


def _why(plan: Plan) -> str:
    none = sum(reason is Reason.NO_UPSTREAM for reason in plan.reasons.values())
    if none == len(plan.reasons):
        return f"none of the {none} days has upstream data (older data needs a longer lookback_days)"
    return f"{none} of {len(plan.reasons)} days have no upstream data, the others are done"


def _share(desk: Desk, waiting: list[Manifest], wanted: Wants) -> list[str]:
    """Launch part after part until capacity is used up, always of the tenant that has the fewest active ones."""
    notes: list[str] = []
    active = Counter(native.tags.get(TENANT_TAG) for native in active_backfills(desk.instance))
    left = {m.backfill_id: len(unlaunched(desk, m)) for m in waiting}

    def rank(manifest: Manifest) -> tuple[int, int, int, datetime]:
        priority = wanted[(manifest.plan.tenant, manifest.plan.service)].connection.priority
        launched = len(manifest.parts) - left[manifest.backfill_id]
        return -priority, active[manifest.plan.tenant], launched, manifest.created_at

    queue = list(waiting)
    while queue and capacity(desk):
        manifest = min(queue, key=rank)
        try:
            launched = advance(desk, manifest, most=1)
        except Exception as error:  # a tenant's trouble stays the tenant's
            notes.append(_note(manifest.backfill_id, error))
            launched = []
        notes += [f"launched {name}" for name in launched]
        active[manifest.plan.tenant] += len(launched)
        left[manifest.backfill_id] -= len(launched)
        if not launched or not left[manifest.backfill_id]:
            queue.remove(manifest)
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
        _, end = wanted.window(today, date.min)
        begin = max(end - timedelta(days=late), desk.settings.first_day_of(wanted.service))
        return build_plan(
            desk.instance, desk.settings, wanted.tenant, wanted.service, begin, end,
            reprocess=Reprocess.ALL, order=Order.OLDEST,
        )  # fmt: skip

    return _once_a_day(desk, today, "daily", plan)


def fill_gaps(desk: Desk, today: date) -> list[str]:
    """What the lake lacks of every connection's window; what happened. Days that a person has paused or cancelled
    stay as they are.
    """

    def plan(wanted: Wanted) -> Plan:
        begin, end = wanted.window(today, desk.settings.first_day_of(wanted.service))
        return build_plan(
            desk.instance, desk.settings, wanted.tenant, wanted.service, begin, end, reprocess=Reprocess.MISSING
        )

    return _once_a_day(desk, today, "gaps", plan)


def _once_a_day(desk: Desk, today: date, kind: str, plan_of: Callable[[Wanted], Plan]) -> list[str]:
    notes: list[str] = []
    for wanted in connections(desk, notes):
        name = f"{kind}-{wanted.name}-{today - timedelta(days=1)}"
        if load_manifest(desk.store, name) or load_manifest(desk.store, _id(wanted.name)) is None:
            continue
        try:
            plan = _free_days(desk, wanted, plan_of(wanted))
            if not plan.days:
                continue
            # Outside of the connection's hours only the manifest is written: `new_connections` launches it.
            start(
                desk, plan, backfill_id=name, labels={KIND_TAG: kind}, launch=wanted.may_launch(datetime.now(UTC))
            )  # fmt: skip
            notes.append(f"{name}: {len(plan.days)} days")
        except Exception as error:  # a tenant's trouble stays the tenant's
            notes.append(_note(wanted.name, error))
    return notes


def _free_days(desk: Desk, wanted: Wanted, plan: Plan) -> Plan:
    """The plan without days that active backfills are at, and without open days that a person has put off."""
    busy, back = _busy(desk, wanted), held_back(desk, wanted.service, wanted.tenant.id)
    wait = {day for day in back if plan.reasons.get(day) not in (Reason.DONE, Reason.OUTDATED, Reason.INCOMPLETE)}
    return replace(plan, reasons={day: why for day, why in plan.reasons.items() if day not in busy | wait})
