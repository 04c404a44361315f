"""Reconciles every connection with its desired state. Keeps no state of its own; daily loads and gaps: `daily.py`.

The desired state follows from the tenant files and the clock, the actual state from the manifests and Dagster's
backfills. Ids are deterministic and launching is idempotent, so the next tick completes one that died anywhere.
Upstreams are polled last and with short deadlines (`polling`): no other connection waits for a server that does not
answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial

from weather_backfill.backfill.audit import audit, audit_start
from weather_backfill.backfill.commands import KIND_TAG, ONBOARDING, start
from weather_backfill.backfill.connection_plans import plan_of
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.desired_state import EVERYBODY, WantedConnection, Wants, connections, where
from weather_backfill.backfill.file_looks import FileLooks
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
from weather_backfill.backfill.onboardings import LOOKBACK, label_of, last_of_window, onboarding_id, onboardings
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess
from weather_backfill.backfill.polling import PollOutcome, Polls, note_of
from weather_backfill.backfill.status import BackfillState, active_backfills, status_of, write_summary
from weather_backfill.backfill.stopping import stop_tenant
from weather_backfill.backfill.taken_days import clicked_away
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConflictError, StorageUnavailableError
from weather_backfill.model.partitions import tenants_partition_name
from weather_backfill.model.tags import TENANT_TAG
from weather_backfill.sources.registry import SERVICES


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
    new = where(wanted.values(), lambda connection: last_of_window(context, connection) is None, notes)
    if polls.each(polls.due(new), lambda connection: _onboarding(context, connection, today), notes):
        launched_now, waiting = _launch(context, wanted, now)
        launched += launched_now
    return notes + launched + waiting


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
            earlier = {m.backfill_id: m for m in onboardings(context, f"{tenant}-{service}")}
            among = {m.backfill_id: m for m in unfinished} | earlier
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


def _onboarding(context: BackfillContext, wanted: WantedConnection, today: date) -> tuple[PollOutcome, str | None]:
    """Write the manifest of a connection's onboarding over the missing days of its window."""
    earlier, label = onboardings(context, wanted.name), label_of(wanted)
    begin, end = wanted.window(today, context.settings.first_day_of(wanted.service))
    plan = plan_of(
        context, wanted, begin, end, reprocess=Reprocess.MISSING, order=Order.NEWEST,
        chunk_days=wanted.connection.chunk_days,
    )  # fmt: skip
    if not plan.days and earlier:  # nothing to do: the last onboarding counts for this window too
        update_manifest(context.store, earlier[-1].backfill_id, partial(_covering, label), reopen=False)
    if not plan.days:
        note = f"{wanted.name}: nothing to load from {begin} to {end}: {_why(plan)}"
        return (PollOutcome.FOUND if earlier else PollOutcome.NOTHING), note
    name = onboarding_id(wanted.name, len(earlier))
    start(context, plan, backfill_id=name, labels={KIND_TAG: ONBOARDING, LOOKBACK: label}, launch=False)
    return PollOutcome.FOUND, f"{wanted.name}: onboarding {len(plan.days)} days"


def _covering(label: str, last: Manifest) -> Manifest:
    """The connection's last onboarding, now of this look-back too; paused or cancelled it stays so."""
    state = ManifestState.ACTIVE if last.state == ManifestState.STOPPED else last.state
    return replace(last, state=state, labels={**last.labels, LOOKBACK: label})


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
