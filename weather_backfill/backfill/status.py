"""How far a backfill is: from Dagster's records and from the lake's objects, whoever launched it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus

from weather_backfill.backfill.coverage import day_objects
from weather_backfill.backfill.footer_cache import remembered
from weather_backfill.backfill.launch import native_of
from weather_backfill.backfill.manifests import (
    ACTIVE,
    CANCELED,
    PAUSED,
    STOPPED,
    Manifest,
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
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.storage.object_store import ObjectStore

MANAGED_TAG = "weather/backfill"
BACKFILL_TAG = "dagster/backfill"
_FAILED = (BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILED)
_DIED = "its run ended without a word of this day: killed, or out of memory or time. Its page in Dagster says more."
_ACTIVE = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
_CLOCKS = timedelta(seconds=RUN_START_SECONDS)


@dataclass(frozen=True, slots=True)
class Status:
    """A backfill's progress; `to_json` names the fields as programs see them."""

    backfill_id: str
    status: str
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
        """From the pace so far, else from the plan; None when it has ended."""
        if self.ended_at or self.status in ("canceled", "paused", "stopped"):
            return None
        if self.done:
            pace = (self.last_updated - self.started_at) / len(self.done)
            expected = self.last_updated + pace * (len(self.days) - len(self.done) - len(self.failed))
            return max(expected, datetime.now(UTC))
        return self.started_at + timedelta(seconds=self.expected_seconds) if self.expected_seconds else None

    def to_json(self) -> dict[str, Any]:
        """Every field, dates as ISO text."""
        under_way = self.status in ("queued", "running", "pausing", "canceling")
        ended = self.ended_at or (datetime.now(UTC) if under_way else self.last_updated)
        completion = self.estimated_completion
        return {
            "status": self.status,
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
    """The native backfills behind an id, oldest first: the parts and retries of a managed one, or the one itself."""
    found = list(instance.get_backfills(filters=BulkActionsFilter(tags={MANAGED_TAG: backfill_id})))
    own = native_of(instance, backfill_id)
    if own and all(b.backfill_id != own.backfill_id for b in found):
        found.append(own)
    return sorted(found, key=lambda b: b.backfill_timestamp)


def managed_id(instance: dg.DagsterInstance, name: str) -> str:
    """The managed id behind the id of a native backfill, as Dagster's page shows it; any other name as it is."""
    own = native_of(instance, name)
    return own.tags.get(MANAGED_TAG, name) if own else name


def is_active(backfill: PartitionBackfill) -> bool:
    """Whether Dagster is still at it."""
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
    """The status of a backfill whose manifest is known; raises as `status_of`."""
    natives = natives_of(instance, backfill_id)
    if not natives and manifest is None:
        raise ConfigurationError(f"no backfill {backfill_id!r}: `weather-backfill status` lists those there are.")
    service, tenant, days = _asked(manifest, natives, graph)
    started = manifest.created_at if manifest else datetime.fromtimestamp(natives[0].backfill_timestamp, UTC)
    # Objects have the storage's time, and its clock may be behind ours. Nobody asked it when Dagster or an older
    # release launched this; then a run takes longer to start than the margin.
    since = manifest.stored_at if manifest and manifest.stored_at else started - _CLOCKS
    done, rows, touched = _done(store, service, tenant, set(days), since)
    runs = {
        native.backfill_id: instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: native.backfill_id}))
        for native in natives
    }
    failed = {day: why for day, why in _failed(instance, graph, natives, runs).items() if day in set(days) - done}
    chunks = _chunks(manifest, [run for some in runs.values() for run in some], done, failed)
    active = any(is_active(native) for native in natives)
    there = {native.backfill_id for native in natives}
    launched = manifest is None or all(manifest.ids_of(n) & there for n in range(len(manifest.parts)))
    ends = [native.backfill_end_timestamp for native in natives if native.backfill_end_timestamp]
    ended = None if active or not launched or not ends else datetime.fromtimestamp(max(ends), UTC)
    return Status(
        backfill_id=backfill_id,
        status=_word(manifest, natives, active, launched, len(done) == len(days)),
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
    """The days that failed last, with their reasons; one that is being tried again has not failed yet.

    A run that died has named no day: what its backfill leaves undone has failed too, or no retry would take it.
    """
    found: dict[date, str] = {}
    for native in natives:  # oldest first
        if native.status in _FAILED:
            found |= {key.date: _DIED for key in target_of(native, graph)}
        elif found and is_active(native):
            again = {key.date for key in target_of(native, graph)}
            found = {day: why for day, why in found.items() if day not in again}
        found |= failed_days_of(instance, runs[native.backfill_id])
    return found


def _chunks(
    manifest: Manifest | None, runs: list[Any], done: Collection[date], failed: Collection[date]
) -> tuple[int, int, int]:
    """How many chunks there are, how many are whole, and how many have a failed day.

    Of the plan where there is one; of what Dagster's page launched, the runs of raw.
    """
    if manifest:
        whole = [all(day in done for day in chunk) for chunk in manifest.plan.chunks]
        broken = [any(day in failed for day in chunk) for chunk in manifest.plan.chunks]
        return len(whole), sum(whole), sum(broken)
    raw = [run for run in runs if any(k.path[-1] == layout.RAW_OBSERVATIONS for k in run.asset_selection or ())]
    ended = [run.status for run in raw]
    return len(raw), ended.count(DagsterRunStatus.SUCCESS), ended.count(DagsterRunStatus.FAILURE)


def _asked(manifest: Manifest | None, natives: list[PartitionBackfill], graph: Any) -> tuple[str, str, list[date]]:
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
    """Days whose refined object, the last of a day, was written since a time of the storage; their rows of raw; when
    that was.
    """
    since = since.replace(microsecond=0)  # S3 knows whole seconds
    raw, refined = (
        day_objects(store, dataset, service, tenant) for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M)
    )
    done = {day for day in raw.keys() & refined.keys() & days if refined[day].last_modified >= since}
    held = remembered(store, service, tenant, {day: raw[day] for day in done})
    rows = sum(day.rows for day in held.values())
    return done, rows, [refined[day].last_modified for day in done]


def failed_days_of(instance: dg.DagsterInstance, runs: Iterable[Any]) -> dict[date, str]:
    """The days that runs have failed, with their reasons, as the steps told them."""
    found: dict[date, str] = {}
    for run in sorted(runs, key=lambda run: run.run_id):
        if run.status != DagsterRunStatus.FAILURE:
            continue
        for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE):
            data = entry.dagster_event.step_failure_data.user_failure_data if entry.dagster_event else None
            reasons = data.metadata.get("reasons") if data else None
            if isinstance(reasons, dg.JsonMetadataValue) and isinstance(reasons.data, Mapping):
                found |= {PartitionKey.parse(str(key)).date: str(why) for key, why in reasons.data.items()}
    return found


def _word(
    manifest: Manifest | None, natives: list[PartitionBackfill], active: bool, launched: bool, complete: bool
) -> str:
    paused = manifest is not None and manifest.state == PAUSED
    if active:
        if paused:
            return "pausing"
        return "canceling" if any("CANCELING" in n.status.value for n in natives) else "running"
    if manifest and not launched and manifest.state == ACTIVE:
        return "queued" if not natives else "running"
    if complete:
        return "completed"
    if manifest and manifest.state in (PAUSED, CANCELED, STOPPED):
        return manifest.state
    if natives and natives[-1].status.value == "CANCELED":
        return "canceled"
    return "completed with failures" if natives else "unknown"


def write_summary(instance: dg.DagsterInstance, graph: Any, store: ObjectStore, manifest: Manifest) -> Status:
    """Write how a managed backfill stands as its summary object, a row of the warehouse's `backfill_log`."""
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
    # After the summary: killed in between, it is looked at once more. What goes on again is open again.
    if status.ended_at or status.status in (CANCELED, STOPPED):
        close(store, manifest.backfill_id)
        active = any(is_active(native) for native in natives_of(instance, manifest.backfill_id))
        if active or decided(store, manifest):
            mark_open(store, manifest.backfill_id)  # somebody has gone on with it in the meantime
    else:
        mark_open(store, manifest.backfill_id)
    return status
