"""Upgrades a tenant's raw days from an older schema version, from the lake's own days and without the upstream.

A day of schema 1 was filed by stamp. Written anew it takes from its own file and the next day's the rows whose
intervals have their middle in it; what they stand for says the connection. Days go in order of time: a day gives up a
row only when the day before, which has taken it, is written. A run that was cut short is gone on with by the next, as
the upgraded days are of today's version. Refined days whose raw has changed are made again by the next plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from weather_backfill.backfill.coverage import held_days
from weather_backfill.lake import layout, ownership, parquet, provenance
from weather_backfill.lake.carried import with_carried
from weather_backfill.lake.writer import write_day
from weather_backfill.model import intervals
from weather_backfill.model.days import DayRecord, DayTable, RawDay
from weather_backfill.model.errors import NotFoundError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import RAW, REJECTS, conformed
from weather_backfill.refine.checks import Limits
from weather_backfill.refine.days import to_raw_table
from weather_backfill.sources.connection import Connection
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util.retries import retrying

_ONE_DAY = timedelta(days=1)
_OWN = ("source", "source_objects", "source_objects_sha256")
"""What a raw file's footer says of its making, which an upgrade does not change."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an upgrade of a tenant's service takes: the days to write, in order, and the bytes of their files."""

    days: Sequence[date]
    bytes: int


def cost(store: ObjectStore, service: str, tenant: str) -> Cost:
    """The days of an older schema version, and those that keep rows of such a day."""
    held = held_days(store, service, tenant)
    days = [
        day for day, it in sorted(held.items())
        if it.outdated or (it.carried and day - _ONE_DAY in held)
    ]  # fmt: skip
    return Cost(days, sum(held[day].bytes for day in days))


def upgrade(
    store: ObjectStore, service: str, tenant: str, connection: Connection, limits: Limits, days: Sequence[date]
) -> Iterator[DayRecord]:
    """Write these days anew, in order; raises at the first that cannot be read or written, and goes on from there."""
    for day in sorted(days):
        made = upgraded(store, service, PartitionKey(day, tenant), connection, limits)
        record = retrying()(write_day, store, service, layout.RAW_OBSERVATIONS, made)
        provenance.save(store, f"upgrade.{service}.{tenant}.{day}", list(record.written))
        yield record


def upgraded(store: ObjectStore, service: str, key: PartitionKey, connection: Connection, limits: Limits) -> DayTable:
    """A day as it is to be written; raises `NotFoundError` if the lake has no such day."""
    place = layout.day_key(layout.RAW_OBSERVATIONS, service, key)
    data = store.get(place)
    footer = parquet.our_pairs(parquet.decode(data).schema.metadata)
    table = _standing_for(ownership.decode(data, place), connection)
    following = layout.day_key(layout.RAW_OBSERVATIONS, service, PartitionKey(key.date + _ONE_DAY, key.tenant))
    start = int(np.datetime64(key.date, "us").astype("i8"))
    try:
        later = _standing_for(ownership.decode(store.get(following), following), connection)
    except NotFoundError:
        later = table.slice(0, 0)
    own, moved = _of_day(table, start), _of_day(later, start)
    if moved.num_rows:
        own = with_carried(own, conformed(moved, own.schema, layout.RAW_OBSERVATIONS).select(own.schema.names))
    day = RawDay(
        key.date, own.replace_schema_metadata(None), parquet.cadence_of(footer), _rejects(store, service, key),
        {"upgraded_from": footer.get("schema_version", "1"), "rows_taken_from_next_day": moved.num_rows},
        {name: footer[name] for name in _OWN if name in footer}, footer.get("incomplete"),
    )  # fmt: skip
    made = to_raw_table(key, day, limits, accept_loss=True)
    assert isinstance(made, DayTable)
    return made


def _of_day(table: pa.Table, start: int) -> pa.Table:
    middles = intervals.middles(table)
    return table.filter(pa.array((middles >= start) & (middles < start + intervals.DAY_US)))


def _standing_for(table: pa.Table, connection: Connection) -> pa.Table:
    """The rows with their intervals, those that had none by what the connection says."""
    schema = pa.schema([*RAW, *(f for f in table.schema if f.name not in RAW.names)])
    table = conformed(parquet.unified(table), RAW, layout.RAW_OBSERVATIONS).cast(schema)
    unknown = np.asarray(table["interval_seconds"].is_null())
    if not unknown.any():
        return table
    for name, said in zip(intervals.INTERVAL, connection.stands_for(table), strict=True):
        at = table.schema.get_field_index(name)
        known = np.asarray(table[name].fill_null(0))
        column = pa.array(np.where(unknown, said, known).astype("i4"))
        table = table.set_column(at, table.schema.field(at), column)
    return table


def _rejects(store: ObjectStore, service: str, key: PartitionKey) -> pa.Table:
    place = layout.day_key(layout.REJECTED_OBSERVATIONS, service, key)
    try:
        return ownership.decode(store.get(place), place).replace_schema_metadata(None).cast(REJECTS)
    except NotFoundError:
        return REJECTS.empty_table()
