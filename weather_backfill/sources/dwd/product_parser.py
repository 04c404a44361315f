"""The text of a product (`produkt_*.txt`) as columns: bytes in, one sorted series per metric out.

Arrow's CSV reader does the parsing and numpy the rest; no row is ever a Python object, except those that
cannot be read, which become rejects. Latin-1, CRLF or LF, names and numbers padded with spaces, last column
`eor`; missing is `-999`, an empty cell, or the row's absence (DWD data set descriptions, "Fehlwert=-999").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from weather_backfill.model.errors import SchemaError, UnreadableObjectError
from weather_backfill.model.intervals import shift_to_middle
from weather_backfill.sources.dwd.doubles import Distinct, distinct
from weather_backfill.sources.dwd.meanings import settle_meanings
from weather_backfill.sources.dwd.products import Column, Product
from weather_backfill.sources.dwd.rejects import LIMIT, TRUE_SOLAR_TIME, Rejects
from weather_backfill.sources.dwd.time_reference import TRUE_SOLAR, UNKNOWN_ZONE, Clock, Micros, UtcClock
from weather_backfill.sources.dwd.timestamps import DAY, expand_ranges, parse_stamps
from weather_backfill.sources.table import Interval

NO_LEVEL = np.int8(-128)
"""Stands for "no quality level" in a series; a table holds null."""

_STAMP_COLUMNS = ("MESS_DATUM", "MESS_DATUM_BEGIN", "MESS_DATUM_BEGINN")
_END_COLUMN = "MESS_DATUM_ENDE"
_NUMBER = r"^\s*([+-]?(\d{1,30}(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?)?\s*$"  # none of these is infinite
_MOST_ROWS = 20_000_000  # a year of minutes has half a million: lines that stand for more are nonsense
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one station: times (UTC microseconds, strictly rising), values (NaN missing), QN.

    Every value stands for `interval`: its length and where it ends after the stamp, in seconds.
    """

    metric: str
    times: Micros
    values: npt.NDArray[np.float64]
    levels: npt.NDArray[np.int8]
    interval: Interval

    @property
    def shift(self) -> int:
        """Microseconds from a stamp to the middle of its interval, by which a row belongs to a day."""
        return int(shift_to_middle(*self.interval))


@dataclass(frozen=True, slots=True)
class ParsedProduct:
    """A product file: its station (None without rows), a series per metric sorted by name, its rejects."""

    station: str | None
    series: list[Series]
    rejects: pa.Table
    rows: int
    unknown_columns: tuple[str, ...] = ()


@dataclass(slots=True)
class _Columns:
    """The columns of a file as arrays of equal length, and how to show a row to a person."""

    stamps: Micros
    station: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int8]
    values: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)


def parse_product(data: bytes, product: Product, clock: Clock | None = None, source: str = "") -> ParsedProduct:
    """Parse the bytes of a product file; times come out in UTC by `clock` (default: they are UTC).

    Raises `UnreadableObjectError` if the file ends in the middle of a row (a truncated download), and
    `SchemaError` if its header is not the product's, it holds more than one station, or none of its rows can be read.
    Rows that do not parse become rejects with their reason.
    """
    if not data.isascii():
        data = data.decode("latin-1").encode()  # rare, and only in what we do not read
    header = _with_end(_header(data, product, source), data)
    _require_whole_tail(data, header, source)
    if b"\n" not in data:
        data += b"\n"  # Arrow does not know a header without an end
    rejects = Rejects(source)
    try:
        raw = _read(data, header, product, rejects)
    except pa.ArrowException as error:
        raise SchemaError(f"{source} is not read as a table: {str(error)[:200]}. The format has changed.") from error
    rejects.require_few()
    columns = _columns(raw, product, rejects, source)
    rejects.require_few()
    known = {*product.columns, *product.ignored, *_STAMP_COLUMNS, _END_COLUMN, "STATIONS_ID", "eor", ""}
    unknown = tuple(n for n in header if n not in known and not _is_level(n))
    if len(columns.stamps) == 0:
        rejects.require_none()
        return ParsedProduct(None, [], rejects.table(), 0, unknown)
    station = _one_station(columns.station, source)
    unknown += settle_meanings(columns.values, columns.levels, product)
    series = _series(columns, product, clock or UtcClock(), rejects, station)
    rejects.require_few()
    return ParsedProduct(station, series, rejects.table(), len(columns.stamps), unknown)


def _header(data: bytes, product: Product, source: str) -> list[str]:
    line = data[: data.find(b"\n") if b"\n" in data else len(data)].decode(errors="replace")
    names = [name.strip() for name in line.strip("\r\n ").split(";")]
    has_stamp = any(name in _STAMP_COLUMNS for name in names)
    if names[0].upper() != "STATIONS_ID" or not has_stamp or not set(names) & set(product.columns):
        raise SchemaError(
            f"{source}: header is {line[:200]!r}; expected STATIONS_ID;MESS_DATUM; a quality column and some "
            f"of {', '.join(product.columns)} for {product.resolution} {product.name}. Check that the "
            "connection's product is what the folder holds, or the format has changed."
        )
    names[0] = "STATIONS_ID"
    twice = sorted(name for name, times in Counter(names).items() if name and times > 1)
    if twice or "\r" in line.rstrip("\r"):
        problem = f"names {', '.join(twice)[:100]} twice" if twice else "ends its lines with CR alone"
        raise SchemaError(
            f"{source}: its header {line[:200]!r} {problem}: the file is damaged or its format has changed."
        )
    return names


def _with_end(names: list[str], data: bytes) -> list[str]:
    """The header with `eor` at its end, where it lacks it and the rows have it."""
    first = data[data.find(b"\n") + 1 :][:4096].partition(b"\n")[0].decode(errors="replace").split(";")
    lacks_it = "eor" not in names and len(first) == len(names) + 1 and first[-1].strip() == "eor"
    return [*names, "eor"] if lacks_it else names


def _require_whole_tail(data: bytes, header: list[str], source: str) -> None:
    """Every row ends with `eor`: a file that does not was cut, and what is missing cannot be known.

    Where there is no `eor` at all, the last row is whole if it has the header's columns, and ends its line or is as
    long as the row before.
    """
    tail = data[-4096:].rstrip(b"\x00\x1a")
    rows = tail.rstrip(b"\r\n \t\x00\x1a").split(b"\n")
    last = rows[-1]
    if "eor" in header:
        whole = last.endswith(b"eor")
    else:
        ended = tail.rstrip(b" \t").endswith(b"\n") or (len(rows) > 2 and len(last) == len(rows[-2].rstrip(b"\r")))
        whole = ended and last.count(b";") == len(header) - 1
    if not whole:
        expected = "'eor' at its end" if "eor" in header else f"{len(header)} columns and the end of a line"
        raise UnreadableObjectError(
            f"{source} ends in the middle of a row ({last[-200:].decode(errors='replace')!r}; expected {expected}): "
            "the file is truncated and the rows after it cannot be known. Fetch it again; if it stays, it is damaged "
            "upstream."
        )


def _is_level(name: str) -> bool:
    return name == "QN" or name.startswith("QN_") or name == "QUALITAETS_NIVEAU"


def _read(data: bytes, header: list[str], product: Product, rejects: Rejects) -> pa.Table:
    """The wanted columns; typed if every cell allows it, else checked cell by cell."""
    wanted = {n: pa.float64() for n in header if n in product.columns and not product.columns[n].codes}
    wanted |= {n: pa.string() for n in header if n in product.columns and product.columns[n].codes}
    wanted |= {n: pa.int64() for n in header if n in _STAMP_COLUMNS or n in (_END_COLUMN, "STATIONS_ID")}
    wanted |= {n: pa.int64() for n in header if _is_level(n)}
    if product.resolution == "hourly" and product.name == "solar":
        wanted |= {n: pa.string() for n in header if n in _STAMP_COLUMNS}  # YYYYMMDDHH:MM

    wanted = {n: wanted[n] for n in header if n in wanted}

    def on_invalid(row: Any) -> str:
        text = str(row.text or "")
        if text.strip("\x1a\x00 \r"):
            rejects.add(f"{row.actual_columns} columns, expected {row.expected_columns}", text)
        return "skip"

    try:
        table = _read_csv(data, header, wanted, on_invalid)
        if all(_finite(table[n]) for n, kind in wanted.items() if kind == pa.float64()):
            return table
    except pa.ArrowInvalid:
        pass
    rejects.clear()  # the second reading meets the same rows again
    text = _read_csv(data, header, {n: pa.string() for n in header}, on_invalid)
    return _checked(text, wanted, rejects)


def _read_csv(data: bytes, header: list[str], types: dict[str, Any], on_invalid: Callable[[Any], str]) -> pa.Table:
    return pv.read_csv(
        pa.BufferReader(data),
        read_options=pv.ReadOptions(
            column_names=header,
            skip_rows=1,
            block_size=_BLOCK_BYTES,
            use_threads=len(data) > _BLOCK_BYTES,  # of a small file they cost more than they give
        ),
        parse_options=pv.ParseOptions(
            delimiter=";", quote_char=False, invalid_row_handler=on_invalid, ignore_empty_lines=True
        ),
        convert_options=pv.ConvertOptions(
            column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=False,
            check_utf8=False,
        ),
    )  # fmt: skip


def _finite(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_finite(column), min_count=0).as_py() in (True, None))


def _checked(text: pa.Table, wanted: dict[str, Any], rejects: Rejects) -> pa.Table:
    """Cast cell by cell; rows with a cell that is no number become rejects."""
    bad = np.zeros(text.num_rows, dtype=bool)
    reasons: dict[int, str] = {}
    for name, kind in wanted.items():
        if kind == pa.string():
            continue
        pattern = r"^\s*-?\d{1,18}\s*$" if kind == pa.int64() else _NUMBER
        wrong = ~np.asarray(pc.match_substring_regex(text[name], pattern).to_numpy(zero_copy_only=False), bool)
        for row in map(int, np.flatnonzero(wrong & ~bad)[: LIMIT + 1]):
            reasons[row] = f"{name} is {text[name][row].as_py()!r}, expected a number"
        bad |= wrong
    for at, reason in sorted(reasons.items()):
        rejects.add(reason, _row_text(text, at))
    kept = text.filter(pa.array(~bad))
    return pa.table({n: _cast(kept[n], kind) for n, kind in wanted.items()})


def _cast(column: pa.ChunkedArray, kind: Any) -> pa.ChunkedArray:
    trimmed = pc.utf8_ltrim(pc.utf8_trim_whitespace(column), "+")  # which Arrow's reader of numbers does not know
    if kind == pa.string():
        return column
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed).cast(kind)


def _columns(raw: pa.Table, product: Product, rejects: Rejects, source: str) -> _Columns:
    """Numpy columns with the stamps read; rows whose stamp is no time become rejects."""
    stamp_name = next(n for n in raw.column_names if n in _STAMP_COLUMNS)
    level_name = next((n for n in raw.column_names if _is_level(n)), None)
    stamps, valid = parse_stamps(raw[stamp_name], product.resolution)
    ends: Micros | None = None
    if _END_COLUMN in raw.column_names:
        ends, ends_valid = parse_stamps(raw[_END_COLUMN], product.resolution)
        valid &= ends_valid & (ends >= stamps) & (ends - stamps < 366 * 86_400_000_000)
    keep: Any = slice(None)
    if not valid.all():
        for row in np.flatnonzero(~valid)[: LIMIT + 1]:
            text = _row_text(raw, int(row))
            rejects.add(f"{stamp_name} is not a time of {product.resolution} data", text)
        keep = valid
    result = _Columns(stamps[keep], _ints(raw["STATIONS_ID"])[keep], _levels(raw, level_name)[keep])
    for name, column in product.columns.items():
        if name in raw.column_names:
            result.values[name] = _values(raw[name], column)[keep]
    if ends is not None:
        spans = (ends[keep] - result.stamps) // (product.cadence * 1_000_000) + 1
        if int(spans.sum()) > _MOST_ROWS:
            raise SchemaError(
                f"{source}: its lines stand for {int(spans.sum())} intervals, at most {_MOST_ROWS} are read: "
                "they overlap, or the format has changed."
            )
        rows, minutes = expand_ranges(result.stamps, ends[keep], product.cadence)
        result = _Columns(minutes, result.station[rows], result.levels[rows],
                          {n: v[rows] for n, v in result.values.items()})  # fmt: skip
    return result


def _row_text(table: pa.Table, row: int) -> str:
    cells = (table[name][row].as_py() for name in table.column_names)
    return ";".join("" if cell is None else str(cell) for cell in cells)


def _ints(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(column, -1).to_numpy(), dtype=np.int64)


def _levels(raw: pa.Table, name: str | None) -> npt.NDArray[np.int8]:
    if name is None:
        return np.full(raw.num_rows, NO_LEVEL)
    levels = _ints(raw[name])
    return np.where((levels < 0) | (levels > 127), int(NO_LEVEL), levels).astype(np.int8)


def _values(column: pa.ChunkedArray, how: Column) -> npt.NDArray[np.float64]:
    """Numbers in the metric's unit, NaN where missing."""
    if how.codes is not None:
        trimmed = pc.utf8_trim_whitespace(column)
        at = pc.index_in(trimmed, pa.array(list(how.codes))).to_numpy(zero_copy_only=False)
        known = np.array([*how.codes.values(), np.nan])
        return known[np.nan_to_num(np.asarray(at, dtype=np.float64), nan=len(known) - 1).astype(np.int64)]
    values = np.array(column.to_numpy(), dtype=np.float64)
    for marker in how.missing:
        values[values == marker] = np.nan
    if how.scale != 1.0:
        values *= how.scale
    return values


def _one_station(stations: npt.NDArray[np.int64], source: str) -> str:
    first = int(stations[0])
    if not (stations == first).all():
        other = int(stations[stations != first][0])
        raise SchemaError(
            f"{source} holds rows of stations {first} and {other}: expected one station a file. "
            "The file is not a station's product file."
        )
    return f"{first:05d}"


def _series(columns: _Columns, product: Product, clock: Clock, rejects: Rejects, station: str) -> list[Series]:
    found: dict[str, Series] = {}
    ordered: dict[bytes, tuple[Micros, Distinct | None]] = {}
    for name, values in columns.values.items():
        offsets = clock.offsets(columns.stamps, name)
        key = np.asarray(offsets).tobytes()
        if key not in ordered:
            ordered[key] = _order(columns, offsets, rejects, station)
        times, settled = ordered[key]
        rows = slice(None) if settled is None else settled.rows_of(values)
        metric = product.columns[name].metric if name in product.columns else name
        interval = Interval(product.interval.seconds, product.interval.end_offset)
        found[metric] = Series(metric, times, values[rows], columns.levels[rows], interval)
    return [found[metric] for metric in sorted(found)]


def _order(columns: _Columns, offsets: Micros | int, rejects: Rejects, station: str) -> tuple[Micros, Distinct | None]:
    """UTC times, strictly rising, and how the rows come there; None where they stand so already.

    Rows on a clock that cannot be converted are rejects, and so is what shares its instant with a row that is kept.
    """
    times = columns.stamps - offsets
    zones = np.broadcast_to(np.asarray(offsets), times.shape)
    known = zones > TRUE_SOLAR
    if known.all() and (np.diff(times) > 0).all():
        return times, None
    midnights = columns.stamps // DAY * DAY  # their day is known, the time of day is not
    for zone, reason in ((TRUE_SOLAR, TRUE_SOLAR_TIME), (UNKNOWN_ZONE, "stamped by a clock we cannot convert to UTC")):
        rows = np.flatnonzero(zones == zone)
        rejects.add_rows(reason, _show(columns, rows), station, midnights[rows], understood=True)
    settled = distinct(times, np.flatnonzero(known), columns.values)
    lost = settled.lost
    rejects.add_rows("another row holds the same instant", _show(columns, lost), station, times[lost])
    return settled.times, settled


def _show(columns: _Columns, rows: npt.NDArray[np.int64]) -> pa.Array:
    """Rows as texts that a person can read."""
    stamps = pa.array(columns.stamps[rows]).cast(pa.timestamp("us"))
    cells = [
        pa.array(columns.station[rows]).cast(pa.string()),
        pc.strftime(stamps, "%Y-%m-%dT%H:%M"),
        *(_named("QN", columns.levels[rows]), *(_named(name, cells[rows]) for name, cells in columns.values.items())),
    ]
    return pc.binary_join_element_wise(*cells, ";")


def _named(name: str, cells: npt.NDArray[Any]) -> pa.Array:
    return pc.binary_join_element_wise(name, pa.array(cells).cast(pa.string()), "=")
