"""Stops the backfills of connections that are gone or switched off."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from weather_backfill.backfill.audit import audit
from weather_backfill.backfill.commands import KIND_TAG, ONBOARDING
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launching import cancel_natives
from weather_backfill.backfill.manifests import Manifest, ManifestState, live_manifests, update_manifest


def stop(context: BackfillContext, manifest: Manifest) -> None:
    """Stop a backfill whose connection is gone or switched off: nothing more is launched, finished days stay."""

    def stopped(current: Manifest) -> Manifest:
        return replace(current, state=ManifestState.STOPPED) if _to_stop(current) else current

    if update_manifest(context.store, manifest.backfill_id, stopped, reopen=False).state != ManifestState.STOPPED:
        return  # somebody has decided otherwise since the caller read it
    if cancel_natives(context, manifest.backfill_id):
        audit(context.store, "stop", backfill_id=manifest.backfill_id, outcome="its connection is gone or switched off")


def stop_tenant(
    context: BackfillContext, tenant: str, services: Collection[str] | None = None,
    among: Iterable[Manifest] | None = None,
) -> list[str]:  # fmt: skip
    """Stop a tenant's backfills (of `services` only, `among` these manifests only); returns their ids."""
    to_stop = [
        m
        for m in (live_manifests(context.store) if among is None else among)
        if m.plan.tenant == tenant and (services is None or m.plan.service in services) and _to_stop(m)
    ]
    for manifest in to_stop:
        stop(context, manifest)
    return [manifest.backfill_id for manifest in to_stop]


def _to_stop(manifest: Manifest) -> bool:
    """True for active backfills, and for onboardings in any state, so that a connection that returns starts anew."""
    return manifest.state == ManifestState.ACTIVE or (
        manifest.labels.get(KIND_TAG) == ONBOARDING and manifest.state != ManifestState.STOPPED
    )
