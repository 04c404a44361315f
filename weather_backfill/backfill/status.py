"""Progress of a backfill, from Dagster's records and the lake's objects, whoever launched it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus

from weather_backfill.backfill.footer_cache import remembered
from weather_backfill.backfill.launch import native_of
from weather_backfill.backfill.manifests import (
    Manifest,
    ManifestState,
    close,
    decided,
    find_manifest,
    mark_open,
)
from weather_backfill.backfill.plan import RUN_START_SECONDS
from weather_backfill.dagster.private import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.storage.object_store import ObjectStore

MANAGED_TAG = "weather/backfill"
BACKFILL_TAG = "dagster/backfill"
_FAILED = (BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILED)
_DIED = "its run ended without reporting this day (killed, out of memory or timed out): see the run in Dagster."
_ACTIVE = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
_CLOCKS = timedelta(seconds=RUN_START_SECONDS)


class BackfillState(StrEnum):
    """The state of a backfill as people and programs see it."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    CANCELING = "canceling"
    PAUSED = "paused"
    CANCELED = "canceled"
    STOPPED = "stopped"  # its connection is gone or switched off
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed with failures"
    UNKNOWN = "unknown"


UNDER_WAY = (BackfillState.QUEUED, BackfillState.RUNNING, BackfillState.PAUSING, BackfillState.CANCELING)


@dataclass(frozen=True, slots=True)
class Status:
    """A backfill's progress: UTC days and times, `rows` of raw; `failed` gives each failed day's reason."""

    backfill_id: str
    status: BackfillState
    service: str
    tenant: str
    days: list[date]
    done: set[date]
    rows: int
    started_at: datetime
    last_updated: datetime
    expected_seconds: float | None
    ended_at: datetime | None
    failed: dict[date, str] = field(default_factory=dict)
    chunks_total: int = 0
    chunks_succeeded: int = 0
    chunks_failed: int = 0

    @property
    def estimated_completion(self) -> datetime | None:
        """The expected end (UTC) from the pace so far, else from the plan; None when it has ended or is on hold."""
        if self.ended_at or self.status in (BackfillState.CANCELED, BackfillState.PAUSED, BackfillState.STOPPED):
            return None
        if self.done:
            pace = (self.last_updated - self.started_at) / len(self.done)
            expected = self.last_updated + pace * (len(self.days) - len(self.done) - len(self.failed))
            return max(expected, datetime.now(UTC))
        return self.started_at + timedelta(seconds=self.expected_seconds) if self.expected_seconds else None

    def to_json(self) -> dict[str, Any]:
        """Every field under its public name, dates and times (UTC) as ISO text."""
        ended = self.ended_at or (datetime.now(UTC) if self.status in UNDER_WAY else self.last_updated)
        completion = self.estimated_completion
        return {
            "status": str(self.status),
            "backfill_id": self.backfill_id,
            "service": self.service,
            "tenant": self.tenant,
            "start_date": str(min(self.days)) if self.days else None,
            "end_date": str(max(self.days)) if self.days else None,
            "current_date": str(max(self.done)) if self.done else None,
            "days_completed": len(self.done),
            "days_total": len(self.days),
            "progress_percent": round(100 * len(self.done) / len(self.days), 1) if self.days else 100.0,
            "records_processed": self.rows,
            "started_at": self.started_at.isoformat(),
            "last_updated": self.last_updated.isoformat(),
            "estimated_completion": completion.isoformat() if completion else None,
            "expected_seconds": round(self.expected_seconds) if self.expected_seconds is not None else None,
            "elapsed_seconds": round((ended - self.started_at).total_seconds()),
            "failed_days": {str(day): reason for day, reason in sorted(self.failed.items())},
            "chunks_total": self.chunks_total,
            "chunks_succeeded": self.chunks_succeeded,
            "chunks_failed": self.chunks_failed,
        }


def natives_of(instance: dg.DagsterInstance, backfill_id: str) -> list[PartitionBackfill]:
    """The native backfills of an id, oldest first: a managed backfill's parts and retries, or the native one itself."""
    natives = list(instance.get_backfills(filters=BulkActionsFilter(tags={MANAGED_TAG: backfill_id})))
    own = native_of(instance, backfill_id)
    if own and all(native.backfill_id != own.backfill_id for native in natives):
        natives.append(own)
    return sorted(natives, key=lambda native: native.backfill_timestamp)


def managed_id(instance: dg.DagsterInstance, name: str) -> str:
    """The managed id that belongs to a native backfill's id, as Dagster's page shows it; other names unchanged."""
    own = native_of(instance, name)
    return own.tags.get(MANAGED_TAG, name) if own else name


def is_active(backfill: PartitionBackfill) -> bool:
    """Return whether Dagster has not finished the native backfill."""
    return backfill.status not in BULK_ACTION_TERMINAL_STATUSES


def active_backfills(instance: dg.DagsterInstance) -> list[PartitionBackfill]:
    """All native backfills that have not ended."""
    return [b for b in instance.get_backfills(filters=BulkActionsFilter(statuses=_ACTIVE)) if is_active(b)]


def target_of(backfill: PartitionBackfill, graph: Any) -> list[PartitionKey]:
    """The raw partitions a native backfill targets; empty if it is not one of ours."""
    subset = backfill.get_asset_backfill_data(graph).target_subset
    keys: set[PartitionKey] = set()
    for asset in subset.asset_keys:
        if asset.path[-1] in (layout.RAW_OBSERVATIONS, layout.REFINED_15M) and len(asset.path) == 2:
            keys |= {PartitionKey.parse(k) for k in subset.get_partitions_subset(asset).get_partition_keys()}
    return sorted(keys)


def service_of(backfill: PartitionBackfill) -> str | None:
    """The service whose assets a native backfill targets."""
    services = {key.path[0] for key in backfill.asset_selection or [] if len(key.path) == 2}
    return services.pop() if len(services) == 1 else None


def status_of(instance: dg.DagsterInstance, graph: Any, store: ObjectStore, backfill_id: str) -> Status:
    """The status of a backfill by its id; raises `ConfigurationError` if there is none."""
    backfill_id = managed_id(instance, backfill_id)
    return status_by(instance, graph, store, backfill_id, find_manifest(store, backfill_id))


def status_by(
    instance: dg.DagsterInstance, graph: Any, store: ObjectStore, backfill_id: str, manifest: Manifest | None
) -> Status:
    """The status of a backfill whose manifest was read already; raises as `status_of`."""
    natives = natives_of(instance, backfill_id)
    if not natives and manifest is None:
        raise ConfigurationError(f"no backfill {backfill_id!r}: `weather-backfill status` lists those there are.")
    service, tenant, days = _target(manifest, natives, graph)
    started = manifest.created_at if manifest else datetime.fromtimestamp(natives[0].backfill_timestamp, UTC)
    # Objects have the storage's time, and its clock may be behind ours. Backfills that Dagster or an older release
    # launched have no `stored_at`; for those a run takes longer to start than the margin `_CLOCKS`.
    since = manifest.stored_at if manifest and manifest.stored_at else started - _CLOCKS
    done, rows, touched = _done(store, service, tenant, set(days), since)
    runs = {
        native.backfill_id: instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: native.backfill_id}))
        for native in natives
    }
    failed = {day: why for day, why in _failed(instance, graph, natives, runs).items() if day in set(days) - done}
    chunks = _chunks(manifest, [run for some in runs.values() for run in some], done, failed)
    active = any(is_active(native) for native in natives)
    native_ids = {native.backfill_id for native in natives}
    launched = manifest is None or all(manifest.ids_of(n) & native_ids for n in range(len(manifest.parts)))
    ends = [native.backfill_end_timestamp for native in natives if native.backfill_end_timestamp]
    ended = None if active or not launched or not ends else datetime.fromtimestamp(max(ends), UTC)
    return Status(
        backfill_id=backfill_id,
        status=_state(manifest, natives, active, launched, len(done) == len(days)),
        service=service,
        tenant=tenant,
        days=days,
        done=done,
        rows=rows,
        started_at=started,
        last_updated=max([started, *touched]),
        expected_seconds=manifest.plan.seconds if manifest else None,
        ended_at=ended,
        failed=failed,
        chunks_total=chunks[0],
        chunks_succeeded=chunks[1],
        chunks_failed=chunks[2],
    )


def _failed(
    instance: dg.DagsterInstance, graph: Any, natives: list[PartitionBackfill], runs: Mapping[str, Iterable[Any]]
) -> dict[date, str]:
    """The days whose last try failed, with their reasons; a day that is being tried again does not count.

    A run that was killed names no day: the days that its backfill leaves undone count too, or no retry would take them.
    """
    failed: dict[date, str] = {}
    for native in natives:  # oldest first
        if native.status in _FAILED:
            failed |= {key.date: _DIED for key in target_of(native, graph)}
        elif failed and is_active(native):
            retried = {key.date for key in target_of(native, graph)}
            failed = {day: why for day, why in failed.items() if day not in retried}
        failed |= failed_days_of(instance, runs[native.backfill_id])
    return failed


def _chunks(
    manifest: Manifest | None, runs: list[Any], done: Collection[date], failed: Collection[date]
) -> tuple[int, int, int]:
    """Count chunks: all, those that are whole, those with a failed day.

    They are the plan's chunks; a backfill that Dagster's page launched has no plan, and its runs of raw are counted.
    """
    if manifest:
        whole = [all(day in done for day in chunk) for chunk in manifest.plan.chunks]
        broken = [any(day in failed for day in chunk) for chunk in manifest.plan.chunks]
        return len(whole), sum(whole), sum(broken)
    raw = [run for run in runs if any(k.path[-1] == layout.RAW_OBSERVATIONS for k in run.asset_selection or ())]
    ended = [run.status for run in raw]
    return len(raw), ended.count(DagsterRunStatus.SUCCESS), ended.count(DagsterRunStatus.FAILURE)


def _target(manifest: Manifest | None, natives: list[PartitionBackfill], graph: Any) -> tuple[str, str, list[date]]:
    if manifest:
        return manifest.plan.service, manifest.plan.tenant, sorted(day for part in manifest.parts for day in part)
    keys = target_of(natives[0], graph)
    tenants, service = {key.tenant for key in keys}, service_of(natives[0])
    if len(tenants) != 1 or service is None:
        raise ConfigurationError(
            f"backfill {natives[0].backfill_id!r} is not over one tenant of one service: look at it in Dagster."
        )
    return service, tenants.pop(), [key.date for key in keys]


def _done(
    store: ObjectStore, service: str, tenant: str, days: set[date], since: datetime
) -> tuple[set[date], int, list[datetime]]:
    """The days whose refined object, written last of a day, is no older than `since` (by the storage's clock).

    Returns them with their number of raw rows and the times of their refined objects.
    """
    since = since.replace(microsecond=0)  # S3 knows whole seconds
    raw, refined = (
        day_objects(store, dataset, service, tenant) for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M)
    )
    done = {day for day in raw.keys() & refined.keys() & days if refined[day].last_modified >= since}
    held = remembered(store, {day: raw[day] for day in done})
    rows = sum(day.rows for day in held.values())
    return done, rows, [refined[day].last_modified for day in done]


def failed_days_of(instance: dg.DagsterInstance, runs: Iterable[Any]) -> dict[date, str]:
    """The days that failed in these runs, with their reasons, from the metadata of the step failures."""
    failed: dict[date, str] = {}
    for run in sorted(runs, key=lambda run: run.run_id):
        if run.status != DagsterRunStatus.FAILURE:
            continue
        for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE):
            data = entry.dagster_event.step_failure_data.user_failure_data if entry.dagster_event else None
            reasons = data.metadata.get("reasons") if data else None
            if isinstance(reasons, dg.JsonMetadataValue) and isinstance(reasons.data, Mapping):
                failed |= {PartitionKey.parse(str(key)).date: str(why) for key, why in reasons.data.items()}
    return failed


def _state(
    manifest: Manifest | None, natives: list[PartitionBackfill], active: bool, launched: bool, complete: bool
) -> BackfillState:
    if active:
        if manifest and manifest.state == ManifestState.PAUSED:
            return BackfillState.PAUSING
        canceling = any("CANCELING" in native.status.value for native in natives)
        return BackfillState.CANCELING if canceling else BackfillState.RUNNING
    if manifest and not launched and manifest.state == ManifestState.ACTIVE:
        return BackfillState.RUNNING if natives else BackfillState.QUEUED
    if complete:
        return BackfillState.COMPLETED
    if manifest and manifest.state != ManifestState.ACTIVE:
        return BackfillState(manifest.state)
    if natives and natives[-1].status.value == "CANCELED":
        return BackfillState.CANCELED
    return BackfillState.COMPLETED_WITH_FAILURES if natives else BackfillState.UNKNOWN


def write_summary(instance: dg.DagsterInstance, graph: Any, store: ObjectStore, manifest: Manifest) -> Status:
    """Write a managed backfill's status as its summary object, which is a row of the warehouse's `backfill_log`."""
    status = status_of(instance, graph, store, manifest.backfill_id)
    document = {
        "backfill_id": manifest.backfill_id,
        "target": f"{status.service}/{status.tenant}",
        "requested_by": manifest.requested_by,
        "rows_affected": status.rows,
        "completed_at": status.ended_at.isoformat() if status.ended_at else None,
        **status.to_json(),
    }
    store.put(layout.summary_key(manifest.backfill_id), json.dumps(document, indent=2).encode())
    # After the summary: killed in between, the backfill is still open and settled once more.
    if status.ended_at or status.status in (BackfillState.CANCELED, BackfillState.STOPPED):
        close(store, manifest.backfill_id)
        active = any(is_active(native) for native in natives_of(instance, manifest.backfill_id))
        if active or decided(store, manifest):
            mark_open(store, manifest.backfill_id)  # resumed or retried in the meantime
    else:
        mark_open(store, manifest.backfill_id)
    return status
