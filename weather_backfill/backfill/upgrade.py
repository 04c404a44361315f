"""Upgrades a tenant's raw days of schema 1 from the lake alone: rows get their intervals, and lie in the days of these.

A day D takes from the file of D+1 what belongs to it (the ten minutes before midnight are stamped 00:00), and leaves to
D-1 what belongs there. Days go in order, and D gives nothing up before D-1 holds it, so that a kill at any point loses
nothing and the next call goes on: a day that is done has today's schema in its footer. Rows that belong to a day which
the lake does not have are rejects (`before_first_day`, `after_last_day`). Where D+1 is not in the lake, the last values
of D are in no file: such a day is upgraded, and stays *older schema* in plans until it is loaded or D+1 is there.

The replaced files go to the version store. Refined is made again from each new file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from weather_backfill import __version__
from weather_backfill.backfill.audit import audit
from weather_backfill.backfill.commands import BackfillContext
from weather_backfill.backfill.coverage import HeldDay, unrefined
from weather_backfill.backfill.footer_cache import remembered, remembered_refined
from weather_backfill.backfill.rollback import record_by_hand
from weather_backfill.backfill.taken_days import overlapping
from weather_backfill.lake import layout, ownership, parquet, provenance, refiling, versions
from weather_backfill.lake.carried import CARRIED, PENDING
from weather_backfill.lake.listing import day_objects
from weather_backfill.lake.writer import write_day
from weather_backfill.model import intervals, schemas
from weather_backfill.model.errors import ConfigurationError, ConflictError, WeatherError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import REJECTS
from weather_backfill.refine.days import refine_day
from weather_backfill.refine.quality import flag
from weather_backfill.sources.connection import Connection
from weather_backfill.sources.registry import SERVICES
from weather_backfill.sources.table import BEFORE_FIRST_DAY
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill.util.retries import retrying

AFTER_LAST_DAY = "after_last_day"
DAY_SECONDS, ROWS_PER_SECOND = 0.15, 1_000_000
"""Cost of a small day in seconds, and rows of a large one a second: days of 192, 24,480 and 1,000,000 rows took 0.12,
0.15 and 0.84 s of processor time, raw and refined together, on a local disk. S3 adds its requests.
"""
_A_DAY = timedelta(days=1)
_SAVED_EVERY = 100  # days whose provenance is one object
_NO_LAST = "its last values lie in the next day's file, which the lake did not have"
_GIVEN = "rows of its own came from the day beside it"


@dataclass(frozen=True, slots=True)
class UpgradePlan:
    """A connection's days to upgrade, those of which only refined is to be made again, and the cost.

    `bytes` of raw files are read and written, and kept as versions for as long as versions are kept.
    """

    service: str
    tenant: str
    days: tuple[date, ...]
    refined_only: tuple[date, ...]
    rows: int
    bytes: int

    def row(self) -> dict[str, Any]:
        """The plan in figures."""
        count = len(self.days) + len(self.refined_only)
        return {
            "service": self.service,
            "days": len(self.days),
            "first_day": str(self.days[0]) if self.days else None,
            "last_day": str(self.days[-1]) if self.days else None,
            "refined_only": len(self.refined_only),
            "rows": self.rows,
            "bytes": self.bytes,
            "expected_seconds": math.ceil(count * DAY_SECONDS + self.rows / ROWS_PER_SECOND),
        }


@dataclass(slots=True)
class Upgraded:
    """Result of an upgrade: days, rows that went to the day before or after, rejects, and days that failed."""

    service: str
    tenant: str
    days: int = 0
    refined: int = 0
    rows_moved: int = 0
    rejects: int = 0
    without_last_values: int = 0
    failed: dict[date, str] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The result in figures."""
        failed = {str(day): why for day, why in self.failed.items()}
        return {
            "service": self.service, "days": self.days, "refined": self.refined, "rows_moved": self.rows_moved,
            "rejects": self.rejects, "without_last_values": self.without_last_values, "failed": failed,
        }  # fmt: skip


def plan_upgrade(context: BackfillContext, tenant: str, service: str | None = None) -> list[UpgradePlan]:
    """Find a tenant's days to upgrade, by service (or of one service), from listings and footers.

    Raises `ConfigurationError` for a tenant that is not known or has an active backfill.
    """
    TenantRegistry(open_tenant_files(context.settings)).get(tenant)
    plans = []
    for name in (service,) if service else SERVICES:
        found = find_days(context.store, name, tenant)
        if not found.days and not found.refined_only:
            continue
        beside = {day + step for day in found.days for step in (-_A_DAY, timedelta(), _A_DAY)}
        if busy := overlapping(context, name, tenant, beside):
            raise ConfigurationError(
                f"backfill {', '.join(busy)} of {tenant} ({name}) is active: wait for it or pause it, then upgrade."
            )
        plans.append(found)
    return plans


def find_days(store: ObjectStore, service: str, tenant: str) -> UpgradePlan:
    """The plan of a connection: its days of schema 1, those upgraded only in part, and refined of other raw."""
    objects = day_objects(store, layout.RAW_OBSERVATIONS, service, tenant)
    held = remembered(store, objects)
    days = [day for day, one in sorted(held.items()) if _upgradable(one, held)]
    refined = remembered_refined(store, day_objects(store, layout.REFINED_15M, service, tenant))
    stale = unrefined(refined, {day: one for day, one in held.items() if not one.outdated and not one.incomplete})
    again = tuple(sorted(day for day in stale if day not in days))
    rows = sum(held[day].rows for day in (*days, *again))
    return UpgradePlan(service, tenant, tuple(days), again, rows, sum(objects[day].size for day in days))


def _upgradable(day: HeldDay, held: Mapping[date, HeldDay]) -> bool:
    """Return whether the lake alone can bring a day further: it has the days that the day's rows go to or come from."""
    if day.pending == _NO_LAST:
        after = held.get(day.date + _A_DAY)
        return after is not None and (after.outdated or after.carried)
    return day.outdated or (day.carried and day.date - _A_DAY in held)


def upgrade(
    context: BackfillContext, plan: UpgradePlan, advance: Callable[[int], None] = lambda days: None
) -> Upgraded:
    """Upgrade the days of a plan in order, raw and refined; a day that fails is named and costs no other.

    Safe to call again after a kill at any point, with a new plan.
    """
    context.claim()
    store, service = context.store, plan.service
    fill = filling(TenantRegistry(open_tenant_files(context.settings)).get(plan.tenant).connection(service))
    done = Upgraded(service, plan.tenant)
    entries: list[provenance.ProvenanceEntry] = []
    for number, day in enumerate(sorted({*plan.days, *plan.refined_only})):
        key = PartitionKey(day, plan.tenant)
        try:
            if day in plan.days:
                raw = retrying()(conditional.started_over, lambda key=key: upgrade_raw(store, service, key, fill))
                done.days += 1
                done.rows_moved += raw.moved
                done.rejects += raw.rejects
                done.without_last_values += raw.pending
                entries.append(raw.entry)
                record_by_hand(context.instance, service, layout.RAW_OBSERVATIONS, key, raw.facts)
            record = retrying()(write_day, store, service, layout.REFINED_15M, refine_day(store, service, key))
            entries += record.written
            done.refined += 1
            record_by_hand(context.instance, service, layout.REFINED_15M, key, dict(record.metadata))
        except WeatherError as error:
            done.failed[day] = f"{type(error).__name__}: {error}"
        if len(entries) >= 2 * _SAVED_EVERY:
            provenance.save(store, f"upgrade-{number}.{service}.{plan.tenant}", entries)
            entries = []
        advance(1)
    provenance.save(store, f"upgrade-last.{service}.{plan.tenant}", entries)
    outcome = "done" if not done.failed else "failed"
    audit(store, "upgrade", parameters={"tenant": plan.tenant, **done.row()}, code_version=__version__, outcome=outcome)
    return done


def filling(connection: Connection) -> Callable[[pa.Table], pa.Table]:
    """A function that fills the intervals of a file's rows that have none, by what the connection says of them."""

    def fill(table: pa.Table) -> pa.Table:
        return refiling.with_intervals(table, connection.stands_for)

    return fill


@dataclass(frozen=True, slots=True)
class _RawDone:
    entry: provenance.ProvenanceEntry
    facts: Mapping[str, Any]
    moved: int
    rejects: int
    pending: bool


def upgrade_raw(store: ObjectStore, service: str, key: PartitionKey, fill: Callable[[pa.Table], pa.Table]) -> _RawDone:
    """Upgrade one raw day; the day before it must have been upgraded.

    Raises `ConflictError` where the day is replaced meanwhile: call it again.
    """
    object_key = layout.day_key(layout.RAW_OBSERVATIONS, service, key)
    seen = store.look(object_key)
    if seen is None:
        raise ConflictError(f"{store.uri(object_key)} has gone since it was listed: plan the upgrade again.")
    old = ownership.decode(seen.data, object_key)
    footer = parquet.our_pairs(old.schema.metadata)
    parts = refiling.filed(fill(old), key.date)
    rejects = [
        *_given_to(store, service, key, -1, parts.early, fill),
        *_given_to(store, service, key, 1, parts.late, fill),
    ]
    taken, lacking = _from_next_day(store, service, key, parts, fill)
    pending = lacking and (schemas.is_older(footer.get("schema_version")) or PENDING in footer)  # else it was loaded
    table = flag(refiling.added(parts.own, taken), parquet.cadence_of(footer))
    lineage = {**refiling.lineage_of(footer), **({PENDING: _NO_LAST} if pending else {})}
    if rejects:
        lineage["rejects"] = str(int(lineage.get("rejects", 0)) + sum(part.num_rows for part in rejects))
    file = parquet.encode(table.replace_schema_metadata(None), {**lineage, **ownership.owner_of_day(service, key)})
    with conditional.exclusive(store, object_key) as held:
        now = held.look()
        if now is None or now.etag != seen.etag:
            raise ConflictError(f"{store.uri(object_key)} was replaced while it was being upgraded: it is read again.")
        held.confirm()
        if seen.data != file.data:
            versions.keep(store, service, key, seen.data)
        _add_rejects(store, service, key, rejects)
        stored = held.put(file.data, now)
    facts = {"rows": table.num_rows, "sha256": file.sha256, "upgraded_from": footer.get("schema_version", "1")}
    moved = parts.early.num_rows + parts.late.num_rows
    return _RawDone(provenance.entry(stored, file), facts, moved, sum(part.num_rows for part in rejects), pending)


def _from_next_day(
    store: ObjectStore, service: str, key: PartitionKey, parts: refiling.Filed, fill: Callable[[pa.Table], pa.Table]
) -> tuple[pa.Table, bool]:
    """The rows in the next day's file that belong to this day, and whether its last values may be in no file.

    Only where values lie before their stamps can a later file hold any.
    """
    nothing = parts.own.slice(0, 0)
    if not _precede_stamps(parts.own):
        return nothing, False
    after = PartitionKey(key.date + _A_DAY, key.tenant)
    after_key = layout.day_key(layout.RAW_OBSERVATIONS, service, after)
    seen = store.look(after_key)
    if seen is None:
        return nothing, True
    table = ownership.decode(seen.data, after_key)
    footer = parquet.our_pairs(table.schema.metadata)
    given = footer.get(PENDING) == _GIVEN or CARRIED in footer
    old = schemas.is_older(footer.get("schema_version")) or given
    return refiling.filed(fill(table), after.date).early, not old


def _precede_stamps(rows: pa.Table) -> bool:
    """Return whether the middle of any row's interval lies before its stamp."""
    return bool((intervals.middles(rows) < np.asarray(rows["observed_at"].cast(pa.int64()))).any())


def _given_to(
    store: ObjectStore, service: str, key: PartitionKey, direction: int, rows: pa.Table,
    fill: Callable[[pa.Table], pa.Table],
) -> list[pa.Table]:  # fmt: skip
    """See to it that the day beside holds these rows; the rows as rejects where the lake has no such day."""
    if not rows.num_rows:
        return []
    beside = PartitionKey(key.date + direction * _A_DAY, key.tenant)
    object_key = layout.day_key(layout.RAW_OBSERVATIONS, service, beside)
    with conditional.exclusive(store, object_key) as held:
        seen = held.look()
        if seen is None:
            own_key = layout.day_key(layout.RAW_OBSERVATIONS, service, key)
            reason = BEFORE_FIRST_DAY if direction < 0 else AFTER_LAST_DAY
            return [refiling.as_rejects(rows, reason, own_key)]
        old = ownership.decode(seen.data, object_key)
        footer = parquet.our_pairs(old.schema.metadata)
        table = fill(old)
        whole = refiling.added(table, rows)
        if whole is table:
            return []
        pending = PENDING in footer or schemas.is_older(footer.get("schema_version"))
        lineage = {**refiling.lineage_of(footer), **({PENDING: _GIVEN} if pending else {})}
        flagged = flag(whole, parquet.cadence_of(footer)).replace_schema_metadata(None)
        file = parquet.encode(flagged, {**lineage, **ownership.owner_of_day(service, beside)})
        held.confirm()
        versions.keep(store, service, beside, seen.data)
        held.put(file.data, seen)
    return []


def _add_rejects(store: ObjectStore, service: str, key: PartitionKey, rejects: list[pa.Table]) -> None:
    """Put rejects beside those that the day has; the same ones are there once, however often this is called."""
    if not rejects:
        return
    object_key = layout.day_key(layout.REJECTED_OBSERVATIONS, service, key)
    seen = store.look(object_key)
    before = []
    if seen is not None:
        stored = ownership.decode(seen.data, object_key)
        before = [schemas.conformed(stored, REJECTS, layout.REJECTED_OBSERVATIONS).cast(REJECTS)]
    reasons = {BEFORE_FIRST_DAY, AFTER_LAST_DAY}
    kept = [t.filter(pa.array([r not in reasons for r in t["reason"].to_pylist()], pa.bool_())) for t in before]
    table = pa.concat_tables([*(t.replace_schema_metadata(None) for t in kept), *rejects])
    store.put(object_key, parquet.encode(table, ownership.owner_of_day(service, key)).data)
