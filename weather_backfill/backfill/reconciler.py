"""Reconciles every connection with its desired state: onboarding, daily loads, gaps. Keeps no state of its own.

The desired state follows from the tenant files and the clock, the actual state from the manifests and Dagster's
backfills. Ids are deterministic and launching is idempotent, so the next tick completes one that died anywhere.
Upstreams are polled last and with short deadlines (`polling`): no other connection waits for a server that does not
answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from weather_backfill.backfill.audit import audit, audit_start
from weather_backfill.backfill.commands import KIND_TAG, ONBOARDING, start
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.desired_state import EVERYBODY, WantedConnection, Wants, connections
from weather_backfill.backfill.file_looks import FileLooks
from weather_backfill.backfill.footer_cache import remembered_refined
from weather_backfill.backfill.launching import (
    SENSOR_WAITS,
    Confirm,
    advance_within,
    capacity,
    places,
    unlaunched,
)
from weather_backfill.backfill.manifests import (
    Manifest,
    ManifestState,
    load_manifest,
    open_manifests,
    save_manifest,
    update_manifest,
)
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess, build_plan
from weather_backfill.backfill.polling import PollOutcome, Polls, note_of
from weather_backfill.backfill.status import BackfillState, active_backfills, status_of, write_summary
from weather_backfill.backfill.stopping import stop_tenant
from weather_backfill.backfill.taken_days import busy_days, clicked_away, held_back
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.errors import ConflictError, StorageUnavailableError
from weather_backfill.model.partitions import days_between, tenants_partition_name
from weather_backfill.model.tags import TENANT_TAG
from weather_backfill.sources.registry import SERVICES
from weather_backfill.tenants.access import open_source

_LOOKBACK = "weather/lookback"


def onboard(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """Run one reconciling pass: launch what is missing as far as capacity allows.

    Returns notes for the tick: what happened, and what waits and why.
    """
    context.claim()
    notes: list[str] = []
    broken: set[str] = set()
    now = now or datetime.now(UTC)
    looks = FileLooks(context.store, ONBOARDING)
    wanted = {(w.tenant.id, w.service): w for w in connections(context, notes, broken, looks)}
    notes += _stop_unwanted(context, wanted, broken)
    notes += _settle(context)
    launched, waiting = _launch(context, wanted, now)
    polls = Polls(context.store, ONBOARDING, now)
    new = _where(wanted.values(), lambda connection: _last_of_window(context, connection) is None, notes)
    if polls.each(polls.due(new), lambda connection: _onboarding(context, connection, today), notes):
        launched_now, waiting = _launch(context, wanted, now)
        launched += launched_now
    return notes + launched + waiting


def _where(
    candidates: Iterable[WantedConnection], predicate: Callable[[WantedConnection], bool], notes: list[str]
) -> list[WantedConnection]:
    """The connections for which the predicate is true; one whose predicate raises is reported in `notes`."""
    matching = []
    for connection in candidates:
        try:
            if predicate(connection):
                matching.append(connection)
        except Exception as error:  # one tenant's error must not stop the others
            notes.append(note_of(connection.name, error))
    return matching


def _launch(context: BackfillContext, wanted: Wants, now: datetime) -> tuple[list[str], list[str]]:
    """Launch waiting parts as far as capacity allows; returns notes of what was launched, and of what waits and why."""
    waits: list[str] = []
    waiting = [m for m in open_manifests(context.store) if m.state == ManifestState.ACTIVE and unlaunched(context, m)]
    launched = _share(context, [m for m in waiting if _may_launch(m, wanted, now, waits)], wanted, waits)
    return launched, waits


def _stop_unwanted(context: BackfillContext, wanted: Wants, broken: set[str]) -> list[str]:
    """Stop the backfills of connections that are gone or switched off. A broken file is neither: it gets corrected."""
    if EVERYBODY in broken:
        return []
    registered = {
        (tenant, service)
        for service in SERVICES
        for tenant in context.instance.get_dynamic_partitions(tenants_partition_name(service))
    }
    unfinished = open_manifests(context.store)
    registered |= {(m.plan.tenant, m.plan.service) for m in unfinished}
    notes: list[str] = []
    for tenant, service in sorted(registered - set(wanted)):
        if tenant in broken:
            continue
        try:
            onboardings = {m.backfill_id: m for m in _earlier(context, f"{tenant}-{service}")}
            among = {m.backfill_id: m for m in unfinished} | onboardings
            stopped = stop_tenant(context, tenant, {service}, among.values())
            notes += [f"{name}: stopped, its connection is gone or switched off" for name in stopped]
        except Exception as error:  # one damaged manifest must not stop the others
            notes.append(note_of(f"{tenant}-{service}", error))
    return notes


def _settle(context: BackfillContext) -> list[str]:
    """Update the summaries of backfills that have not ended, and audit the ends."""
    notes = []
    for manifest in open_manifests(context.store):
        try:
            notes += _settle_one(context, manifest)
        except Exception as error:  # one damaged file must not stop the others
            notes.append(note_of(manifest.backfill_id, error))
    return notes


def _settle_one(context: BackfillContext, manifest: Manifest) -> list[str]:
    name = manifest.backfill_id
    manifest = load_manifest(context.store, name) or manifest  # a person may have changed it since the listing
    if not context.store.exists(layout.summary_key(name)):
        audit_start(context.store, manifest)  # whoever wrote the manifest may have died before this
    if manifest.state == ManifestState.ACTIVE:
        manifest = _with_cancelled(context, manifest)
    status = write_summary(context.instance, context.graph, context.store, manifest)
    if not status.ended_at:
        return []
    audit(context.store, "ended", backfill_id=name, outcome=status.status, rows=status.rows)
    return [f"{name}: {status.status}"]


def _with_cancelled(context: BackfillContext, manifest: Manifest) -> Manifest:
    """Record in the manifest the days that clicks in Dagster have cancelled, so that they stay cancelled.

    This comes before the summary, which may close the backfill: a kill in between then loses no cancellation.
    """
    clicked = clicked_away(context, manifest)
    if not clicked and not manifest.put_off:
        return manifest
    status = status_of(context.instance, context.graph, context.store, manifest.backfill_id)
    days = frozenset(clicked - status.done)
    # Days of other parts that have failed are nobody's decision, so they keep the backfill from being cancelled.
    whole = status.ended_at and status.status == BackfillState.CANCELED and set(status.days) - status.done <= days
    updated = replace(
        manifest,
        state=ManifestState.CANCELED if whole else ManifestState.ACTIVE,
        put_off=frozenset() if whole else days,
    )
    if updated == manifest:
        return updated
    try:
        return save_manifest(context.store, updated)
    except ConflictError:  # a person has changed it meanwhile
        return load_manifest(context.store, manifest.backfill_id) or manifest


def _may_launch(manifest: Manifest, wanted: Wants, now: datetime, notes: list[str]) -> bool:
    """Return whether a waiting backfill's connection still exists and allows launches at this hour; else add a note."""
    connection = wanted.get((manifest.plan.tenant, manifest.plan.service))
    if connection is None:
        notes.append(f"{manifest.backfill_id} waits: its tenant's file is broken, or was not so at the last look")
        return False
    if not connection.may_launch(now):
        notes.append(f"{manifest.backfill_id} waits for {connection.connection.off_peak}")
        return False
    return True


def _last_of_window(context: BackfillContext, wanted: WantedConnection) -> Manifest | None:
    """The latest onboarding over the connection's present look-back, if there is one."""
    onboardings = [
        m
        for m in _earlier(context, wanted.name)
        if m.labels.get(_LOOKBACK) == _label(wanted) and m.state != ManifestState.STOPPED
    ]
    return onboardings[-1] if onboardings else None


def _label(wanted: WantedConnection) -> str:
    return f"{wanted.connection.lookback_days}/{wanted.connection.first_day or ''}"


def _onboarding(context: BackfillContext, wanted: WantedConnection, today: date) -> tuple[PollOutcome, str | None]:
    """Write the manifest of a connection's onboarding over the missing days of its window."""
    earlier, label = _earlier(context, wanted.name), _label(wanted)
    begin, end = wanted.window(today, context.settings.first_day_of(wanted.service))
    plan = _plan(
        context, wanted, begin, end, reprocess=Reprocess.MISSING, order=Order.NEWEST,
        chunk_days=wanted.connection.chunk_days,
    )  # fmt: skip
    if not plan.days and earlier:  # nothing to do: the last onboarding counts for this window too
        update_manifest(context.store, earlier[-1].backfill_id, partial(_covering, label), reopen=False)
    if not plan.days:
        note = f"{wanted.name}: nothing to load from {begin} to {end}: {_why(plan)}"
        return (PollOutcome.FOUND if earlier else PollOutcome.NOTHING), note
    name = _id(wanted.name, len(earlier))
    start(context, plan, backfill_id=name, labels={KIND_TAG: ONBOARDING, _LOOKBACK: label}, launch=False)
    return PollOutcome.FOUND, f"{wanted.name}: onboarding {len(plan.days)} days"


def _covering(label: str, last: Manifest) -> Manifest:
    """The connection's last onboarding, now of this look-back too; paused or cancelled it stays so."""
    state = ManifestState.ACTIVE if last.state == ManifestState.STOPPED else last.state
    return replace(last, state=state, labels={**last.labels, _LOOKBACK: label})


def _plan(context: BackfillContext, wanted: WantedConnection, begin: date, end: date, **how: Any) -> BackfillPlan:
    """Plan a range with short upstream deadlines, without days that are taken or held."""
    settings = context.settings
    source = partial(
        open_source, wanted.tenant, wanted.service, context.store, settings.s3, settings, hurry=True
    )  # fmt: skip
    plan = build_plan(
        context.instance, settings, wanted.tenant, wanted.service, begin, end, opened=source, **how
    )  # fmt: skip
    return _free_days(context, wanted, plan)


def _busy(context: BackfillContext, wanted: WantedConnection) -> set[date]:
    """The days that active backfills of the connection have taken."""
    return set().union(*busy_days(context, wanted.service, wanted.tenant.id).values())


def _id(connection: str, again: int = 0) -> str:
    return f"{layout.ONBOARD}{connection}" + (f".again{again}" if again else "")


def _earlier(context: BackfillContext, connection: str) -> list[Manifest]:
    """The connection's onboardings so far, each read by its id: the cost does not grow with the lake's history."""
    onboardings: list[Manifest] = []
    while manifest := load_manifest(context.store, _id(connection, len(onboardings))):
        onboardings.append(manifest)
    return onboardings


def _why(plan: BackfillPlan) -> str:
    if not plan.reasons:
        return "its days are being loaded, or were put off by a person"
    none = sum(reason is Reason.NO_UPSTREAM for reason in plan.reasons.values())
    if none == len(plan.reasons):
        return f"none of the {none} days has upstream data (older data needs a longer lookback_days)"
    return f"{none} of {len(plan.reasons)} days have no upstream data, the others are done"


def _share(context: BackfillContext, waiting: list[Manifest], wanted: Wants, waits: list[str]) -> list[str]:
    """Launch part after part until capacity is used up, by priority, then to the tenant with the fewest active."""
    if not waiting:
        return []
    try:
        with places(context, SENSOR_WAITS) as confirm:
            return _share_places(context, waiting, wanted, waits, confirm)
    except (StorageUnavailableError, ConflictError) as error:  # the next tick comes soon
        return [f"{len(waiting)} wait for the next tick: {error}"]


def _share_places(
    context: BackfillContext, waiting: list[Manifest], wanted: Wants, waits: list[str], confirm: Confirm
) -> list[str]:
    notes: list[str] = []
    active = Counter(native.tags.get(TENANT_TAG) for native in active_backfills(context.instance))
    unlaunched_parts = {m.backfill_id: len(unlaunched(context, m)) for m in waiting}

    def rank(manifest: Manifest) -> tuple[int, int, int, datetime]:
        priority_name = wanted[(manifest.plan.tenant, manifest.plan.service)].connection.priority
        priority = context.settings.priority(priority_name)
        launched = len(manifest.parts) - unlaunched_parts[manifest.backfill_id]
        return -priority, active[manifest.plan.tenant], launched, manifest.created_at

    queue = list(waiting)
    while queue and capacity(context):
        manifest = min(queue, key=rank)
        try:
            launched = advance_within(context, manifest, confirm, most=1)
        except Exception as error:  # one tenant's error must not stop the others
            notes.append(note_of(manifest.backfill_id, error))
            launched = []
        notes += [f"launched {name}" for name in launched]
        active[manifest.plan.tenant] += len(launched)
        unlaunched_parts[manifest.backfill_id] -= len(launched)
        if not launched or not unlaunched_parts[manifest.backfill_id]:
            queue.remove(manifest)
    if queue:
        names = ", ".join(m.backfill_id for m in queue[:10])
        waits.append(f"{len(queue)} wait, {context.settings.max_active_backfills} backfills are active: {names}")
    return notes


def load_daily(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """Load yesterday and the late days before it (UTC) for every onboarded connection; returns notes for the tick.

    Days of an active backfill are left to it: nothing is loaded twice, and no day is left out.
    """
    late = timedelta(days=context.settings.late_days)

    def plan(wanted: WantedConnection) -> BackfillPlan:
        # However short its look-back, data of the days before may come late, but none from before `first_day`.
        end = today - timedelta(days=1)
        begin = max(end - late, wanted.connection.first_day or date.min, context.settings.first_day_of(wanted.service))
        return _plan(context, wanted, begin, end, reprocess=Reprocess.ALL, order=Order.OLDEST)

    return _once_a_day(context, today, now, "daily", plan, PollOutcome.NOTHING)  # yesterday's data may be late


def fill_gaps(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """Load the days that the lake lacks of every onboarded connection; returns notes for the tick.

    Days that a person has paused or cancelled stay as they are. A connection that lacks nothing is not polled again
    that night.
    """

    def plan(wanted: WantedConnection) -> BackfillPlan:
        begin, end = wanted.window(today, context.settings.first_day_of(wanted.service))
        return _plan(context, wanted, _first_lacking(context, wanted, begin), end, reprocess=Reprocess.MISSING)

    return _once_a_day(context, today, now, "gaps", plan, PollOutcome.DONE)


def _first_lacking(context: BackfillContext, wanted: WantedConnection, begin: date) -> date:
    """The first missing day before `begin`, back to where the look-back began at the onboarding; else `begin`.

    The look-back moves on by a day each day: a day that failed, or for which nothing ran, would drop out unnoticed.
    """
    onboarding = _last_of_window(context, wanted)
    if onboarding is None:
        return begin
    onboarded = onboarding.plan.end + timedelta(days=1)
    since, _ = wanted.window(onboarded, context.settings.first_day_of(wanted.service))
    if since >= begin:
        return begin
    refined = day_objects(context.store, layout.REFINED_15M, wanted.service, wanted.tenant.id)
    earlier = days_between(since, begin)
    made = remembered_refined(context.store, {day: refined[day] for day in earlier if day in refined})
    return next((day for day in earlier if day not in made or made[day].problem), begin)


def _once_a_day(
    context: BackfillContext,
    today: date,
    now: datetime | None,
    kind: str,
    plan_of: Callable[[WantedConnection], BackfillPlan],
    nothing: PollOutcome,
) -> list[str]:
    context.claim()
    notes: list[str] = []
    now = now or datetime.now(UTC)

    def name_of(wanted: WantedConnection) -> str:
        return f"{kind}-{wanted.name}-{today - timedelta(days=1)}"

    def is_open(wanted: WantedConnection) -> bool:
        onboarded = load_manifest(context.store, _id(wanted.name)) is not None
        return onboarded and load_manifest(context.store, name_of(wanted)) is None

    def poll(wanted: WantedConnection) -> tuple[PollOutcome, str | None]:
        plan = plan_of(wanted)
        if not plan.days:
            return nothing, None
        # Outside of the connection's hours only the manifest is written: `new_connections` launches it later.
        launch = wanted.may_launch(datetime.now(UTC))
        start(context, plan, backfill_id=name_of(wanted), labels={KIND_TAG: kind}, launch=launch)
        return PollOutcome.FOUND, f"{name_of(wanted)}: {len(plan.days)} days"

    polls = Polls(context.store, kind, now, str(today))
    files = connections(context, notes, looks=FileLooks(context.store, kind))
    polls.each(_where(polls.due(files), is_open, notes), poll, notes)
    return notes


def _free_days(context: BackfillContext, wanted: WantedConnection, plan: BackfillPlan) -> BackfillPlan:
    """The plan without days that active backfills have taken, and without unfinished days that a person holds."""
    busy, held = _busy(context, wanted), held_back(context, wanted.service, wanted.tenant.id)
    deferred = {day for day in held if plan.reasons.get(day) not in (Reason.DONE, Reason.OUTDATED, Reason.INCOMPLETE)}
    return replace(plan, reasons={day: why for day, why in plan.reasons.items() if day not in busy | deferred})
