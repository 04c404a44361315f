"""The days of a connection that are taken: by active backfills, or put off by a person.

A manifest takes its days. Who looks whether days are free and writes one has the connection's days meanwhile
(`reserved_days`), so that of two that start over the same days at once one is refused, by the other one's name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from datetime import date

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launching import WAIT_SECONDS, Confirm, unlaunched
from weather_backfill.backfill.manifests import Manifest, ManifestState, held_manifests, manifests, open_manifests
from weather_backfill.backfill.plan import BackfillPlan
from weather_backfill.backfill.status import (
    MANAGED_TAG,
    active_backfills,
    natives_of,
    service_of,
    status_of,
    target_of,
)
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.storage.conditional import reserved

_CANCELLED = (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)


def reserved_days(context: BackfillContext, service: str, tenant: str) -> AbstractContextManager[Confirm]:
    """Reserve a connection's days while they are looked at and taken; not to be nested, nor within `places`."""
    return reserved(context.store, f"days/{service}/{tenant}", WAIT_SECONDS)


def busy_days(context: BackfillContext, service: str, tenant: str) -> dict[str, set[date]]:
    """The days of a tenant's service that active backfills have taken, by backfill id; waiting parts count.

    Waiting parts are looked at first: one that is launched meanwhile is among the active ones then, never in neither.
    """
    busy: dict[str, set[date]] = {}
    for manifest in open_manifests(context.store):
        if (manifest.plan.service, manifest.plan.tenant, manifest.state) == (service, tenant, ManifestState.ACTIVE):
            unlaunched_days = {day for number in unlaunched(context, manifest) for day in manifest.parts[number]}
            busy.setdefault(manifest.backfill_id, set()).update(unlaunched_days)
    for native in active_backfills(context.instance):
        if service_of(native) == service:
            days = {key.date for key in target_of(native, context.graph) if key.tenant == tenant}
            busy.setdefault(native.tags.get(MANAGED_TAG, native.backfill_id), set()).update(days)
    return busy


def held_back(context: BackfillContext, service: str, tenant: str) -> set[date]:
    """The days that a person has paused or cancelled last, which automation therefore does not load."""

    def of_connection(candidates: Iterable[Manifest]) -> list[Manifest]:
        return [m for m in candidates if (m.plan.service, m.plan.tenant) == (service, tenant)]

    # A part that was cancelled since the last tick is in no manifest yet.
    active = [m for m in of_connection(open_manifests(context.store)) if m.state == ManifestState.ACTIVE]
    just_cancelled = {m.backfill_id: cancelled_days(context, m) for m in active}
    if not of_connection(held_manifests(context.store)) and not any(just_cancelled.values()):
        return set()  # nearly always: the whole history is read only where something is held
    held: dict[date, bool] = {}
    for manifest in of_connection(manifests(context.store)):  # oldest first: the last one decides
        whole = manifest.state in (ManifestState.PAUSED, ManifestState.CANCELED)
        some = manifest.put_off | just_cancelled.get(manifest.backfill_id, set())
        held |= {day: whole or day in some for part in manifest.parts for day in part}
    return {day for day, is_held in held.items() if is_held}


def cancelled_days(context: BackfillContext, manifest: Manifest) -> set[date]:
    """The days that were cancelled by a click in Dagster (`clicked_away`) and are not done."""
    days = clicked_away(context, manifest)
    return days and days - status_of(context.instance, context.graph, context.store, manifest.backfill_id).done


def clicked_away(context: BackfillContext, manifest: Manifest) -> set[date]:
    """The days of a managed backfill whose last native backfill was cancelled by a click in Dagster."""
    natives = natives_of(context.instance, manifest.backfill_id)
    days: set[date] = set()
    for native in natives if any(n.status in _CANCELLED for n in natives) else ():
        target = {key.date for key in target_of(native, context.graph)}
        days = days | target if native.status in _CANCELLED else days - target
    return days


def overlapping(context: BackfillContext, service: str, tenant: str, days: Collection[date]) -> list[str]:
    """The ids of active backfills of a connection that have taken one of these days."""
    wanted = set(days)
    return sorted(name for name, taken in busy_days(context, service, tenant).items() if taken & wanted)


def given_up(context: BackfillContext, plan: BackfillPlan) -> dict[str, int]:
    """Count the days that a forced restart of the plan gives up, by id of the active backfill that it cancels."""
    busy, planned = busy_days(context, plan.service, plan.tenant), set(plan.days)
    return {name: len(days - planned) for name, days in sorted(busy.items()) if days & planned}
