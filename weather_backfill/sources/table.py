"""Arrays to the tables a source yields: rows of `schemas.RAW` (sorted, dictionary-encoded) and of `schemas.REJECTS`.

Everything works on whole columns. Series are numbered: a code stands for a station, a metric or both, and codes are in
the order of the names, so that sorting integers sorts by name. All times are UTC microseconds since 1970-01-01.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.model.schemas import MISSING, PASS, RAW, RAW_TEXT_LIMIT, REJECTS, SOURCE_QUALITY, TIMESTAMP

RAW_WITH_SOURCE_QUALITY = pa.schema([*RAW, SOURCE_QUALITY])
"""`schemas.RAW` with the upstream's quality level as its last column."""


class Interval(NamedTuple):
    """What values stand for: the `seconds` that end `end_offset` seconds after the stamp, 0 for a reading."""

    seconds: npt.NDArray[np.int32] | int
    end_offset: npt.NDArray[np.int32] | int = 0


READING = Interval(0)
BEFORE_FIRST_DAY = "before_first_day"
"""Why the first row of a history is a reject: its interval belongs to the day before, which has nothing else."""


class Tags(NamedTuple):
    """A column of names: per row the position (int32) of its name in `names` (Arrow strings)."""

    codes: npt.NDArray[np.int32]
    names: pa.StringArray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Tags:
        """Encode a name per row; the names come out distinct and sorted."""
        encoded = pa.array(texts, pa.string()).dictionary_encode()
        order = pc.sort_indices(encoded.dictionary)
        rank = np.empty(len(order), dtype=np.int32)
        rank[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
        return cls(rank[np.asarray(encoded.indices)], encoded.dictionary.take(order))


def raw_batch(
    times: npt.NDArray[np.int64],
    station_id: Tags,
    metric: Tags,
    values: npt.NDArray[np.float64],
    *,
    interval: Interval,
    quality: int | None = None,
    source_quality: pa.Array | None = None,
) -> pa.RecordBatch:
    """Rows in the order given, which must be that of station, metric, time and interval, as a batch of `schemas.RAW`.

    NaN becomes null. `interval` is what the rows stand for: one number for all, or a column each. `quality` is the flag
    of every row; without it a row with a value is `PASS`, a null `MISSING`. With `source_quality` (int8, null where the
    upstream gave none) the schema is `RAW_WITH_SOURCE_QUALITY`.
    """
    missing = np.isnan(values)
    if quality is None:
        flags = np.where(missing, np.int8(MISSING), np.int8(PASS))
    else:
        flags = np.full(len(values), quality, dtype=np.int8)
    columns: list[pa.Array] = [
        pa.array(times).view(TIMESTAMP),
        pa.DictionaryArray.from_arrays(station_id.codes, station_id.names),
        pa.DictionaryArray.from_arrays(metric.codes, metric.names),
        pa.array(values, mask=missing) if missing.any() else pa.array(values),
        pa.array(flags),
        *(pa.array(np.broadcast_to(np.asarray(part, dtype=np.int32), len(values))) for part in interval),
    ]
    if source_quality is None:
        return pa.record_batch(columns, schema=RAW)
    return pa.record_batch([*columns, source_quality], schema=RAW_WITH_SOURCE_QUALITY)


class LatestRows(NamedTuple):
    """Rows sorted by series, time and length, unique by these.

    `order` and `replaced` are positions in the rows as received.
    """

    order: npt.NDArray[np.int64]
    series: npt.NDArray[Any]
    times: npt.NDArray[np.int64]
    replaced: npt.NDArray[np.int64]


def latest_rows(
    series: npt.NDArray[Any], times: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32] | int = 0
) -> LatestRows:
    """Sort rows, given in the order received, by series (codes from 0 up), time and the length of their interval.

    Of equal ones the last is kept; two lengths at one time are two rows.
    """
    mixed = isinstance(lengths, np.ndarray) and len(lengths) > 0 and bool(np.any(lengths != lengths[0]))
    rising = not mixed and not np.any(times[1:] < times[:-1])
    keys: list[npt.NDArray[Any]] = [np.asarray(lengths), times, _narrow(series)] if mixed else [times, _narrow(series)]
    order = stable_order(series) if rising else np.lexsort(keys)
    series, times = series[order], times[order]
    last = np.ones(len(order), dtype=bool)
    np.not_equal(times[1:], times[:-1], out=last[:-1])
    last[:-1] |= series[1:] != series[:-1]
    if mixed:
        ordered = np.asarray(lengths)[order]
        last[:-1] |= ordered[1:] != ordered[:-1]
    if last.all():
        return LatestRows(order, series, times, order[:0])
    return LatestRows(order[last], series[last], times[last], order[~last])


def stable_order(codes: npt.NDArray[Any], lowest: int = 0) -> npt.NDArray[np.int64]:
    """The positions that sort codes from `lowest` up and leave equal ones in their order."""
    return np.argsort(_narrow(codes, lowest), kind="stable")


def _narrow(codes: npt.NDArray[Any], lowest: int = 0) -> npt.NDArray[Any]:
    """The same codes in 16 bits where they fit, which numpy sorts by radix."""
    if len(codes) and int(codes.max()) - lowest < 1 << 16:
        return (codes - lowest).astype(np.uint16)
    return codes


@dataclass(slots=True)
class Reject:
    """What was read and cannot be kept; the columns of `schemas.REJECTS`, the time in UTC microseconds.

    `raw_text` is cut, and its length before that is `raw_bytes`. `stands_for` counts rows; `UNKNOWN` waits for an
    estimate, see `estimate`.
    """

    reason: str
    source_object: str
    raw_text: str | bytes
    station_id: str | None = None
    observed_at: int | None = None
    raw_bytes: int = -1
    stands_for: int = 1

    def __post_init__(self) -> None:
        """Measure the text, then cut it."""
        if self.raw_bytes < 0:
            whole = self.raw_text
            self.raw_bytes = len(whole.encode(errors="replace") if isinstance(whole, str) else whole)
        self.raw_text = cut_text(self.raw_text)


UNKNOWN = 0
"""What a reject stands for as long as nobody has estimated it."""


def estimate(rejects: Iterable[Reject], rows: int, size: int, usual: int) -> None:
    """Say of how many rows the rejects may stand that are `UNKNOWN`: as many as what was read has in as many bytes.

    `rows` were read from texts of `size` bytes in all; where none were, a row takes `usual` bytes. It is one at least.
    """
    each = size / rows if rows else usual
    for reject in rejects:
        if reject.stands_for == UNKNOWN:
            reject.stands_for = max(1, round(reject.raw_bytes / each))


def reject_table(rejects: Iterable[Reject], key: Callable[[Reject], Any]) -> pa.Table:
    """Rejects as a table of `schemas.REJECTS`, sorted by `key`, so that it does not depend on the order of reading."""
    rows = sorted(rejects, key=key)
    return pa.table([pa.array([getattr(row, f.name) for row in rows], f.type) for f in REJECTS], schema=REJECTS)


def reject_columns(
    reason: pa.Array | str,
    source_object: pa.Array | str,
    station_id: pa.Array | str,
    observed_at: pa.Array,
    raw_text: pa.Array,
) -> pa.Table:
    """Columns of rejected rows, one each, as a table of `schemas.REJECTS`, in the order given.

    A text that is given instead of a column holds for all rows; `raw_text` is measured, then cut.
    """
    columns = [reason, source_object, station_id, observed_at, cut_texts(raw_text)]
    arrays = [pa.repeat(column, len(raw_text)) if isinstance(column, str) else column for column in columns]
    size, one = pc.binary_length(raw_text).cast(pa.int64()), pa.repeat(pa.scalar(1, pa.int64()), len(raw_text))
    return pa.table([*arrays, size, one], schema=REJECTS)


def cut_text(text: str | bytes) -> str:
    """The first `RAW_TEXT_LIMIT` bytes of a text; bytes that are no UTF-8 are shown as U+FFFD.

    A `str` is cut between characters, so that what a file's decoding let through stays as it was shown.
    """
    if isinstance(text, bytes):
        return text[:RAW_TEXT_LIMIT].decode("utf-8", "replace")
    return text.encode(errors="replace")[:RAW_TEXT_LIMIT].decode(errors="ignore")


def cut_texts(texts: pa.Array) -> pa.Array:
    """Texts of at most `RAW_TEXT_LIMIT` bytes, cut between characters."""
    if (pc.max(pc.binary_length(texts)).as_py() or 0) <= RAW_TEXT_LIMIT:
        return texts
    return pa.array(map(cut_text, texts.to_pylist()), pa.string())
