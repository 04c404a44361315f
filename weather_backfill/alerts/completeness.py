"""Completeness of finished backfills, judged from the days that the lake holds now.

A backfill is told where its days cover too little on the whole, or where one lacks what was asked for (`lacks`): a
station's product, a site, a required metric. What a person has accepted as lacking is told no more.
An incomplete day counts for the first finished backfill that took it, so that the daily loads, which read late days
again, do not report it twice. The process caches footers and targets: a tick reads only what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial

import dagster as dg

from weather_backfill.alerts.commands import start_command
from weather_backfill.alerts.incidents import Condition, Explanation
from weather_backfill.backfill.acceptances import accepted_now
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.coverage import HeldDay
from weather_backfill.backfill.footer_cache import remembered, unread
from weather_backfill.backfill.status import failed_days_of, service_of, target_of
from weather_backfill.dagster.private import BACKFILL_ID_TAG, BulkActionsFilter, BulkActionStatus, PartitionBackfill
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.errors import StorageUnavailableError
from weather_backfill.model.expectation import words
from weather_backfill.storage.object_store import ObjectStore

_FINISHED = [
    BulkActionStatus.COMPLETED,
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.FAILED,
]
_LONGEST = timedelta(days=30)  # a backfill that took longer to finish is not judged
_MOST_FOOTERS = 3000  # read in one tick; the next tick continues from the cache
Connection = tuple[str, str]
_targets: dict[tuple[str, str], dict[Connection, list[date]]] = {}


def incomplete_backfills(context: BackfillContext, now: datetime) -> Iterator[Condition]:
    """Yield a condition for each finished backfill whose days lack what was asked for, or cover less than is expected.

    A connection that cannot be judged stops no other: its error is raised after all have been judged.
    """
    least = context.settings.alert_completeness
    budget = [_MOST_FOOTERS]
    failed: Exception | None = None
    for (service, tenant), backfills in _by_connection(context, now).items():
        try:
            taken = sorted(set().union(*backfills.values()))
            held = held_of(context.store, service, tenant, taken, budget)
            accepted = accepted_now(context.store, service, tenant)
        except Exception as error:  # e.g. a foreign object in one tenant's folder
            failed = failed or error
            continue
        completeness = {day: held[day].completeness if day in held else 0.0 for day in taken}
        lacks = {day: left for day, one in held.items() if (left := accepted.remaining(day, one.lacks))}
        claimed = {day for day in taken if accepted.whole(day)}
        for name, days in backfills.items():
            lacking = {day: str(words(lacks[day])) for day in days if day in lacks} if lacks else {}
            thin = {day for day in days if completeness[day] < least} - claimed
            under = bool(thin) and sum(completeness[day] for day in days) / len(days) < least
            bad = (thin if under else set()) | (lacking.keys() - claimed)
            if not bad:
                continue
            claimed |= bad
            said = f"completeness under {least:.0%}" if under else f"{len(bad)} days lack what was asked for"
            whys = {day: lacking.get(day) or f"{completeness[day]:.1%} of the expected values" for day in bad}
            yield Condition(
                "completeness", f"{service}/{tenant}/{name}", f"{said} after backfill {name}",
                partial(_explain, context, name, service, tenant, whys), tenant, service,
            )  # fmt: skip
    if failed:
        raise failed


def _by_connection(context: BackfillContext, now: datetime) -> dict[Connection, dict[str, list[date]]]:
    """The days of recently finished backfills by connection and backfill id, oldest backfill first."""
    since = now - timedelta(days=context.settings.alert_completeness_days)
    recent = context.instance.get_backfills(
        filters=BulkActionsFilter(statuses=_FINISHED, created_after=since - _LONGEST)
    )  # fmt: skip
    finished = [b for b in recent if (b.backfill_end_timestamp or b.backfill_timestamp) >= since.timestamp()]
    by_connection: dict[Connection, dict[str, list[date]]] = {}
    for backfill in sorted(finished, key=lambda b: b.backfill_timestamp):
        for connection, days in _target(context, backfill).items():
            by_connection.setdefault(connection, {})[backfill.backfill_id] = days
    return by_connection


def _target(context: BackfillContext, backfill: PartitionBackfill) -> dict[Connection, list[date]]:
    cache_key = (context.settings.storage_url, backfill.backfill_id)
    if cache_key not in _targets:
        service = service_of(backfill)
        target: dict[Connection, list[date]] = {}
        for key in target_of(backfill, context.graph) if service else []:
            target.setdefault((str(service), key.tenant), []).append(key.date)
        _targets[cache_key] = target
    return _targets[cache_key]


def held_of(
    store: ObjectStore, service: str, tenant: str, days: Sequence[date], budget: list[int]
) -> Mapping[date, HeldDay]:
    """Those of the days that are in the lake.

    `budget` holds the number of footers that may still be read, and is counted down; raises `StorageUnavailableError`
    when it is used up.
    """
    raw = day_objects(store, layout.RAW_OBSERVATIONS, service, tenant)
    objects = {day: raw[day] for day in days if day in raw}
    new = unread(store, objects)
    later = set(new[budget[0] :])
    budget[0] -= len(new) - len(later)
    held = remembered(store, {day: o for day, o in objects.items() if day not in later})
    if later:
        raise StorageUnavailableError(f"{len(later)} days are left for the next tick")
    return held


def _explain(
    context: BackfillContext, name: str, service: str, tenant: str, bad: Mapping[date, str]
) -> Explanation:  # fmt: skip
    runs = context.instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: name}))
    failed = failed_days_of(context.instance, runs)
    days = {str(day): failed.get(day, why) for day, why in sorted(bad.items())}
    return Explanation(days, start_command(service, tenant, sorted(bad), "incomplete"))
