"""Rows of a day of schema 1 that belong to the day before, kept in their old day until that one holds them.

Schema 1 filed a row by its stamp, today's files by the middle of its interval: the ten minutes before midnight, stamped
00:00, have moved one day back. Where a day is written anew and the day before is still of schema 1, or not in the lake,
nobody else holds those rows: they stay, with no interval, so that they count where they counted before, and the
footer says how many (`carried`). When the day before has been written, this day is outdated and loses them.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from weather_backfill.lake import layout, ownership, parquet
from weather_backfill.model import intervals
from weather_backfill.model.errors import NotFoundError, UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import is_older
from weather_backfill.storage.object_store import ObjectStore

CARRIED = "carried"
"""The footer's entry with the number of rows that a day carries for the day before."""
PENDING = "upgrade"
"""The footer's entry of a day that is still to be upgraded though its file has today's schema; its text says why."""


def carried_rows(
    store: ObjectStore, service: str, key: PartitionKey, previous: bytes | None, table: pa.Table
) -> pa.Table:
    """The rows of `previous`, the raw file that `table` replaces, that must stay in the day; mostly none.

    Their columns are those of `table`. A previous file that is damaged has none.
    """
    nothing = table.slice(0, 0)
    metadata = parquet.metadata_of(previous) if previous is not None else None
    if previous is None or metadata is None or not table.num_rows:
        return nothing
    footer = parquet.footer_of(metadata)
    if not is_older(footer.get("schema_version")) and CARRIED not in footer:
        return nothing
    if holds_own_days_end(store, service, PartitionKey(key.date - timedelta(days=1), key.tenant)):
        return nothing
    try:
        old = ownership.decode(previous, layout.day_key(layout.RAW_OBSERVATIONS, service, key))
    except UnreadableObjectError:
        return nothing
    start = int(np.datetime64(key.date, "us").astype("i8"))
    stamps = np.asarray(old["observed_at"].cast(pa.int64()))
    moved = (stamps >= start) & (stamps + _shifts(old, table) < start)
    rows = old.filter(pa.array(moved))
    names = [f.name for f in table.schema]
    columns = [
        rows[f.name].cast(f.type) if f.name in rows.schema.names and f.name not in intervals.INTERVAL
        else pa.nulls(rows.num_rows, f.type)
        for f in table.schema
    ]  # fmt: skip
    return pa.table(dict(zip(names, columns, strict=True)), schema=table.schema)


def with_carried(table: pa.Table, rows: pa.Table) -> pa.Table:
    """A day's table with its carried rows, in order."""
    return parquet.in_order(pa.concat_tables([table, rows]).unify_dictionaries())


def holds_own_days_end(store: ObjectStore, service: str, key: PartitionKey) -> bool:
    """Return whether a day is filed as today: its raw file then holds the rows stamped at the next midnight."""
    try:
        stored = store.head(layout.day_key(layout.RAW_OBSERVATIONS, service, key))
    except NotFoundError:
        return False
    metadata = parquet.stored_metadata(store, stored)
    if metadata is None:
        return False
    footer = parquet.footer_of(metadata)
    return not is_older(footer.get("schema_version")) and PENDING not in footer


def _shifts(old: pa.Table, new: pa.Table) -> np.ndarray:
    """Microseconds from the stamp of each old row to its middle, by what its series stands for in the new table."""
    starts = parquet.series_starts(new)
    by_middle = intervals.middles(new.take(starts)) - np.asarray(new["observed_at"].take(starts).cast(pa.int64()))
    shift_of = dict(zip(parquet.series_names(new, starts), by_middle.tolist(), strict=True))
    old_starts = parquet.series_starts(old)
    shifts = np.array([shift_of.get(series, 0) for series in parquet.series_names(old, old_starts)], dtype="i8")
    return np.repeat(shifts, np.diff(np.append(old_starts, old.num_rows)))
