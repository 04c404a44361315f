"""Commands on backfills: start, cancel, pause, resume, retry. The CLI, the sensors and the UI form all call these.

A managed backfill is a manifest in the lake and the native backfills launched for it. Usually that is one; a
chunk smaller than the service's, a resume and a retry add more, all tagged with the managed id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

from weather_backfill.backfill.acceptances import accepted_now
from weather_backfill.backfill.audit import audit, audit_start, person
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.footer_cache import remembered
from weather_backfill.backfill.launch import native_of, register_tenant
from weather_backfill.backfill.launching import advance, cancel_natives, capacity, launch_part, places, unlaunched
from weather_backfill.backfill.manifests import (
    Manifest,
    ManifestState,
    create_manifest,
    find_manifest,
    save_manifest,
)
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess, chunks_of
from weather_backfill.backfill.status import (
    UNDER_WAY,
    BackfillState,
    Status,
    is_active,
    managed_id,
    natives_of,
    status_by,
    status_of,
    write_summary,
)
from weather_backfill.backfill.taken_days import overlapping, reserved_days
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.errors import ConfigurationError, ConflictError
from weather_backfill.model.tags import ACCEPT_LOSS_TAG, FILL_TAG
from weather_backfill.storage.conditional import started_over
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry

KIND_TAG = "weather/kind"
ONBOARDING = "onboarding"
MOST_PARTS = 100
"""Native backfills per managed backfill: every tick asks Dagster for their status."""


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
    context.claim()
    if not plan.days:
        raise ConfigurationError(
            f"nothing to do: no day of {plan.tenant} from {plan.start} to {plan.end} is in state '{plan.reprocess}'."
        )
    # Who asks for all reads all anew; else what the lake has of a day is kept, and only what lacks is read.
    fills = {} if plan.reprocess is Reprocess.ALL else {FILL_TAG: "true"}
    labels = {**(labels or {}), **fills, **({ACCEPT_LOSS_TAG: "true"} if accept_loss else {})}
    manifest = started_over(lambda: _manifest_for(context, plan, backfill_id, labels, force_restart))
    register_tenant(context.instance, manifest.plan.service, manifest.plan.tenant)
    if launch:
        advance(context, manifest)
    write_summary(context.instance, context.graph, context.store, manifest)
    return manifest.backfill_id


def _manifest_for(
    context: BackfillContext, plan: BackfillPlan, backfill_id: str | None, labels: Mapping[str, str], force: bool
) -> Manifest:
    """The manifest of an id (default: a free one), written if there is none and the plan's days are free."""
    with reserved_days(context, plan.service, plan.tenant) as confirm:
        name = backfill_id or _free_id(context, plan)
        if existing := find_manifest(context.store, name):
            return existing
        for other in overlapping(context, plan.service, plan.tenant, plan.days):
            if not force:
                raise ConfigurationError(
                    f"backfill {other!r} is active over the same days: wait for it, cancel it, or say --force-restart."
                )
            cancel(context, other)
        largest = context.settings.chunk_days_of(plan.service)
        parts = [plan.days] if plan.chunk_days >= largest else few(chunks_of(plan.days, plan.chunk_days))
        now, here = datetime.now(UTC), context.installation
        manifest = Manifest(name, plan, parts, person(), now, labels=labels, installation=here)
        confirm()
        if not create_manifest(context.store, manifest):
            raise ConflictError(f"backfill {name!r} was written by another process just now: say it again.")
    audit_start(context.store, manifest)
    return manifest


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


def cancel(context: BackfillContext, backfill_id: str, *, action: str = "cancel") -> Status:
    """Ask Dagster to cancel a backfill: finished days stay, the day in progress is finished or dropped whole.

    Raises `ConfigurationError` if there is no such backfill or it has ended.
    """
    context.claim()
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
    context.claim()
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
    """Launch the failed and the incomplete days again, raw and refined; of incomplete ones only what lacks is read.

    Raises `ConfigurationError` if none have failed, while the backfill is active or paused, and where the connection
    is gone or off.
    """
    context.claim()
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
    days = _to_retry(context, status) if only_failed else [day for day in status.days if day not in status.done]
    if not days:
        raise ConfigurationError(
            f"backfill {manifest.backfill_id!r} has no {'failed' if only_failed else 'open'} days."
            + (f" `weather-backfill resume {manifest.backfill_id}` goes on with those not done." if only_failed else "")
        )
    with reserved_days(context, manifest.plan.service, manifest.plan.tenant) as confirm:
        others = set(overlapping(context, manifest.plan.service, manifest.plan.tenant, days)) - {manifest.backfill_id}
        if others:
            raise ConfigurationError(
                f"backfill {min(others)!r} is active over the same days: wait for it, or cancel it, then {action} "
                f"{manifest.backfill_id!r}."
            )
        # Days that were launched and cut short become one more part; parts that never started keep their own.
        waiting = {day for number in unlaunched(context, manifest) for day in manifest.parts[number]}
        if relaunched := days if only_failed else [day for day in days if day not in waiting]:
            confirm()
            _relaunch(context, manifest, f"{manifest.backfill_id}.{action}{len(natives)}", relaunched)
        manifest = _continued(context, manifest, set(days), only_failed=only_failed)
    if not only_failed:
        advance(context, manifest)
    audit(context.store, action, backfill_id=manifest.backfill_id, days=len(days), outcome="accepted")
    return write_summary(context.instance, context.graph, context.store, manifest)


def _to_retry(context: BackfillContext, status: Status) -> list[date]:
    """The failed days, and those that are written and lack something: of these only that is read."""
    raw = day_objects(context.store, layout.RAW_OBSERVATIONS, status.service, status.tenant)
    held = remembered(context.store, {day: raw[day] for day in status.days if day in raw})
    accepted = accepted_now(context.store, status.service, status.tenant)
    lacking = {day for day, one in held.items() if accepted.remaining(day, one.lacks)}
    return sorted(lacking | status.failed.keys())


def _relaunch(context: BackfillContext, manifest: Manifest, name: str, days: list[date]) -> None:
    """Launch days again as a native backfill called `name`, if there is a place for it."""
    with places(context) as confirm:
        if not capacity(context):
            raise ConfigurationError(
                f"{context.settings.max_active_backfills} backfills are active, the limit: wait for one to end."
            )
        confirm()
        launch_part(context, manifest, name, days)


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
    here = context.installation
    manifest = Manifest(backfill_id, plan, [days], "dagster", status.started_at, installation=here)
    return save_manifest(context.store, manifest)
