"""Commands on backfills: start, cancel, pause, resume, retry. The CLI, the sensors and the UI form all call these.

A managed backfill is a manifest in the lake and the native backfills launched for it. Usually that is one; a
chunk smaller than the service's, a resume and a retry add more, all tagged with the managed id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from weather_backfill.backfill.audit import audit, audit_start, person
from weather_backfill.backfill.launch import launch_backfill, native_of, register_tenant
from weather_backfill.backfill.manifests import (
    Manifest,
    ManifestState,
    create_manifest,
    find_manifest,
    held_manifests,
    load_manifest,
    manifests,
    open_manifests,
    save_manifest,
)
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess, chunks_of
from weather_backfill.backfill.status import (
    MANAGED_TAG,
    UNDER_WAY,
    BackfillState,
    Status,
    active_backfills,
    is_active,
    managed_id,
    natives_of,
    service_of,
    status_by,
    status_of,
    target_of,
    write_summary,
)
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.tags import ACCEPT_LOSS_TAG
from weather_backfill.settings import Settings
from weather_backfill.storage.conditional import started_over
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.files import TenantRegistry

KIND_TAG = "weather/kind"
ONBOARDING = "onboarding"
MOST_PARTS = 100
"""Native backfills per managed backfill: every tick asks Dagster for their status."""
_CANCELLED = (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)


@dataclass(frozen=True)
class BackfillContext:
    """The context of every command: Dagster's instance, the definitions, the settings and the lake."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions
    settings: Settings

    @property
    def graph(self) -> Any:
        """The asset graph."""
        return self.definitions.resolve_asset_graph()

    @property
    def store(self) -> ObjectStore:
        """The lake."""
        return open_lake(self.settings)


def validate_range(start: date, end: date, max_days: int) -> None:
    """Raise `ConfigurationError` for a range of UTC days that is backwards, too long or not over yet."""
    today = datetime.now(UTC).date()
    if start > end:
        raise ConfigurationError(f"start date {start} is after end date {end}: swap them.")
    if end >= today:
        raise ConfigurationError(
            f"end date {end} is not over yet (today is {today} UTC): the last whole day is the one before."
        )
    days = (end - start).days + 1
    if days > max_days:
        raise ConfigurationError(
            f"{days} days from {start} to {end} are more than {max_days}: say --max-days {days} if you mean it "
            "(in the form: max_days)."
        )


def busy_days(context: BackfillContext, service: str, tenant: str) -> dict[str, set[date]]:
    """The days of a tenant's service that active backfills have taken, by backfill id; waiting parts count."""
    busy: dict[str, set[date]] = {}
    for native in active_backfills(context.instance):
        if service_of(native) == service:
            days = {key.date for key in target_of(native, context.graph) if key.tenant == tenant}
            busy.setdefault(native.tags.get(MANAGED_TAG, native.backfill_id), set()).update(days)
    for manifest in open_manifests(context.store):
        if (manifest.plan.service, manifest.plan.tenant, manifest.state) == (service, tenant, ManifestState.ACTIVE):
            unlaunched_days = {day for number in unlaunched(context, manifest) for day in manifest.parts[number]}
            busy.setdefault(manifest.backfill_id, set()).update(unlaunched_days)
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


def overlapping(context: BackfillContext, plan: BackfillPlan) -> list[str]:
    """The ids of active backfills that share a day with the plan."""
    planned = set(plan.days)
    return sorted(name for name, days in busy_days(context, plan.service, plan.tenant).items() if days & planned)


def given_up(context: BackfillContext, plan: BackfillPlan) -> dict[str, int]:
    """Count the days that a forced restart of the plan gives up, by id of the active backfill that it cancels."""
    busy, planned = busy_days(context, plan.service, plan.tenant), set(plan.days)
    return {name: len(days - planned) for name, days in sorted(busy.items()) if days & planned}


def start(
    context: BackfillContext,
    plan: BackfillPlan,
    *,
    backfill_id: str | None = None,
    force_restart: bool = False,
    labels: Mapping[str, str] | None = None,
    accept_loss: bool = False,
    launch: bool = True,
) -> str:
    """Write the manifest and launch what capacity allows; returns the managed id.

    Raises `ConfigurationError` if there is nothing to do or an active backfill overlaps (`force_restart` cancels
    that one first, all of it: `given_up`). Idempotent by id: an existing manifest is continued. With
    `accept_loss` days may lose rows that the lake holds and the upstream no longer has. Without `launch` the parts
    wait for the sensor, which shares capacity between tenants.
    """
    if not plan.days:
        raise ConfigurationError(
            f"nothing to do: no day of {plan.tenant} from {plan.start} to {plan.end} is in state '{plan.reprocess}'."
        )
    labels = {**(labels or {}), **({ACCEPT_LOSS_TAG: "true"} if accept_loss else {})}
    name = backfill_id or _free_id(context, plan)
    manifest = find_manifest(context.store, name)
    if manifest is None:
        for other in overlapping(context, plan):
            if not force_restart:
                raise ConfigurationError(
                    f"backfill {other!r} is active over the same days: wait for it, cancel it, or say --force-restart."
                )
            cancel(context, other)
        largest = context.settings.chunk_days_of(plan.service)
        parts = [plan.days] if plan.chunk_days >= largest else few(chunks_of(plan.days, plan.chunk_days))
        manifest = Manifest(name, plan, parts, person(), datetime.now(UTC), labels=labels)
        if not create_manifest(context.store, manifest):  # another process has just written one: start over with it
            return start(
                context, plan, backfill_id=backfill_id, force_restart=force_restart, labels=labels, launch=launch
            )  # fmt: skip
        audit_start(context.store, manifest)
    register_tenant(context.instance, manifest.plan.service, manifest.plan.tenant)
    if launch:
        advance(context, manifest)
    write_summary(context.instance, context.graph, context.store, manifest)
    return name


def few(chunks: list[list[date]]) -> list[list[date]]:
    """Merge neighbouring chunks into at most `MOST_PARTS` parts, in their order."""
    size = -(-len(chunks) // MOST_PARTS) or 1
    return [[day for chunk in chunks[n : n + size] for day in chunk] for n in range(0, len(chunks), size)]


def _free_id(context: BackfillContext, plan: BackfillPlan) -> str:
    """A readable id, `<service>-<tenant>-<start>-<end>-<n>` with the next free number."""
    base = f"{plan.service}-{plan.tenant}-{plan.start:%Y%m%d}-{plan.end:%Y%m%d}"
    number = 1
    while find_manifest(context.store, f"{base}-{number}") or native_of(context.instance, f"{base}-{number}"):
        number += 1
    return f"{base}-{number}"


def unlaunched(context: BackfillContext, manifest: Manifest) -> list[int]:
    """The numbers of the parts without a native backfill; one query of Dagster for all parts."""
    native_ids = {native.backfill_id for native in natives_of(context.instance, manifest.backfill_id)}
    return [n for n in range(len(manifest.parts)) if not manifest.ids_of(n) & native_ids]


def capacity(context: BackfillContext) -> int:
    """The number of native backfills that may still be launched; two processes may both take the last place."""
    return max(0, context.settings.max_active_backfills - len(active_backfills(context.instance)))


def advance(context: BackfillContext, manifest: Manifest, most: int | None = None) -> list[str]:
    """Launch waiting parts as far as capacity (and `most`) allows; returns their ids. Safe to call at any time."""
    manifest = load_manifest(context.store, manifest.backfill_id) or manifest  # the caller's copy may be outdated
    if manifest.state != ManifestState.ACTIVE:
        return []
    register_tenant(context.instance, manifest.plan.service, manifest.plan.tenant)
    launched = []
    for number in unlaunched(context, manifest)[: min(capacity(context), 10**6 if most is None else most)]:
        launched.append(_launch(context, manifest, manifest.part_id(number), manifest.parts[number]))
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


def _launch(context: BackfillContext, manifest: Manifest, native_id: str, days: Sequence[date]) -> str:
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


def cancel(context: BackfillContext, backfill_id: str, *, action: str = "cancel") -> Status:
    """Ask Dagster to cancel a backfill: finished days stay, the day in progress is finished or dropped whole.

    Raises `ConfigurationError` if there is no such backfill or it has ended.
    """
    backfill_id = managed_id(context.instance, backfill_id)
    state = ManifestState.PAUSED if action == "pause" else ManifestState.CANCELED

    def decide(manifest: Manifest | None) -> None:
        before = status_by(context.instance, context.graph, context.store, backfill_id, manifest)
        undone = manifest and manifest.state == ManifestState.CANCELED and state == ManifestState.PAUSED
        if undone or before.status not in (*UNDER_WAY, BackfillState.PAUSED):
            raise ConfigurationError(f"backfill {backfill_id!r} has ended already: there is nothing to {action}.")
        manifest = manifest or _adopt(context, backfill_id)  # so that its days stay cancelled
        save_manifest(context.store, replace(manifest, state=state))

    # Of two who decide at once the second sees what the first has decided: what is cancelled is not paused.
    started_over(lambda: decide(find_manifest(context.store, backfill_id)))
    cancel_natives(context, backfill_id)
    status = status_of(context.instance, context.graph, context.store, backfill_id)
    audit(context.store, action, backfill_id=backfill_id, outcome=status.status, rows=status.rows)
    return status


def pause(context: BackfillContext, backfill_id: str) -> Status:
    """Pause a backfill: like `cancel`, but `resume` continues with the days that are not done."""
    return cancel(context, backfill_id, action="pause")


def resume(context: BackfillContext, backfill_id: str) -> Status:
    """Resume a paused or cancelled backfill with the days that are not done.

    Raises `ConfigurationError` if it is not paused, while it is still pausing, and where the connection is gone or off.
    """
    backfill_id = managed_id(context.instance, backfill_id)
    manifest = find_manifest(context.store, backfill_id)
    if manifest is None or (manifest.state == ManifestState.ACTIVE and not _cut_short(context, manifest)):
        raise ConfigurationError(
            f"backfill {backfill_id!r} is not paused: `weather-backfill pause {backfill_id}` first."
        )
    return _continue(context, manifest, "resume", only_failed=False)


def _cut_short(context: BackfillContext, manifest: Manifest) -> bool:
    """True if it or a part was cancelled in Dagster, or a resume died before it launched."""
    return (
        bool(manifest.put_off)
        or status_of(context.instance, context.graph, context.store, manifest.backfill_id).status
        == BackfillState.CANCELED
    )


def retry(context: BackfillContext, backfill_id: str) -> Status:
    """Launch the failed days again, raw and refined.

    Raises `ConfigurationError` if none have failed, while the backfill is active or paused, and where the connection
    is gone or off.
    """
    backfill_id = managed_id(context.instance, backfill_id)
    manifest = find_manifest(context.store, backfill_id) or _adopt(context, backfill_id)
    if manifest.state == ManifestState.PAUSED:
        raise ConfigurationError(
            f"backfill {backfill_id!r} is paused: `weather-backfill resume {backfill_id}` takes its failed days too."
        )
    return _continue(context, manifest, "retry", only_failed=True)


def _continue(context: BackfillContext, manifest: Manifest, action: str, *, only_failed: bool) -> Status:
    TenantRegistry(open_tenant_files(context.settings)).get(manifest.plan.tenant).switched_on(manifest.plan.service)
    status = status_of(context.instance, context.graph, context.store, manifest.backfill_id)
    natives = natives_of(context.instance, manifest.backfill_id)
    if any(is_active(native) for native in natives):
        raise ConfigurationError(
            f"backfill {manifest.backfill_id!r} is still {status.status}: wait until it has ended, then {action} it."
        )
    days = sorted(status.failed) if only_failed else [day for day in status.days if day not in status.done]
    if not days:
        raise ConfigurationError(
            f"backfill {manifest.backfill_id!r} has no {'failed' if only_failed else 'open'} days."
            + (f" `weather-backfill resume {manifest.backfill_id}` goes on with those not done." if only_failed else "")
        )
    # Days that were launched and cut short become one more part; parts that never started keep their own.
    waiting = {day for number in unlaunched(context, manifest) for day in manifest.parts[number]}
    if relaunched := days if only_failed else [day for day in days if day not in waiting]:
        if not capacity(context):
            raise ConfigurationError(
                f"{context.settings.max_active_backfills} backfills are active, the limit: wait for one to end."
            )
        _launch(context, manifest, f"{manifest.backfill_id}.{action}{len(natives)}", relaunched)
    manifest = _continued(context, manifest, set(days), only_failed=only_failed)
    advance(context, manifest, most=0 if only_failed else None)
    audit(context.store, action, backfill_id=manifest.backfill_id, days=len(days), outcome="accepted")
    return write_summary(context.instance, context.graph, context.store, manifest)


def _continued(context: BackfillContext, manifest: Manifest, days: set[date], *, only_failed: bool) -> Manifest:
    """Save that these days go on; a person who has paused or cancelled it since it was read is obeyed instead."""

    def change(current: Manifest) -> Manifest:
        if current.state not in (manifest.state, ManifestState.ACTIVE):
            cancel_natives(context, manifest.backfill_id)
            raise ConfigurationError(f"backfill {manifest.backfill_id!r} has just been {current.state}: it stays so.")
        # Retrying the failed days of a cancelled backfill does not resume the rest.
        state = current.state if only_failed else ManifestState.ACTIVE
        return replace(current, state=state, put_off=current.put_off - days)

    def save() -> Manifest:
        return save_manifest(context.store, change(find_manifest(context.store, manifest.backfill_id) or manifest))

    return started_over(save)


def _adopt(context: BackfillContext, backfill_id: str) -> Manifest:
    """Write a manifest for a backfill that was launched elsewhere, so that it can be managed."""
    status = status_of(context.instance, context.graph, context.store, backfill_id)
    days = sorted(status.days)
    plan = BackfillPlan(
        status.service, status.tenant, days[0], days[-1], Reprocess.ALL, Order.OLDEST,
        context.settings.chunk_days_of(status.service), dict.fromkeys(days, Reason.MISSING), 0, 0, 0, 0.0, False,
    )  # fmt: skip
    manifest = Manifest(backfill_id, plan, [days], "dagster", status.started_at)
    return save_manifest(context.store, manifest)
