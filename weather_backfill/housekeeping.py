"""What is cleaned up: replaced versions and leftover journals that are old, and no only record of anything.

Deleting a run in Dagster deletes its events, the latest materializations of its partitions among them, so runs are
left to Dagster's own retention settings.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from weather_backfill.backfill.records import audit
from weather_backfill.lake import kept
from weather_backfill.lake.storage import ObjectStore

JOURNAL = "_journal"
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def find(instance: dg.DagsterInstance, store: ObjectStore, before: datetime) -> dict[str, list[str]]:
    """The objects that may go, by kind; versions count from when they were replaced."""
    return {"versions": kept.expired(store, before), "journals": _journals(instance, store, before)}


def clean(store: ObjectStore, found: dict[str, list[str]], before: datetime) -> None:
    """Delete what `find` found, and write it into the audit. Safe to call again."""
    for keys in found.values():
        store.delete(keys)
    counts: dict[str, Any] = {kind: len(keys) for kind, keys in found.items()}
    audit(store, "housekeeping", parameters={"before": before.isoformat(), **counts}, outcome="done")


def _journals(instance: dg.DagsterInstance, store: ObjectStore, before: datetime) -> list[str]:
    """Old journals of runs that have ended, retries included, or that Dagster no longer knows."""
    found: list[str] = []
    for root in store.folders(JOURNAL):
        objects = store.list(f"{JOURNAL}/{root}")
        if any(stored.last_modified >= before for stored in objects):
            continue
        group = instance.get_run_group(root) if instance.has_run(root) else None
        if group is None or all(run.status in _ENDED for run in group[1]):
            found += [stored.key for stored in objects]
    return found
