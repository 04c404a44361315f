"""A page's bytes to columns. Arrow parses the JSON in C++ and lets other threads run meanwhile, so pages of
several windows decode side by side; no row is ever touched in Python.

What a page may hold that a column cannot: `value` null (dropped, counted), a text that is no finite number, a
time that is none (rejected with its text), a point nobody asked for (counted). Cells that are no texts are read by
`odd_pages`: one odd cell is one reject, or its value where it is a number.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from weather_backfill.model.errors import SchemaError, SourceUnavailableError
from weather_backfill.model.partitions import UTC
from weather_backfill.model.schemas import REJECTS, TIMESTAMP
from weather_backfill.sources.aceiot.odd_pages import TEXTS, in_utf8, quoted, read_singly
from weather_backfill.sources.aceiot.points import PointSet
from weather_backfill.sources.table import reject_columns

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NAIVE = pa.timestamp("us")
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")  # a byte-order mark may stand before it
_SANE_SECONDS = (
    int(datetime(1900, 1, 1, tzinfo=UTC).timestamp()),
    int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()),
)


def micros(moment: datetime) -> int:
    """Microseconds since the epoch of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """The UTC time of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=int(microseconds))


@dataclass(slots=True)
class Counts:
    """Where the rows of pages went: `read` is the sum of all others."""

    read: int = 0
    kept: int = 0
    rejected: int = 0
    null: int = 0
    duplicate: int = 0
    unconfigured: int = 0
    outside: int = 0

    def add(self, other: Counts) -> None:
        """Add another's counts to these."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    @property
    def reconciled(self) -> bool:
        """Whether every row that was read is accounted for."""
        gone = self.rejected + self.null + self.duplicate + self.unconfigured + self.outside
        return self.read == self.kept + gone


@dataclass(frozen=True, slots=True)
class Samples:
    """Decoded observations: metric codes, microseconds since the epoch, values; all of one length."""

    codes: np.ndarray
    times: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its samples and rejects, and what the walk needs to know about all of its rows.

    `times` are those of every row in the order they came, or `None` if one is unreadable. `first` and `last`
    are the name and time of the first and the last row.
    """

    samples: Samples
    rejects: pa.Table
    counts: Counts
    next_cursor: str | None
    has_more: bool
    times: np.ndarray | None
    first: tuple[str | None, int] | None = None
    last: tuple[str | None, int] | None = None
    size: int = field(default=0)

    @property
    def rows(self) -> int:
        """Rows of the page, kept or not."""
        return self.counts.read


def decode_page(body: bytes, points: PointSet, start: datetime, end: datetime, source_object: str) -> Page:
    """Decode a page of the window `[start, end)`. Raises `SchemaError` if it is not a page as documented."""
    rows, cursor, more = _parse(body, source_object)
    names, values, texts = rows.flatten() if rows.null_count else map(rows.field, ("name", "value", "time"))
    times, (doubles, bad_number) = _times(texts), _numbers(values)
    codes = np.asarray(pc.fill_null(pc.index_in(names, value_set=points.names), -1))
    micro = np.asarray(pc.fill_null(times.cast(pa.int64()), 0))
    low, high = micros(start), micros(end)
    bad_times = times.null_count
    counts = Counts(read=len(names), kept=len(names))
    samples, rejects = Samples(codes, micro, doubles), REJECTS.empty_table()
    clean = not (bad_times or bad_number is not None or values.null_count) and (
        not len(codes) or (codes.min() >= 0 and micro.min() >= low and micro.max() < high)
    )
    if not clean:
        # Reasons in the order in which they are judged; each row has exactly one fate.
        named = np.asarray(pc.is_valid(names))
        unconfigured = named & (codes < 0) & ~_damaged(names, codes)
        broken = ~unconfigured & (np.asarray(pc.is_null(times)) | (codes < 0))
        outside = ~unconfigured & ~broken & ((micro < low) | (micro >= high))
        left = ~(unconfigured | broken | outside)
        null = left & np.asarray(pc.is_null(values))
        wrong = left & ~null & (bad_number if bad_number is not None else False)
        keep = left & ~null & ~wrong
        rejects = _rejects(points.site, source_object, names, values, texts, times, broken, wrong)
        samples = Samples(codes[keep], micro[keep], doubles[keep])
        counts = Counts(
            read=len(names), kept=int(keep.sum()), rejected=rejects.num_rows, null=int(null.sum()),
            unconfigured=int(unconfigured.sum()), outside=int(outside.sum()),
        )  # fmt: skip
    first, last = [(names[i].as_py(), int(micro[i])) if len(names) else None for i in (0, -1)]
    return Page(samples, rejects, counts, cursor, more, None if bad_times else micro, first, last, len(body))


def _parse(body: bytes, source_object: str) -> tuple[pa.StructArray, str | None, bool]:
    try:
        table = _read(body, TEXTS)
    except pa.ArrowException:
        table = _read_odd(body, source_object)
    for name in ("point_samples", "has_more"):
        if table[name].null_count:
            raise SchemaError(
                f"{source_object}: no {name!r} in the page; expected point_samples, next_cursor and "
                f"has_more. It starts {body[:120]!r}."
            )
    samples = table["point_samples"].combine_chunks()
    rows = pc.list_flatten(samples.chunk(0) if isinstance(samples, pa.ChunkedArray) else samples)
    if len(rows) and rows.null_count == len(rows):
        raise SchemaError(f"{source_object}: all {len(rows)} samples are null; expected name, value and time.")
    return _in_utf8(rows, body), table["next_cursor"][0].as_py(), table["has_more"][0].as_py()


def _in_utf8(rows: pa.StructArray, body: bytes) -> pa.StructArray:
    """Arrow takes texts that are no UTF-8, and escapes that are half a character, as they come."""
    if body.isascii() and b"\\" not in body:
        return rows
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid:
        return in_utf8(rows)
    return rows


def _read_odd(body: bytes, source_object: str) -> pa.Table:
    """Read a page that is not as documented as far as it can be read, or say what is wrong with it."""
    with suppress(pa.ArrowException):
        return _read(body, [("name", pa.string()), ("value", pa.float64()), ("time", pa.string())])
    with suppress(pa.ArrowException):
        return _read(quoted(body), TEXTS)
    try:
        return read_singly(body)
    except (ValueError, RecursionError) as error:
        if not body.rstrip().endswith(b"}"):
            raise SourceUnavailableError(
                f"{source_object}: the page was cut or something else answered in the service's place; it "
                f"starts {body[:120]!r} and ends {body[-40:]!r}. Worth another try."
            ) from error
        raise SchemaError(
            f"{source_object}: the page is not as documented ({str(error)[:200]}); expected "
            '{"point_samples": [{"name", "value", "time"}], "next_cursor", "has_more"}. '
            f"It starts {body[:120]!r}."
        ) from error


def _read(body: bytes | pa.Buffer, columns: list[tuple[str, pa.DataType]]) -> pa.Table:
    schema = pa.schema(
        [
            ("point_samples", pa.list_(pa.struct(columns))),
            ("next_cursor", pa.string()),
            ("has_more", pa.bool_()),
        ]
    )
    if not _OBJECT.match(body):  # Arrow 26 brings the process down over `null`
        raise pa.ArrowInvalid("no JSON object")
    table = pj.read_json(
        pa.BufferReader(body),
        # The page is one JSON value, so it has to be one block.
        read_options=pj.ReadOptions(use_threads=False, block_size=max(len(body) + 1, 1024)),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    if table.num_rows != 1:
        raise pa.ArrowInvalid(f"{table.num_rows} JSON values instead of one")
    return table


def _times(texts: pa.Array) -> pa.Array:
    """Naive ISO texts, which are UTC, with or without fractions, to `timestamp[us, UTC]`; unreadable is
    null.
    """
    try:
        # Arrow also reads texts without seconds or time of day, which this format does not have.
        whole = (pc.min(pc.binary_length(texts)).as_py() or 0) >= len("2026-08-07T16:25:00")
        times = texts.cast(_NAIVE) if whole else _times_one_by_one(texts)
    except pa.ArrowInvalid:
        times = _times_one_by_one(texts)
    seconds = pc.divide(times.cast(pa.int64()), 1_000_000)
    sane = pc.and_(pc.greater(seconds, _SANE_SECONDS[0]), pc.less(seconds, _SANE_SECONDS[1]))
    return pc.if_else(sane, times, pa.scalar(None, _NAIVE)).cast(TIMESTAMP, safe=False)


_ISO = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
_BELOW_MICROSECONDS = r"(\.\d{6})\d+"
_DAY_31 = r"^\d{4}-(02-(30|31)|(04|06|09|11)-31)"
_FEBRUARY_29 = r"^\d{4}-02-29"


def _times_one_by_one(texts: pa.Array) -> pa.Array:
    """As `_times`, for a column in which at least one text is unreadable, names a zone or is finer than microseconds,
    to which it is cut.
    """
    possible = pc.and_not(
        pc.match_substring_regex(texts, _ISO + r"(Z|[+-]([01]\d|2[0-3]):?[0-5]\d)?$"),
        pc.match_substring_regex(texts, _DAY_31),
    )
    leap = pc.match_substring_regex(texts, r"^(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29")
    possible = pc.and_(possible, pc.or_(leap, pc.invert(pc.match_substring_regex(texts, _FEBRUARY_29))))
    texts = pc.replace_substring_regex(texts, _BELOW_MICROSECONDS, r"\1")
    zoned = pc.and_(possible, pc.match_substring_regex(texts, r"(Z|[+-]\d\d:?\d\d)$"))
    none = pa.scalar(None, pa.string())
    plain = pc.if_else(pc.and_not(possible, zoned), texts, none).cast(_NAIVE)
    aware = pc.if_else(zoned, texts, none).cast(TIMESTAMP).cast(_NAIVE, safe=False)
    return pc.coalesce(plain, aware)


_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def _numbers(values: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Texts to doubles, and which of them are no finite number (null is not among them; `None` for no
    one).
    """
    if pa.types.is_floating(values.type):
        numbers = values
    else:
        try:
            numbers = values.cast(pa.float64())
        except pa.ArrowInvalid:
            readable = pc.match_substring_regex(values, _NUMBER)
            numbers = pc.if_else(readable, values, pa.scalar(None, pa.string())).cast(pa.float64())
    doubles = np.asarray(pc.fill_null(numbers, np.nan), dtype=np.float64)
    finite = np.isfinite(doubles)
    if finite.all():
        return doubles, None
    bad = ~finite & np.asarray(pc.is_valid(values))
    return doubles, bad if bad.any() else None


def _damaged(names: pa.Array, codes: np.ndarray) -> np.ndarray:
    """Which names without a code hold what was no UTF-8: nobody knows whether these points are configured."""
    if codes.min(initial=0) >= 0:
        return np.zeros(len(codes), dtype=bool)
    return (codes < 0) & np.asarray(pc.fill_null(pc.match_substring(names, "\ufffd"), False))


def _rejects(
    site: str, source_object: str, names: pa.Array, values: pa.Array, texts: pa.Array, times: pa.Array,
    broken: np.ndarray, wrong: np.ndarray,
) -> pa.Table:  # fmt: skip
    where = np.flatnonzero(broken | wrong)
    if not len(where):
        return REJECTS.empty_table()
    index = pa.array(where)
    name, value, text, time = (c.take(index) for c in (names, values, texts, times))
    reason = pc.if_else(
        pc.is_null(name),
        "no name",
        pc.if_else(
            pc.match_substring(name, "\ufffd"),
            "name is not UTF-8",
            pc.if_else(pc.is_null(time), "time is not ISO 8601", "value is not a finite number"),
        ),
    )
    null = pa.scalar("null")
    raw = pc.binary_join_element_wise(
        pc.fill_null(name, null), pc.fill_null(value.cast(pa.string()), null), pc.fill_null(text, null), " | "
    )
    return reject_columns(reason, source_object, site, time, raw)
