"""Reads the columns of a pipe-separated file, of either layout, without looking at the others.

There is no quoting: a `"` is a character. A line with another number of fields (a pipe in a remark) is a reject. Cells
that are no number are read again as text, so that one of them costs itself and not the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from weather_backfill.model.errors import SchemaError, UnreadableObjectError
from weather_backfill.sources.ghcnh.elements import (
    CODES,
    ELEMENTS,
    KNOWN_COLUMNS,
    MEASUREMENT,
    QUALITY,
    REPORT,
    SOURCE,
)

_CODE = pa.dictionary(pa.int32(), pa.string())
_CLOCK = ("Year", "Month", "Day", "Hour", "Minute")
_STAMP = pa.timestamp("s")
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
NO_TIME = np.iinfo(np.int64).min
"""The time of a row whose stamp cannot be read."""


@dataclass(slots=True)
class Coded:
    """A column of codes: per row the position of its text in `names`, which begins with that of no code, ""."""

    codes: npt.NDArray[np.int32]
    names: list[str]


@dataclass(slots=True)
class Psv:
    """The rows of a file in its order: `stations`, `times` (UTC microseconds, or `NO_TIME`), `table` of the elements'
    columns (values as float64, codes as dictionaries), the lines that are no rows, cells that are no number (row,
    element, text), and columns that no known version has.
    """

    stations: Coded
    times: npt.NDArray[np.int64]
    table: pa.Table
    bad_lines: list[str]
    bad_cells: list[tuple[int, str, str]] = field(default_factory=list)
    unknown_columns: tuple[str, ...] = ()

    def values(self, name: str) -> npt.NDArray[np.float64] | None:
        """An element's values, NaN where it has none; None where the file lacks the element."""
        if name not in self.table.column_names:
            return None
        column = self.table[name]
        if column.null_count == len(column):
            return None
        return np.asarray(column.to_numpy(), dtype=np.float64)

    def codes(self, name: str) -> Coded:
        """A column of codes; all "" where the file lacks it."""
        if name not in self.table.column_names:
            return Coded(np.zeros(self.table.num_rows, np.int32), [""])
        return coded(self.table[name])


def read_psv(body: bytes, name: str, elements: Sequence[str] | None = None) -> Psv:
    """Read a file's elements (by default those that are kept), whatever order and version its columns have.

    Raises `SchemaError` for what is no such file, and `UnreadableObjectError` for bytes that are no table.
    """
    columns = check_psv(body, name)
    wanted = [element.name for element in ELEMENTS] if elements is None else elements
    values = [column for column in wanted if column in columns]
    numeric = {e.name for e in ELEMENTS}
    ends = CODES if elements is None else dict.fromkeys(wanted, (MEASUREMENT, QUALITY, REPORT, SOURCE))
    codes = [value + end for value in values for end in ends[value] if value + end in columns]
    station = "STATION" if "STATION" in columns else "Station_ID"
    clock = ("DATE",) if "DATE" in columns else _CLOCK
    types: dict[str, pa.DataType] = {station: _CODE, **dict.fromkeys(codes, _CODE)}
    types |= {value: pa.float64() if value in numeric else pa.string() for value in values}
    types |= {"DATE": _STAMP} if clock == ("DATE",) else dict.fromkeys(clock, pa.int64())
    bad_lines: list[str] = []
    bad_cells: list[tuple[int, str, str]] = []
    try:
        table = _read(body, name, types, bad_lines)
        times = _times(table, clock)
    except pa.ArrowInvalid:  # a cell of another type: all as text, and each by itself
        bad_lines.clear()
        text = {column: kind if kind == _CODE else pa.string() for column, kind in types.items()}
        table = _read(body, name, text, bad_lines)
        times = _loose_times(table, clock)
        for value in values:
            if value in numeric:
                table, cells = _loose_numbers(table, value)
                bad_cells += cells
    bad_lines.sort()
    unknown = tuple(sorted(column for column in columns if column not in KNOWN_COLUMNS))
    stations = coded(table[station])
    return Psv(stations, times, table.drop_columns([station, *clock]), bad_lines, bad_cells, unknown)


def check_psv(body: bytes, name: str) -> list[str]:
    """The columns of a file, which must have a station, a time and an element that is kept.

    Raises `SchemaError` for what is no such file.
    """
    columns = _header(body, name)
    station = "STATION" if "STATION" in columns else "Station_ID"
    clock = ("DATE",) if "DATE" in columns else _CLOCK
    lacking = [column for column in (station, *clock) if column not in columns]
    if lacking or not any(element.name in columns for element in ELEMENTS):
        raise SchemaError(
            f"{name} is no GHCNh file: it has no column {', '.join(lacking) or 'of any known element'}, but "
            f"{', '.join(columns[:8])[:200]}. Expected the columns of version 1.1.0 or 1.0.1."
        )
    return columns


def _header(body: bytes, name: str) -> list[str]:
    end = body.find(b"\n")
    text = (body if end < 0 else body[:end]).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").rstrip("\r")
    columns = text.split("|")
    if len(columns) < 2:
        raise SchemaError(
            f"{name} is no GHCNh file: it begins {text[:80]!r}. Expected a header of columns separated by pipes: an "
            "error page, or the address of something else?"
        )
    if len(set(columns)) < len(columns):
        raise SchemaError(f"{name} names a column twice in its header: its values cannot be told apart.")
    return columns


def _read(body: bytes, name: str, types: dict[str, pa.DataType], bad_lines: list[str]) -> pa.Table:
    def wrong_length(row: pa.csv.InvalidRow) -> str:
        bad_lines.append(row.text)
        return "skip"

    end = body.find(b"\n")
    if end < 0 or not body[end : end + 100].strip():  # a header alone
        return pa.table({column: pa.array([], kind) for column, kind in types.items()})
    try:
        return pa.csv.read_csv(
            pa.BufferReader(body),
            parse_options=pa.csv.ParseOptions(
                delimiter="|", quote_char=False, escape_char=False, invalid_row_handler=wrong_length
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        if "conversion error" in str(error):
            raise
        raise UnreadableObjectError(
            f"{name}: {' '.join(str(error).split())[:300]}: expected lines of fields separated by pipes."
        ) from error


def coded(column: pa.ChunkedArray) -> Coded:
    """A column of texts as codes; nulls are ""."""
    if column.num_chunks == 0 or len(column) == 0:
        return Coded(np.zeros(0, np.int32), [""])
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    if encoded.num_chunks > 1:
        encoded = encoded.unify_dictionaries()
    names = encoded.chunk(0).dictionary.to_pylist()
    parts = [np.asarray(pc.fill_null(chunk.indices, -1)) for chunk in encoded.chunks]
    codes = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return Coded((codes + 1).astype(np.int32), ["", *names])


def _times(table: pa.Table, clock: tuple[str, ...]) -> npt.NDArray[np.int64]:
    if clock == ("DATE",):
        seconds = pc.fill_null(table["DATE"].cast(pa.int64()), NO_TIME // 1_000_000)
        times = np.asarray(seconds.to_numpy(), dtype=np.int64)
        return np.where(times == NO_TIME // 1_000_000, NO_TIME, times * 1_000_000)
    parts = [pc.fill_null(table[name], -1).to_numpy() for name in clock]
    return _composed(*parts)


def _composed(
    year: npt.NDArray[np.int64], month: npt.NDArray[np.int64], day: npt.NDArray[np.int64],
    hour: npt.NDArray[np.int64], minute: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:  # fmt: skip
    """The moment of a date in parts, `NO_TIME` where there is none."""
    good = (year >= 1700) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    good &= (hour >= 0) & (hour <= 23) & (minute >= 0) & (minute <= 59)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0).astype("M8[M]")
    days = months.astype("M8[D]") + np.where(good, day - 1, 0)
    good &= days.astype("M8[M]") == months
    minutes = days.astype("M8[m]").astype(np.int64) + hour * 60 + minute
    return np.where(good, minutes * 60_000_000, NO_TIME)


def _loose_times(table: pa.Table, clock: tuple[str, ...]) -> npt.NDArray[np.int64]:
    if clock != ("DATE",):
        parts = [pc.if_else(pc.match_substring_regex(table[n], r"^\d{1,4}$"), table[n], "-1") for n in clock]
        return _composed(*(pc.fill_null(part.cast(pa.int64()), -1).to_numpy() for part in parts))
    texts = pc.fill_null(table["DATE"], "")
    plain = pc.match_substring_regex(texts, r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$")
    parts = [
        pc.if_else(plain, pc.utf8_slice_codeunits(texts, start, stop), "-1").cast(pa.int64()).to_numpy()
        for start, stop in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16))
    ]
    seconds = pc.if_else(plain, pc.utf8_slice_codeunits(texts, 17, 19), "0")
    seconds = pc.if_else(pc.equal(seconds, ""), "0", seconds).cast(pa.int64()).to_numpy()
    times = _composed(*parts)
    return np.where((times == NO_TIME) | (seconds > 59), NO_TIME, times + seconds * 1_000_000)


def _loose_numbers(table: pa.Table, name: str) -> tuple[pa.Table, list[tuple[int, str, str]]]:
    column = table[name]
    number = pc.match_substring_regex(column, _NUMBER)
    bad = np.flatnonzero(np.asarray(pc.fill_null(pc.invert(number), False).to_numpy(zero_copy_only=False)))
    cells = [(int(row), name, str(column[int(row)])) for row in bad]
    texts = pc.utf8_trim_whitespace(pc.if_else(number, column, pa.scalar(None, pa.string())))
    numbers = pc.replace_substring_regex(texts, r"^\+", "").cast(pa.float64())
    return table.set_column(table.column_names.index(name), name, numbers), cells
