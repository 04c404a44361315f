"""What is cleaned up when it is old. What nobody needs goes; what is a record is archived, and read from there.

Deleted: replaced versions of days, journals that no run goes on with (what they know of writers goes into the
ledger first), the ledger of who was told of incidents that are over, and markers of looks at connections that are
long gone; what a killed write has left staged, after a day; downloads from DWD that nobody has used for a month.
Archived (`lake/compaction.py`): backfills that have ended, audit events, and the ledger of writers. The counters in
`_metrics/` are one object, and stay.

Onboardings stay as they are, for their manifests decide whether a connection was onboarded; so do backfills that a
person has paused or cancelled, and all of the last days, whose ids the sensors ask for.

Deleting a run in Dagster deletes its events, the latest materializations of its partitions among them, so runs stay
too; ticks go by `retention` in dagster.yaml.
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
from weather_backfill.lake import compaction, layout, provenance, versions
from weather_backfill.lake.journal import record_from_json
from weather_backfill.model.errors import ConfigurationError, UnreadableObjectError
from weather_backfill.settings import Settings
from weather_backfill.sources.dwd import cache
from weather_backfill.storage.object_store import STAGING, ObjectStore, StoredObject

_log = logging.getLogger(__name__)
RECENT = timedelta(days=3)
"""So long a backfill that has ended stays, whatever the settings say."""
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
STAGED_FOR = timedelta(days=1)
"""No write takes so long: what is still staged by then, a killed process has left."""
VERSIONS, JOURNALS, TOLD, LOOKS = "versions", "journals", "told alerts", "looks"
STAGED, CACHED = "unfinished writes", "cached downloads"
ARCHIVED = {"backfills": layout.BACKFILLS, "audit events": layout.AUDIT, "written objects": layout.LEDGER}


@dataclass(frozen=True, slots=True)
class Found:
    """What may go, by kind; `archived` is by month, `YYYY-MM`, too."""

    before: datetime
    deleted: Mapping[str, list[str]]
    archived: Mapping[str, Mapping[str, list[StoredObject]]]

    def counts(self) -> dict[str, tuple[str, int]]:
        """What happens to how many objects, by kind."""
        gone = {kind: ("delete", len(keys)) for kind, keys in self.deleted.items()}
        old = {kind: ("archive", sum(map(len, months.values()))) for kind, months in self.archived.items()}
        return gone | old


def find(
    instance: dg.DagsterInstance, store: ObjectStore, settings: Settings, days: int | None = None,
    now: datetime | None = None,
) -> Found:  # fmt: skip
    """What is older than the settings' days (or `days`); versions count from when they were replaced."""
    now = now or datetime.now(UTC)
    replaced_before, ended_before = (
        now - timedelta(days=setting if days is None else days)
        for setting in (settings.keep_versions_days, settings.keep_records_days)
    )
    deleted = {
        VERSIONS: versions.expired(store, replaced_before),
        JOURNALS: _journals(instance, store, ended_before),
        TOLD: _told(store, ended_before),
        STAGED: [o.key for o in store.list(STAGING) if o.last_modified < now - STAGED_FOR],
        CACHED: cache.unused(store, now),
        LOOKS: [stored.key for stored in store.list(layout.LOOKS) if stored.last_modified < ended_before],
    }
    archived = {
        "backfills": _ended_backfills(store, min(ended_before, now - RECENT)),
        "audit events": _dated(store, layout.AUDIT, ended_before),
        "written objects": _dated(store, layout.LEDGER, ended_before),
    }
    return Found(ended_before, deleted, archived)


def clean(store: ObjectStore, found: Found) -> None:
    """Delete and archive what `find` found, and write it into the audit. Safe to call again, wherever it was killed."""
    _keep_writers(store, found.deleted[JOURNALS])
    for keys in found.deleted.values():
        store.delete(keys)
    for kind, months in found.archived.items():
        for month, objects in months.items():
            still = _still_ended(store) if kind == "backfills" else lambda key: True
            try:
                compaction.compact(store, ARCHIVED[kind], month, objects, still)
            except UnreadableObjectError as error:  # its objects stay, and nothing else waits for them
                _log.error("%s of %s are not archived: %s", kind, month, error)
    counts: dict[str, Any] = {kind: count for kind, (_, count) in found.counts().items()}
    audit(store, "housekeeping", parameters={"before": found.before.isoformat(), **counts}, outcome="done")


def _journals(instance: dg.DagsterInstance, store: ObjectStore, before: datetime) -> list[str]:
    """Old journals of runs that have ended, retries included, or that Dagster no longer knows."""
    found: list[str] = []
    for root in store.folders(layout.JOURNAL):
        objects = store.list(f"{layout.JOURNAL}/{root}")
        if any(stored.last_modified >= before for stored in objects):
            continue
        group = instance.get_run_group(root) if instance.has_run(root) else None
        if group is None or all(run.status in _ENDED for run in group[1]):
            found += [stored.key for stored in objects]
    return found


def _keep_writers(store: ObjectStore, journals: list[str]) -> None:
    """Take what journals say of writers over into the ledger."""
    written: dict[str, list[provenance.ProvenanceEntry]] = defaultdict(list)
    for key, data in store.read_many(journals):
        if isinstance(data, bytes):
            try:
                written[".".join(key.split("/")[1:3])] += record_from_json(data).written
            except UnreadableObjectError:
                continue  # a journal of another release: nobody can go on with it either
    for writer, entries in written.items():
        provenance.save(store, writer, entries)


def _told(store: ObjectStore, before: datetime) -> list[str]:
    """Old entries of who was told, of incidents that are over and that every channel knows to be over."""
    listed = store.list(layout.TOLD)
    register = Register(store)
    names = {incident.name for incident in register.open_incidents()}
    names |= {incident.name for incident in register.ending()}  # second: an incident goes from there to here
    return [o.key for o in listed if o.last_modified < before and o.key.split("/")[2] not in names]


def _ended_backfills(store: ObjectStore, before: datetime) -> dict[str, list[StoredObject]]:
    """Manifests and summaries of backfills that ended long ago, by the month of their last change."""
    open_manifests(store)  # a lake from before there were markers gets them
    ids: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in store.list(layout.BACKFILLS):
        ids[stored.key.split("/")[1]].append(stored)
    still = _still_ended(store)
    months: dict[str, list[StoredObject]] = defaultdict(list)
    for objects in ids.values():
        # With its summary, or as the summary that a killed clean-up has left; a manifest alone was never looked at.
        summed_up = objects[-1].key.endswith("/summary.json") and objects[-1].size > 0
        last = max(stored.last_modified for stored in objects)
        if summed_up and last < before and still(objects[0].key):
            months[f"{last:%Y-%m}"] += objects
    return dict(months)


def _still_ended(store: ObjectStore) -> Callable[[str], bool]:
    """Whether the backfill of an object is neither open nor held, and no onboarding."""

    def ended(key: str) -> bool:
        name = key.split("/")[1]
        return not (
            name.startswith(layout.ONBOARD) or any(store.exists(k(name)) for k in (layout.open_key, layout.held_key))
        )

    return ended


def _dated(store: ObjectStore, prefix: str, before: datetime) -> dict[str, list[StoredObject]]:
    """Old objects below folders `date=YYYY-MM-DD`, by month."""
    months: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in store.list(prefix):
        try:
            day = layout.date_of(stored.key)
        except (ConfigurationError, ValueError):
            continue
        if stored.last_modified < before:
            months[f"{date.strftime(day, '%Y-%m')}"].append(stored)
    return dict(months)
