"""Moves rows of raw days to the day that holds the middle of their intervals; tables in, tables out.

Releases of schema 1 filed a row by its stamp. The ten minutes before midnight are stamped 00:00: their value lies in
the file of the day after.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import layout, parquet
from weather_backfill.lake.carried import CARRIED, PENDING
from weather_backfill.lake.row_diff import differences
from weather_backfill.model import intervals, schemas
from weather_backfill.model.intervals import INTERVAL, Seconds
from weather_backfill.model.schemas import RAW, REJECTS


class Filed(NamedTuple):
    """A file's rows by the day they belong to: an earlier one, the file's, a later one."""

    early: pa.Table
    own: pa.Table
    late: pa.Table


def with_intervals(table: pa.Table, stands_for: Callable[[pa.Table], tuple[Seconds, Seconds]]) -> pa.Table:
    """Fill the columns of the interval where they are null or absent, with length and offset by `stands_for`."""
    whole = schemas.conformed(table, RAW, layout.RAW_OBSERVATIONS)
    fields = [RAW.field(f.name) if f.name in RAW.names else f for f in whole.schema]
    table = pa.table(whole.columns, schema=pa.schema(fields, metadata=table.schema.metadata))
    unknown = pc.or_(*(pc.is_null(table[name]) for name in INTERVAL))
    if not pc.any(unknown, min_count=0).as_py():
        return table
    for name, said in zip(INTERVAL, stands_for(table), strict=True):
        column = pa.array(np.broadcast_to(np.asarray(said, dtype=np.int32), table.num_rows))
        at = table.schema.get_field_index(name)
        table = table.set_column(at, RAW.field(name), pc.if_else(unknown, column, table[name]))
    return table


def filed(table: pa.Table, day: date) -> Filed:
    """Part the rows of a day's file by the day of the middle of their intervals."""
    number = int(np.datetime64(day, "D").astype(int))
    days = intervals.days(table)
    if not len(days) or (days.min() == number == days.max()):
        return Filed(table.slice(0, 0), table, table.slice(0, 0))
    return Filed(*(table.filter(pa.array(part)) for part in (days < number, days == number, days > number)))


def added(table: pa.Table, rows: pa.Table) -> pa.Table:
    """A day's rows with those of `rows` that it lacks, in order; the same table where it lacks none."""
    if not rows.num_rows:
        return table
    lacking = differences(table, rows).inserted
    if not len(lacking):
        return table
    more = rows.take(pa.array(lacking))
    joined = pa.concat_tables([table, more.replace_schema_metadata(None)], promote_options="default")
    return parquet.in_order(joined.unify_dictionaries())


def lineage_of(footer: dict[str, str]) -> dict[str, str]:
    """The entries of a raw file's footer that hold for its rows wherever they are filed."""
    return {name: text for name, text in footer.items() if name not in _OF_THE_BYTES}


_OF_THE_BYTES = {
    "schema_version", "time_zone", "window_label", "metrics", "code_version", "first_observation", "last_observation",
    "content", "rows", "row_groups", CARRIED, PENDING,
}  # fmt: skip


def as_rejects(rows: pa.Table, reason: str, source_object: str) -> pa.Table:
    """Rows that no day of the lake has a place for, as rejects: `station;metric;value` in their text."""
    station, metric = (rows[name].cast(pa.string()) for name in parquet.TAGS)
    value = pc.fill_null(rows["value"].cast(pa.string()), "null")
    text = pc.binary_join_element_wise(station, metric, value, ";")
    size, one = pc.binary_length(text).cast(pa.int64()), pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows)
    columns = [
        pa.repeat(reason, rows.num_rows), pa.repeat(source_object, rows.num_rows), station, rows["observed_at"], text,
        size, one,
    ]  # fmt: skip
    return pa.table(columns, schema=REJECTS)
