"""Raw rows as numpy columns, and what every query of this room needs: its SQL, a connection, numbers of series."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.model import intervals
from weather_backfill.refine.parts import Samples


@cache
def sql(name: str) -> str:
    """Read one of the package's SQL files, by its name without `.sql`."""
    return (files("weather_backfill.refine") / f"{name}.sql").read_text()


def connect() -> duckdb.DuckDBPyConnection:
    """Open a connection of its own, with its own registered tables, to this process's in-memory DuckDB of one thread.

    Never create a table or view in it: others would see it.
    """
    return _database().cursor()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """The database. To open one costs 40 ms, half of what a day of one station takes to refine.

    It keeps nothing of the files that it reads: a day's file may be another one the next time.
    """
    return duckdb.connect(config={"threads": 1, "enable_external_file_cache": False})


def samples_of(table: pa.Table, series: np.ndarray) -> Samples:
    """The columns of raw rows; `quality` may be missing and is nothing then. `series` numbers the rows' series."""
    time = np.asarray(table["observed_at"].cast(pa.int64()))
    quality = np.asarray(table["quality"]) if "quality" in table.schema.names else np.empty(0, "i1")
    known = intervals.numbers(table)
    seconds, offset = map(_compact, known) if known else (None, None)
    return Samples(series, time, table["value"].to_numpy(), quality, seconds, offset)


def _compact(column: pa.ChunkedArray) -> np.ndarray:
    """An int32 column, one number in memory where all rows have the same."""
    span = pc.min_max(column)
    if span["min"] == span["max"] and len(column):
        return np.broadcast_to(np.array(span["min"].as_py(), "i4"), len(column))
    return np.asarray(column)


def series_of(table: pa.Table) -> tuple[np.ndarray, pa.Table]:
    """Number the series in order of station and metric: each row's series number, and the table of series."""
    starts = parquet.series_starts(table)
    pairs = parquet.series_names(table, starts)
    ordered = sorted(set(pairs))
    number_of = {pair: number for number, pair in enumerate(ordered)}
    lengths = np.diff(np.append(starts, table.num_rows))
    numbers = np.repeat(np.array([number_of[pair] for pair in pairs], dtype="i4"), lengths)
    columns = {"series": pa.array(range(len(ordered)), pa.int32())}
    columns |= {tag: pa.array([pair[n] for pair in ordered], pa.string()) for n, tag in enumerate(parquet.TAGS)}
    return numbers, pa.table(columns)
