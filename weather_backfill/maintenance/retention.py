"""Retention: deletes old objects that nobody needs, and archives old records, which are read from there.

Deleted: replaced versions of days; journals that no run resumes (after their provenance entries have been saved);
notifications of incidents that are over; poll markers of connections that are long gone; unfinished writes of killed
processes, after a day; cached files of upstreams that were not used for a month.
Archived (`lake/compaction.py`): backfills that have ended, audit events, and the provenance of written objects. The
counters in `_metrics/` are one object, and stay.

Onboardings stay, for their manifests decide whether a connection was onboarded; so do backfills that a person has
paused or cancelled, and all of the last days, whose ids the sensors look up.

Deleting a run in Dagster deletes its events, among them the latest materializations of its partitions, so runs stay
too; ticks are deleted by `retention` in dagster.yaml.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from weather_backfill.alerts.incidents import Register
from weather_backfill.backfill.audit import audit
from weather_backfill.backfill.manifests import open_manifests
from weather_backfill.lake import compaction, layout, listing, provenance, versions
from weather_backfill.lake.journal import record_from_json
from weather_backfill.model.errors import ConfigurationError, UnreadableObjectError
from weather_backfill.settings import Settings
from weather_backfill.sources import file_cache
from weather_backfill.storage.object_store import LOCKS, STAGING, ObjectStore, StoredObject
from weather_backfill.util import scratch

_log = logging.getLogger(__name__)
RECENT = timedelta(days=3)
"""An ended backfill stays at least this long, whatever the settings say."""
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
STAGED_FOR = timedelta(days=1)
"""No write takes this long: an older staged object is left over from a killed process."""
VERSIONS, JOURNALS, TOLD, LOOKS = "versions", "journals", "told alerts", "looks"
STAGED, CACHED = "unfinished writes", "cached downloads"
ARCHIVED = {"backfills": layout.BACKFILLS, "audit events": layout.AUDIT, "written objects": layout.LEDGER}


@dataclass(frozen=True, slots=True)
class CleanUpPlan:
    """The objects to delete by kind, and to archive by kind and month (`YYYY-MM`)."""

    before: datetime
    versions_before: datetime
    deleted: Mapping[str, list[str]]
    archived: Mapping[str, Mapping[str, list[StoredObject]]]

    def counts(self) -> dict[str, tuple[str, int]]:
        """The action and the number of its objects, by kind."""
        deleted = {kind: ("delete", len(keys)) for kind, keys in self.deleted.items()}
        archived = {kind: ("archive", sum(map(len, months.values()))) for kind, months in self.archived.items()}
        return deleted | archived


def find(
    instance: dg.DagsterInstance, store: ObjectStore, settings: Settings, days: int | None = None,
    now: datetime | None = None,
) -> CleanUpPlan:  # fmt: skip
    """Find objects older than the settings' days (or `days`), from `now` (UTC); versions age from their replacement."""
    now = now or datetime.now(UTC)
    replaced_before, ended_before = (
        now - timedelta(days=setting if days is None else days)
        for setting in (settings.keep_versions_days, settings.keep_records_days)
    )
    deleted = {
        VERSIONS: versions.expired(store, replaced_before),
        JOURNALS: _journals(instance, store, ended_before),
        TOLD: _told(store, ended_before),
        STAGED: [o.key for o in _unfinished(store) if o.last_modified < now - STAGED_FOR],
        CACHED: file_cache.unused(store, now),
        LOOKS: [stored.key for stored in listing.records(store, layout.LOOKS) if stored.last_modified < ended_before],
    }
    archived = {
        "backfills": _ended_backfills(store, min(ended_before, now - RECENT)),
        "audit events": _dated(store, layout.AUDIT, ended_before),
        "written objects": _dated(store, layout.LEDGER, ended_before),
    }
    return CleanUpPlan(ended_before, replaced_before, deleted, archived)


def _unfinished(store: ObjectStore) -> list[StoredObject]:
    """Objects being written; on S3 also locks, each one write's. A local lock file is everybody's, and stays."""
    return store.list(STAGING) + ([] if store.folder else store.list(LOCKS))


def clean(store: ObjectStore, plan: CleanUpPlan) -> None:
    """Delete and archive the objects of a plan, and audit it. Safe to call again after a kill at any point."""
    if swept := scratch.sweep():
        _log.info("%d temporary folders of processes that are gone are deleted", len(swept))
    _save_provenance(store, plan.deleted[JOURNALS])
    for kind, keys in plan.deleted.items():
        if kind == VERSIONS:
            versions.delete_expired(store, keys, plan.versions_before)
        else:
            store.delete(keys)
    for kind, months in plan.archived.items():
        for month, objects in months.items():
            may_archive = _still_ended(store) if kind == "backfills" else None
            try:
                compaction.compact(store, ARCHIVED[kind], month, objects, may_archive)
            except UnreadableObjectError as error:  # its objects stay, and the other months are archived
                _log.error("%s of %s are not archived: %s", kind, month, error)
    counts: dict[str, Any] = {kind: count for kind, (_, count) in plan.counts().items()}
    audit(store, "housekeeping", parameters={"before": plan.before.isoformat(), **counts}, outcome="done")


def _journals(instance: dg.DagsterInstance, store: ObjectStore, before: datetime) -> list[str]:
    """Find old journals of runs that have ended, retries included, or that Dagster no longer knows."""
    keys: list[str] = []
    for root in store.folders(layout.JOURNAL):
        objects = listing.records(store, layout.JOURNAL, root)
        if not objects or any(stored.last_modified >= before for stored in objects):
            continue
        group = instance.get_run_group(root) if instance.has_run(root) else None
        if group is None or all(run.status in _ENDED for run in group[1]):
            keys += [stored.key for stored in objects]
    return keys


def _save_provenance(store: ObjectStore, journals: list[str]) -> None:
    """Save the provenance entries of journals that are about to be deleted."""
    written: dict[str, list[provenance.ProvenanceEntry]] = defaultdict(list)
    for key, data in store.read_many(journals):
        if isinstance(data, bytes):
            try:
                written[".".join(key.split("/")[1:3])] += record_from_json(data).written
            except UnreadableObjectError:
                continue  # a journal of another release, which no run can resume either
    for writer, entries in written.items():
        provenance.save(store, writer, entries)


def _told(store: ObjectStore, before: datetime) -> list[str]:
    """Find old notifications of incidents that are over and whose end every channel knows."""
    listed = listing.records(store, layout.ALERTS, "told")
    register = Register(store)
    names = {incident.name for incident in register.open_incidents()}
    names |= {incident.name for incident in register.ending()}  # read second: incidents move from open to ending
    return [o.key for o in listed if o.last_modified < before and o.key.split("/")[2] not in names]


def _ended_backfills(store: ObjectStore, before: datetime) -> dict[str, list[StoredObject]]:
    """Find manifests and summaries of backfills that ended before a time, by the month of their last change."""
    open_manifests(store)  # a lake from before there were markers gets them
    ids: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in listing.records(store, layout.BACKFILLS):
        ids[stored.key.split("/")[1]].append(stored)
    is_ended = _still_ended(store)
    months: dict[str, list[StoredObject]] = defaultdict(list)
    for objects in ids.values():
        # Both objects, or the summary alone that a killed clean-up has left; a manifest alone was never settled.
        has_summary = objects[-1].key.endswith("/summary.json") and objects[-1].size > 0
        last = max(stored.last_modified for stored in objects)
        if has_summary and last < before and is_ended(objects[0].key):
            months[f"{last:%Y-%m}"] += objects
    return dict(months)


def _still_ended(store: ObjectStore) -> Callable[[str], bool]:
    """A predicate on keys: true if the key's backfill is neither open, nor held, nor an onboarding."""

    def ended(key: str) -> bool:
        name = key.split("/")[1]
        return not (
            name.startswith(layout.ONBOARD) or any(store.exists(k(name)) for k in (layout.open_key, layout.held_key))
        )

    return ended


def _dated(store: ObjectStore, prefix: str, before: datetime) -> dict[str, list[StoredObject]]:
    """Find objects below folders `date=YYYY-MM-DD` that were last changed before a time, by month."""
    months: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in listing.records(store, prefix):
        try:
            day = layout.date_of(stored.key)
        except (ConfigurationError, ValueError):
            continue
        if stored.last_modified < before:
            months[f"{date.strftime(day, '%Y-%m')}"].append(stored)
    return dict(months)
