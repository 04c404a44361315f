"""What a raw row stands for: its interval `(start, end]`, from the columns of `schemas.RAW`; and the day it lies in.

`end` is `interval_end_offset_seconds` after `observed_at`, `start` is `interval_seconds` before `end`; 0 seconds are a
reading at `end`. A row belongs to the UTC day `[00:00, 24:00)` that holds the middle of its interval: the ten minutes
before midnight are stamped 00:00 and belong to the day that ends there, a reading at 00:00 to the day that begins. Rows
of schema 1, whose interval is not known, count as readings at their stamp: so they were filed.

All times are UTC microseconds since 1970-01-01.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.model.schemas import TIMESTAMP

Micros = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.int32] | int

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
INTERVAL = ("interval_seconds", "interval_end_offset_seconds")
COMPUTED = pa.schema([pa.field("interval_start", TIMESTAMP), pa.field("interval_end", TIMESTAMP)])
"""The columns that readers and views derive; null where the interval is not known."""


def shift_to_middle(seconds: Seconds, end_offset: Seconds) -> Micros | int:
    """Microseconds from a stamp to the middle of its interval."""
    if isinstance(seconds, int) and isinstance(end_offset, int):
        return end_offset * SECOND_US - seconds * SECOND_US // 2
    offsets, lengths = np.asarray(end_offset, dtype=np.int64), np.asarray(seconds, dtype=np.int64)
    return np.asarray(offsets * SECOND_US - lengths * SECOND_US // 2)


def middles(table: pa.Table) -> Micros:
    """The middle of each row's interval; the stamp where it is not known."""
    return np.asarray(_stamps(table) + shift_to_middle(*_numbers(table)))


def bounds(table: pa.Table) -> tuple[Micros, Micros]:
    """Start and end of each row's interval; both are the stamp where it is not known."""
    seconds, offset = _numbers(table)
    ends = _stamps(table) + offset.astype(np.int64) * SECOND_US
    return ends - seconds.astype(np.int64) * SECOND_US, ends


def days(table: pa.Table) -> Micros:
    """The UTC day (days since 1970-01-01) that each row belongs to."""
    return middles(table) // DAY_US


def with_bounds(table: pa.Table) -> pa.Table:
    """Append the columns of `COMPUTED`."""
    unknown = pc.or_(*(pc.is_null(table[name]) for name in INTERVAL)).to_numpy()
    arrays = (pa.array(moments, mask=unknown).cast(TIMESTAMP) for moments in bounds(table))
    for field, column in zip(COMPUTED, arrays, strict=True):
        table = table.append_column(field, column)
    return table


def by_metric(table: pa.Table, of: Callable[[str], tuple[int, int]]) -> tuple[Seconds, Seconds]:
    """Each row's length and offset by its metric."""
    metric = pc.dictionary_encode(table["metric"].cast(pa.string())).combine_chunks()
    told = np.array([of(name) for name in metric.dictionary.to_pylist()], dtype=np.int32).reshape(-1, 2)
    return told[np.asarray(metric.indices), 0], told[np.asarray(metric.indices), 1]


def numbers(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray] | None:
    """Length and offset of each row's interval in seconds (int32), 0 where either is not known; None: of no row."""
    if not set(INTERVAL) <= set(table.schema.names):
        return None
    length, offset = (table[name] for name in INTERVAL)
    if length.null_count == len(length) or offset.null_count == len(offset):
        return None
    if length.null_count or offset.null_count:
        known = pc.and_(pc.is_valid(length), pc.is_valid(offset))
        length, offset = (pc.if_else(known, column, pa.scalar(0, pa.int32())) for column in (length, offset))
    return length, offset


def lengths(table: pa.Table, unknown: int = 0) -> npt.NDArray[np.int32]:
    """The seconds that each row stands for; `unknown` where that is not known, or the table has no such column."""
    if INTERVAL[0] not in table.schema.names:
        return np.broadcast_to(np.int32(unknown), table.num_rows)
    return np.asarray(pc.fill_null(table[INTERVAL[0]], unknown))


def in_day(moments: Micros, start: int) -> npt.NDArray[np.bool_]:
    """Which moments lie in the UTC day that starts at `start`."""
    return np.asarray((moments >= start) & (moments < start + DAY_US))


def _stamps(table: pa.Table) -> Micros:
    return np.asarray(table["observed_at"].cast(pa.int64()), dtype=np.int64)


def _numbers(table: pa.Table) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    known = numbers(table)
    if known is None:
        nothing = np.zeros(table.num_rows, dtype=np.int32)
        return nothing, nothing
    length, offset = (np.asarray(column, dtype=np.int32) for column in known)
    return length, offset
