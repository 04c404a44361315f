"""Desired state of every connection, reconciled: onboarding, daily loads, gaps. No state of its own.

What should exist is derived from the tenant files and the clock; what exists is read from the manifests and
Dagster's backfills. Ids are deterministic and launching is idempotent, so a tick that dies anywhere is simply
made good by the next one. Upstreams are asked last and with little patience (`looks`): a server that does not
answer is waited for by nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from weather_backfill.backfill.audit import audit, audit_start
from weather_backfill.backfill.commands import (
    KIND_TAG,
    ONBOARDING,
    BackfillContext,
    advance,
    busy_days,
    capacity,
    clicked_away,
    held_back,
    start,
    stop_tenant,
    unlaunched,
)
from weather_backfill.backfill.coverage import day_objects
from weather_backfill.backfill.desired_state import EVERYBODY, WantedConnection, Wants, connections
from weather_backfill.backfill.manifests import (
    ACTIVE,
    CANCELED,
    STOPPED,
    Manifest,
    decided,
    load_manifest,
    open_manifests,
    save_manifest,
)
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess, build_plan
from weather_backfill.backfill.polling import PollOutcome, Polls, note_of
from weather_backfill.backfill.status import active_backfills, status_of, write_summary
from weather_backfill.lake import layout
from weather_backfill.model.partitions import days_between, tenants_partition_name
from weather_backfill.model.tags import TENANT_TAG
from weather_backfill.sources.registry import SERVICES
from weather_backfill.tenants.access import open_source

_LOOKBACK = "weather/lookback"


def onboard(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """One reconciling pass: launch what is missing, as far as capacity goes; what happened, and what waits and why."""
    notes: list[str] = []
    broken: set[str] = set()
    now = now or datetime.now(UTC)
    wanted = {(w.tenant.id, w.service): w for w in connections(context, notes, broken)}
    notes += _stop_unwanted(context, wanted, broken)
    notes += _settle(context)
    launched, waiting = _launch(context, wanted, now)
    looks = Polls(context.store, ONBOARDING, now)
    due = looks.due(_where(wanted.values(), lambda one: _last_of_window(context, one) is None, notes))
    if looks.each(due, lambda one: _onboarding(context, one, today), notes):
        more, waiting = _launch(context, wanted, now)
        launched += more
    return notes + launched + waiting


def _where(
    wanted: Iterable[WantedConnection], holds: Callable[[WantedConnection], bool], notes: list[str]
) -> list[WantedConnection]:
    """The connections that something holds for; one that it cannot be told of is noted."""
    found = []
    for one in wanted:
        try:
            if holds(one):
                found.append(one)
        except Exception as error:  # a tenant's trouble stays the tenant's
            notes.append(note_of(one.name, error))
    return found


def _launch(context: BackfillContext, wanted: Wants, now: datetime) -> tuple[list[str], list[str]]:
    """Launch what waits as far as capacity goes: what happened, and what waits and why."""
    waits: list[str] = []
    waiting = [m for m in open_manifests(context.store) if m.state == ACTIVE and unlaunched(context, m)]
    launched = _share(context, [m for m in waiting if _may_launch(m, wanted, now, waits)], wanted, waits)
    return launched, waits


def _stop_unwanted(context: BackfillContext, wanted: Wants, broken: set[str]) -> list[str]:
    """Stop the backfills of connections that are gone or switched off. A broken file is neither: it is put right."""
    if EVERYBODY in broken:
        return []
    known = {
        (tenant, service)
        for service in SERVICES
        for tenant in context.instance.get_dynamic_partitions(tenants_partition_name(service))
    }
    unfinished = open_manifests(context.store)
    known |= {(m.plan.tenant, m.plan.service) for m in unfinished}
    notes: list[str] = []
    for tenant, service in sorted(known - set(wanted)):
        if tenant in broken:
            continue
        try:
            onboardings = {m.backfill_id: m for m in _earlier(context, f"{tenant}-{service}")}
            among = {m.backfill_id: m for m in unfinished} | onboardings
            stopped = stop_tenant(context, tenant, {service}, among.values())
            notes += [f"{name}: stopped, its connection is gone or switched off" for name in stopped]
        except Exception as error:  # one damaged manifest must not hold up everybody
            notes.append(note_of(f"{tenant}-{service}", error))
    return notes


def _settle(context: BackfillContext) -> list[str]:
    """Bring the records of backfills up to date that have not ended, and write the end into the audit."""
    notes = []
    for manifest in open_manifests(context.store):
        try:
            notes += _settle_one(context, manifest)
        except Exception as error:  # one damaged file must not hold up everybody
            notes.append(note_of(manifest.backfill_id, error))
    return notes


def _settle_one(context: BackfillContext, manifest: Manifest) -> list[str]:
    name = manifest.backfill_id
    manifest = (
        load_manifest(context.store, name) or manifest
    )  # others came first, and meanwhile a person may have decided
    if not context.store.exists(layout.summary_key(name)):
        audit_start(context.store, manifest)  # whoever wrote the manifest may have died before this
    if manifest.state == ACTIVE:
        manifest = _with_cancelled(context, manifest)
    status = write_summary(context.instance, context.graph, context.store, manifest)
    if not status.ended_at:
        return []
    audit(context.store, "ended", backfill_id=name, outcome=status.status, rows=status.rows)
    return [f"{name}: {status.status}"]


def _with_cancelled(context: BackfillContext, manifest: Manifest) -> Manifest:
    """The manifest, saying what clicks in Dagster have cancelled of it: that stays cancelled.

    Before the summary, which takes it out of sight: whoever dies in between has forgotten nothing.
    """
    clicked = clicked_away(context, manifest)
    if not clicked and not manifest.put_off:
        return manifest
    status = status_of(context.instance, context.graph, context.store, manifest.backfill_id)
    days = frozenset(clicked - status.done)
    # Where other parts have failed on their own, their days are no person's decision.
    whole = status.ended_at and status.status == "canceled" and set(status.days) - status.done <= days
    said = replace(manifest, state=CANCELED if whole else ACTIVE, put_off=frozenset() if whole else days)
    if said == manifest:
        return said
    if now := decided(context.store, manifest):  # a person was quicker
        return now
    save_manifest(context.store, said)
    return said


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


def _last_of_window(context: BackfillContext, wanted: WantedConnection) -> Manifest | None:
    """The onboarding of the window that the connection wants now, if there is one."""
    mine = [
        m for m in _earlier(context, wanted.name) if m.labels.get(_LOOKBACK) == _label(wanted) and m.state != STOPPED
    ]
    return mine[-1] if mine else None


def _label(wanted: WantedConnection) -> str:
    return f"{wanted.connection.lookback_days}/{wanted.connection.first_day or ''}"


def _onboarding(context: BackfillContext, wanted: WantedConnection, today: date) -> tuple[PollOutcome, str | None]:
    """Write the manifest of a connection's onboarding over what is missing of its window."""
    mine, label = _earlier(context, wanted.name), _label(wanted)
    begin, end = wanted.window(today, context.settings.first_day_of(wanted.service))
    plan = _plan(
        context, wanted, begin, end, reprocess=Reprocess.MISSING, order=Order.NEWEST,
        chunk_days=wanted.connection.chunk_days,
    )  # fmt: skip
    if not plan.days and mine:  # nothing is to be done: the last one stands for this window too
        last = load_manifest(context.store, mine[-1].backfill_id) or mine[-1]  # asking the upstream took its time
        state = ACTIVE if last.state == STOPPED else last.state  # what a person has put off stays so
        save_manifest(context.store, replace(last, state=state, labels={**last.labels, _LOOKBACK: label}), reopen=False)
    if not plan.days:
        note = f"{wanted.name}: nothing to load from {begin} to {end}: {_why(plan)}"
        return (PollOutcome.FOUND if mine else PollOutcome.NOTHING), note
    name = _id(wanted.name, len(mine))
    start(context, plan, backfill_id=name, labels={KIND_TAG: ONBOARDING, _LOOKBACK: label}, launch=False)
    return PollOutcome.FOUND, f"{wanted.name}: onboarding {len(plan.days)} days"


def _plan(context: BackfillContext, wanted: WantedConnection, begin: date, end: date, **how: Any) -> BackfillPlan:
    """The plan of a range, asked of the upstream in a hurry, but for the days that are taken or put off."""
    settings = context.settings
    source = partial(
        open_source, wanted.tenant, wanted.service, context.store, settings.s3, settings, hurry=True
    )  # fmt: skip
    plan = build_plan(
        context.instance, settings, wanted.tenant, wanted.service, begin, end, opened=source, **how
    )  # fmt: skip
    return _free_days(context, wanted, plan)


def _busy(context: BackfillContext, wanted: WantedConnection) -> set[date]:
    """The days that active backfills of the connection are at: theirs, so that nothing is done twice."""
    return set().union(*busy_days(context, wanted.service, wanted.tenant.id).values())


def _id(connection: str, again: int = 0) -> str:
    return f"{layout.ONBOARD}{connection}" + (f".again{again}" if again else "")


def _earlier(context: BackfillContext, connection: str) -> list[Manifest]:
    """The connection's onboardings so far, each asked for by its name: the lake's other history costs nothing."""
    found: list[Manifest] = []
    while manifest := load_manifest(context.store, _id(connection, len(found))):
        found.append(manifest)
    return found


def _why(plan: BackfillPlan) -> str:
    if not plan.reasons:
        return "its days are being loaded, or were put off by a person"
    none = sum(reason is Reason.NO_UPSTREAM for reason in plan.reasons.values())
    if none == len(plan.reasons):
        return f"none of the {none} days has upstream data (older data needs a longer lookback_days)"
    return f"{none} of {len(plan.reasons)} days have no upstream data, the others are done"


def _share(context: BackfillContext, waiting: list[Manifest], wanted: Wants, waits: list[str]) -> list[str]:
    """Launch part after part until capacity is used up, always of the tenant that has the fewest active ones."""
    notes: list[str] = []
    active = Counter(native.tags.get(TENANT_TAG) for native in active_backfills(context.instance))
    left = {m.backfill_id: len(unlaunched(context, m)) for m in waiting}

    def rank(manifest: Manifest) -> tuple[int, int, int, datetime]:
        asked = wanted[(manifest.plan.tenant, manifest.plan.service)].connection.priority
        priority = context.settings.priority(asked)
        launched = len(manifest.parts) - left[manifest.backfill_id]
        return -priority, active[manifest.plan.tenant], launched, manifest.created_at

    queue = list(waiting)
    while queue and capacity(context):
        manifest = min(queue, key=rank)
        try:
            launched = advance(context, manifest, most=1)
        except Exception as error:  # a tenant's trouble stays the tenant's
            notes.append(note_of(manifest.backfill_id, error))
            launched = []
        notes += [f"launched {name}" for name in launched]
        active[manifest.plan.tenant] += len(launched)
        left[manifest.backfill_id] -= len(launched)
        if not launched or not left[manifest.backfill_id]:
            queue.remove(manifest)
    if queue:
        names = ", ".join(m.backfill_id for m in queue[:10])
        waits.append(f"{len(queue)} wait, {context.settings.max_active_backfills} backfills are active: {names}")
    return notes


def load_daily(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """Yesterday and the late days before it, for every onboarded connection; what happened.

    Days that an active backfill is at are its own: together they leave no gap and do nothing twice.
    """
    late = timedelta(days=context.settings.late_days)

    def plan(wanted: WantedConnection) -> BackfillPlan:
        # However short its look-back, what was loaded on the days before may be late; before `first_day` nothing is.
        end = today - timedelta(days=1)
        begin = max(end - late, wanted.connection.first_day or date.min, context.settings.first_day_of(wanted.service))
        return _plan(context, wanted, begin, end, reprocess=Reprocess.ALL, order=Order.OLDEST)

    return _once_a_day(context, today, now, "daily", plan, PollOutcome.NOTHING)  # yesterday's data may be late


def fill_gaps(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """What the lake lacks of every connection's days, since it was onboarded; what happened. Days that a person has
    paused or cancelled stay as they are. Where nothing is lacking the night's look has been.
    """

    def plan(wanted: WantedConnection) -> BackfillPlan:
        begin, end = wanted.window(today, context.settings.first_day_of(wanted.service))
        return _plan(context, wanted, _first_lacking(context, wanted, begin), end, reprocess=Reprocess.MISSING)

    return _once_a_day(context, today, now, "gaps", plan, PollOutcome.DONE)


def _first_lacking(context: BackfillContext, wanted: WantedConnection, begin: date) -> date:
    """The first day before `begin` that is still missing, back to where the look-back began at the onboarding.

    The look-back moves on day by day; a day that failed, or for which nothing ran, would leave it unnoticed.
    """
    onboarding = _last_of_window(context, wanted)
    if onboarding is None:
        return begin
    onboarded = onboarding.plan.end + timedelta(days=1)
    since, _ = wanted.window(onboarded, context.settings.first_day_of(wanted.service))
    if since >= begin:
        return begin
    held = day_objects(context.store, layout.REFINED_15M, wanted.service, wanted.tenant.id)
    return next((day for day in days_between(since, begin) if day not in held), begin)


def _once_a_day(
    context: BackfillContext,
    today: date,
    now: datetime | None,
    kind: str,
    plan_of: Callable[[WantedConnection], BackfillPlan],
    nothing: PollOutcome,
) -> list[str]:
    notes: list[str] = []
    now = now or datetime.now(UTC)

    def name_of(wanted: WantedConnection) -> str:
        return f"{kind}-{wanted.name}-{today - timedelta(days=1)}"

    def is_open(wanted: WantedConnection) -> bool:
        onboarded = load_manifest(context.store, _id(wanted.name)) is not None
        return onboarded and load_manifest(context.store, name_of(wanted)) is None

    def look(wanted: WantedConnection) -> tuple[PollOutcome, str | None]:
        plan = plan_of(wanted)
        if not plan.days:
            return nothing, None
        # Outside of the connection's hours only the manifest is written: `new_connections` launches it.
        may = wanted.may_launch(datetime.now(UTC))
        start(context, plan, backfill_id=name_of(wanted), labels={KIND_TAG: kind}, launch=may)
        return PollOutcome.FOUND, f"{name_of(wanted)}: {len(plan.days)} days"

    looks = Polls(context.store, kind, now, str(today))
    looks.each(_where(looks.due(connections(context, notes)), is_open, notes), look, notes)
    return notes


def _free_days(context: BackfillContext, wanted: WantedConnection, plan: BackfillPlan) -> BackfillPlan:
    """The plan without days that active backfills are at, and without open days that a person has put off."""
    busy, back = _busy(context, wanted), held_back(context, wanted.service, wanted.tenant.id)
    wait = {day for day in back if plan.reasons.get(day) not in (Reason.DONE, Reason.OUTDATED, Reason.INCOMPLETE)}
    return replace(plan, reasons={day: why for day, why in plan.reasons.items() if day not in busy | wait})
