"""Tables of files that somebody else writes: CSV or Parquet to columns, cells to numbers and UTC times, in Arrow.

A cell that is neither a value nor empty is told by its position; nothing is guessed, and nothing stops the others.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from weather_backfill.model.errors import SchemaError, UnreadableObjectError
from weather_backfill.util.unpacking import gunzip

MOST_BYTES = 256 << 20  # of one file, unpacked: some five million rows of text
_EMPTY = pa.array(["", "-", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"])
_BATCH_ROWS = 1 << 16
_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"


def read_columns(
    data: bytes, name: str, columns: Sequence[str], *, separator: str = ",", encoding: str = "utf-8"
) -> tuple[pa.Table, list[str]]:
    """Read columns of a Parquet file (`*.parquet`) or of CSV (else; `.gz` is unpacked), and the lines that are no rows.

    CSV columns come as text. Raises `SchemaError` naming the columns that are not there, and `UnreadableObjectError`
    for bytes that are no such file, or that unpack to more than `MOST_BYTES`.
    """
    lines: list[str] = []

    def wrong_length(row: pa.csv.InvalidRow) -> str:
        lines.append(row.text)
        return "skip"

    try:
        if name.endswith(".parquet"):
            table = _parquet(data, columns)
        else:
            text = gunzip(data, MOST_BYTES) if name.endswith(".gz") else data
            table = pa.csv.read_csv(
                io.BytesIO(text),
                read_options=pa.csv.ReadOptions(encoding=encoding, use_threads=False),
                parse_options=pa.csv.ParseOptions(delimiter=separator, invalid_row_handler=wrong_length),
                convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
            )
    except (pa.ArrowException, OSError, UnreadableObjectError, UnicodeError) as error:
        raise UnreadableObjectError(
            f"{name}: {' '.join(str(error).split())[:300]}: expected a table with a header, in {encoding}, its fields "
            f"separated by {separator!r}. Repair or remove the file, or change the connection's settings."
        ) from error
    lacking = [column for column in columns if column not in table.column_names]
    if lacking:
        raise SchemaError(
            f"{name} has no column {', '.join(lacking)}: it has {', '.join(table.column_names[:30])}. Name the columns "
            "as the header does."
        )
    return table.select(list(dict.fromkeys(columns))).combine_chunks(), lines


def _parquet(data: bytes, columns: Sequence[str]) -> pa.Table:
    """Read those of the columns that a Parquet file has, counting what they unpack to; of none, all names alone."""
    with pa.parquet.ParquetFile(io.BytesIO(data)) as file:
        schema = file.schema_arrow
        wanted = [name for name in dict.fromkeys(columns) if name in schema.names]
        if len(wanted) < len(set(columns)):
            return schema.empty_table()  # the caller says which are lacking
        batches, left = [], MOST_BYTES
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
            batches.append(batch)
            left -= batch.nbytes
            if left < 0:
                raise UnreadableObjectError(f"unpacks to more than {MOST_BYTES} bytes")
        return pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in wanted]))


def numbers(column: pa.ChunkedArray, decimal: str = ".") -> tuple[np.ndarray, np.ndarray]:
    """A column's values as float64, NaN where a cell is empty, and the mask of cells that are no number."""
    if not pa.types.is_string(column.type):
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.zeros(len(column), dtype=bool)
    text = pc.utf8_trim_whitespace(column)
    text = text if decimal == "." else pc.replace_substring(text, decimal, ".")
    empty = pc.or_(pc.is_null(text), pc.is_in(text, value_set=_EMPTY))
    good = pc.and_(pc.invert(empty), pc.fill_null(pc.match_substring_regex(text, _NUMBER), False))
    values = pc.if_else(good, text, pa.scalar(None, pa.string())).cast(pa.float64())
    return values.to_numpy(zero_copy_only=False), np.asarray(pc.invert(pc.or_(good, empty)))


def utc_micros(column: pa.ChunkedArray, zone: str, time_format: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A column's times as UTC microseconds since 1970, and the mask of cells that are none (their time is 0).

    Cells with an offset keep it; others are of `zone`. A local time that comes twice or never, when clocks are
    changed, is none: which instant it was cannot be known.
    """
    if pa.types.is_timestamp(column.type):
        stamps = column.to_pandas()
    else:
        given = column.cast(pa.string()).to_pandas()
        stamps = pd.to_datetime(given, format=time_format or "ISO8601", errors="coerce", utc=_has_offsets(column))
    if stamps.dt.tz is None:
        stamps = stamps.dt.tz_localize(ZoneInfo(zone), ambiguous="NaT", nonexistent="NaT")
    bad = np.asarray(stamps.isna())
    micros = stamps.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[us]").astype("int64")
    return np.where(bad, 0, np.asarray(micros)), bad


def _has_offsets(column: pa.ChunkedArray) -> bool:
    """Return whether the times of a text column carry offsets: judged by the first that is not empty."""
    first = next((cell for cell in column.slice(0, 1000).to_pylist() if cell and cell.strip()), "")
    return bool(pc.match_substring_regex(pa.scalar(str(first).strip()), r"(Z|[+-]\d\d:?\d\d)$").as_py())
