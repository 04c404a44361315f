"""Launches the parts of managed backfills as native ones, as far as capacity allows.

Who looks at the capacity and launches has the places meanwhile (`places`): of a person and a sensor, or two persons, at
the same moment one takes the last place and the other sees it taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import date

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import launch_backfill, register_tenant
from weather_backfill.backfill.manifests import Manifest, ManifestState, load_manifest
from weather_backfill.backfill.plan import Reason
from weather_backfill.backfill.status import MANAGED_TAG, active_backfills, is_active, natives_of
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.storage.conditional import reserved

WAIT_SECONDS = 30.0
"""Longest wait for a reservation that another process has; a killed one's ends by itself on S3 (`LEASE_SECONDS`)."""
SENSOR_WAITS = 10.0
"""A sensor's wait for the places: it comes again soon, and its tick has 60 s."""

Confirm = Callable[[], None]
"""Raises `ConflictError` where the reservation may have ended: called before each launch."""


def unlaunched(context: BackfillContext, manifest: Manifest) -> list[int]:
    """The numbers of the parts without a native backfill; one query of Dagster for all parts."""
    native_ids = {native.backfill_id for native in natives_of(context.instance, manifest.backfill_id)}
    return [n for n in range(len(manifest.parts)) if not manifest.ids_of(n) & native_ids]


def places(context: BackfillContext, wait_seconds: float = WAIT_SECONDS) -> AbstractContextManager[Confirm]:
    """Reserve the places of active backfills while capacity is looked at and used; not to be nested."""
    return reserved(context.store, "launch", wait_seconds)


def capacity(context: BackfillContext) -> int:
    """The number of native backfills that may still be launched; it holds as long as the caller has the `places`."""
    return max(0, context.settings.max_active_backfills - len(active_backfills(context.instance)))


def advance(context: BackfillContext, manifest: Manifest) -> list[str]:
    """Launch waiting parts as far as capacity allows; returns their ids. Safe to call at any time."""
    with places(context) as confirm:
        return advance_within(context, manifest, confirm)


def advance_within(
    context: BackfillContext, manifest: Manifest, confirm: Confirm, most: int | None = None
) -> list[str]:
    """Launch as `advance`, at most so many parts, where the caller has the `places`."""
    manifest = load_manifest(context.store, manifest.backfill_id) or manifest  # the caller's copy may be outdated
    if manifest.state != ManifestState.ACTIVE:
        return []
    register_tenant(context.instance, manifest.plan.service, manifest.plan.tenant)
    launched = []
    for number in unlaunched(context, manifest)[: min(capacity(context), 10**6 if most is None else most)]:
        confirm()
        launched.append(launch_part(context, manifest, manifest.part_id(number), manifest.parts[number]))
    current = load_manifest(context.store, manifest.backfill_id)
    if current and current.state != ManifestState.ACTIVE:  # cancelled or paused meanwhile
        cancel_natives(context, manifest.backfill_id)
    return launched


def cancel_natives(context: BackfillContext, backfill_id: str) -> bool:
    """Ask Dagster to cancel the active native backfills of a managed one; returns whether there were any."""
    active = [native for native in natives_of(context.instance, backfill_id) if is_active(native)]
    for native in active:
        context.instance.update_backfill(native.with_status(BulkActionStatus.CANCELING))
    return bool(active)


def launch_part(context: BackfillContext, manifest: Manifest, native_id: str, days: Sequence[date]) -> str:
    """Launch days of a managed backfill as one native backfill; returns its id."""
    plan = manifest.plan
    return launch_backfill(
        context.instance,
        context.definitions,
        backfill_id=native_id,
        service=plan.service,
        tenant=plan.tenant,
        days=days,
        refined_only={day for day in days if plan.reasons.get(day) is Reason.UNREFINED},
        title=f"{manifest.backfill_id}: {plan.service} of {plan.tenant}, {min(days)} to {max(days)}",
        tags={MANAGED_TAG: manifest.backfill_id, **manifest.labels},
    )
