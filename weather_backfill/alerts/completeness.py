"""Completeness of finished backfills, judged from what the lake holds now.

A day that is not whole belongs to the first finished backfill that took it, so that the daily loads, which read late
days again, do not tell of it twice. Footers and targets are remembered by the process: a tick reads what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial

import dagster as dg

from weather_backfill.alerts.commands import start_command
from weather_backfill.alerts.incidents import Condition, Explanation
from weather_backfill.backfill.commands import BackfillContext
from weather_backfill.backfill.coverage import day_objects
from weather_backfill.backfill.footer_cache import remembered, unread
from weather_backfill.backfill.status import failed_days_of, service_of, target_of
from weather_backfill.dagster.private import BACKFILL_ID_TAG, BulkActionsFilter, BulkActionStatus, PartitionBackfill
from weather_backfill.lake import layout
from weather_backfill.model.errors import StorageUnavailableError
from weather_backfill.storage.object_store import ObjectStore

_FINISHED = [
    BulkActionStatus.COMPLETED,
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.FAILED,
]
_LONGEST = timedelta(days=30)  # a backfill that took longer to finish is not found again
_MOST_FOOTERS = 3000  # read in one tick; the next goes on, with what is remembered
Connection = tuple[str, str]
_targets: dict[tuple[str, str], dict[Connection, list[date]]] = {}


def incomplete_backfills(context: BackfillContext, now: datetime) -> Iterator[Condition]:
    """Finished backfills whose days are less complete than they should be, by tenant and service.

    A connection that cannot be judged stops no other: its error is raised when all were looked at.
    """
    least = context.settings.alert_completeness
    budget = [_MOST_FOOTERS]
    failed: Exception | None = None
    for (service, tenant), backfills in _by_connection(context, now).items():
        try:
            held = completeness_of(context.store, service, tenant, sorted(set().union(*backfills.values())), budget)
        except Exception as error:  # a foreign object in one tenant's folder, say
            failed = failed or error
            continue
        claimed: set[date] = set()
        for name, days in backfills.items():
            bad = {day for day in days if held[day] < least} - claimed
            if bad and sum(held[day] for day in days) / len(days) < least:
                claimed |= bad
                yield Condition(
                    "completeness", f"{service}/{tenant}/{name}",
                    f"completeness under {least:.0%} after backfill {name}",
                    partial(_explain, context, name, service, tenant, {day: held[day] for day in bad}), tenant, service,
                )  # fmt: skip
    if failed:
        raise failed


def _by_connection(context: BackfillContext, now: datetime) -> dict[Connection, dict[str, list[date]]]:
    """The days of the backfills that have finished lately, oldest backfill first."""
    since = now - timedelta(days=context.settings.alert_completeness_days)
    recent = context.instance.get_backfills(
        filters=BulkActionsFilter(statuses=_FINISHED, created_after=since - _LONGEST)
    )  # fmt: skip
    finished = [b for b in recent if (b.backfill_end_timestamp or b.backfill_timestamp) >= since.timestamp()]
    found: dict[Connection, dict[str, list[date]]] = {}
    for backfill in sorted(finished, key=lambda b: b.backfill_timestamp):
        for connection, days in _target(context, backfill).items():
            found.setdefault(connection, {})[backfill.backfill_id] = days
    return found


def _target(context: BackfillContext, backfill: PartitionBackfill) -> dict[Connection, list[date]]:
    known = (context.settings.storage_url, backfill.backfill_id)
    if known not in _targets:
        service = service_of(backfill)
        target: dict[Connection, list[date]] = {}
        for key in target_of(backfill, context.graph) if service else []:
            target.setdefault((str(service), key.tenant), []).append(key.date)
        _targets[known] = target
    return _targets[known]


def completeness_of(
    store: ObjectStore, service: str, tenant: str, days: Sequence[date], budget: list[int]
) -> Mapping[date, float]:
    """0 to 1 for each day; 0 for one that is not in the lake. `budget` says how many footers may still be read;
    raises `StorageUnavailableError` when it is used up.
    """
    held = day_objects(store, layout.RAW_OBSERVATIONS, service, tenant)
    objects = {day: held[day] for day in days if day in held}
    new = unread(store, objects)
    later = set(new[budget[0] :])
    budget[0] -= len(new) - len(later)
    found = remembered(store, service, tenant, {day: o for day, o in objects.items() if day not in later})
    if later:
        raise StorageUnavailableError(f"{len(later)} days are left for the next tick")
    return {day: found[day].completeness if day in found else 0.0 for day in days}


def _explain(
    context: BackfillContext, name: str, service: str, tenant: str, bad: Mapping[date, float]
) -> Explanation:  # fmt: skip
    runs = context.instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: name}))
    failed = failed_days_of(context.instance, runs)
    days = {str(day): failed.get(day, f"{share:.1%} of the expected values") for day, share in sorted(bad.items())}
    return Explanation(days, start_command(service, tenant, sorted(bad), "incomplete"))
