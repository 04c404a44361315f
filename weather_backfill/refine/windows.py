"""Raw observations to 15-minute windows `[start, end)` in UTC, labelled by their start.

The SQL lies beside this module. Row groups never split a series (`lake/parquet.py`), so each is aggregated by
itself, single-threaded, a few at a time: the same raw file gives the same bytes whatever the machine, which
one query over all threads does not, as floating-point sums then depend on who comes first.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.metrics import METRICS, Rule, rule_of
from weather_backfill.schemas import REFINED
from weather_backfill.sources.base import Cadence

WINDOW_SECONDS = 900
WINDOW_US = WINDOW_SECONDS * 1_000_000
FINEST_SLOT_SECONDS = 15  # 60 slots a window fit the bits of an integer
_WORKERS = 2
_DIRECTIONS = frozenset(name for name, metric in METRICS.items() if metric.rule is Rule.DIRECTION)


@cache
def sql(name: str) -> str:
    """One of the package's SQL files."""
    return (files("weather_backfill.refine") / f"{name}.sql").read_text()


def refine_file(path: Path) -> pa.Table:
    """The refined windows (columns of `schemas.REFINED`) of one day's raw Parquet file."""
    with parquet.open_file(path) as file:
        footer = parquet.footer(file)
        whole_series = footer.get("row_groups") == parquet.WHOLE_SERIES
        groups = [[n] for n in range(file.num_row_groups)] if whole_series else [list(range(file.num_row_groups))]
    cadence = parquet.cadence_of(footer)
    has_directions = bool(_DIRECTIONS & json.loads(footer["metrics"]).keys())
    directions = _directions(path) if has_directions else _no_directions()
    with connect() as database, ThreadPoolExecutor(_WORKERS, thread_name_prefix="refine") as pool:

        def refine(group: list[int]) -> pa.Table:
            with database.cursor() as connection:  # shares the threads and buffers of one database
                return _refine_row_groups(connection, path, group, cadence, directions)

        tables = list(pool.map(refine, groups))
    return parquet.concat(tables, REFINED)


def _refine_row_groups(
    connection: duckdb.DuckDBPyConnection, path: Path, groups: list[int], cadence: Cadence, directions: pa.Table
) -> pa.Table:
    samples, series = _numbered_samples(path, groups, cadence)
    if not samples.num_rows:
        return REFINED.empty_table()
    connection.register("directions", directions)
    connection.register("series", series)
    connection.register("samples", samples)
    return _named(connection.sql(sql("windows")).to_arrow_table(), series)


def _numbered_samples(path: Path, groups: list[int], cadence: Cadence) -> tuple[pa.Table, pa.Table]:
    """The rows and series of some row groups as windows.sql wants them: numbers instead of names and times.

    Grouping by a number takes a third of the time of grouping by two names, and dividing a column by one number
    is numpy's strength.
    """
    with parquet.open_file(path) as file:
        samples = file.read_row_groups(groups, use_threads=False).unify_dictionaries()
    numbers, series = _series(samples, cadence)
    time = np.asarray(samples["observed_at"].cast(pa.int64()))
    slots = _slots(time, numbers, np.asarray(series["slot_us"]))
    columns = {
        "series": numbers,
        "window_number": (time // WINDOW_US).astype("i4"),
        "slot": slots,
        "time_us": time,
        "value": samples["value"],
        "quality": samples["quality"],
    }
    return pa.table(columns), series


def _slots(time: np.ndarray, numbers: np.ndarray, slot_us: np.ndarray) -> np.ndarray:
    """The grid slot of each row within its window, 0 to 59."""
    slots: Any = slot_us[0] if len(set(slot_us)) == 1 else slot_us[numbers]
    first = time - time % WINDOW_US
    first //= slots
    return (time // slots - first).astype("i1")


def _named(windows: pa.Table, series: pa.Table) -> pa.Table:
    """Windows of numbered series to columns of `schemas.REFINED`: names are looked up once a series."""
    number = windows["series"].combine_chunks()
    tags = {name: pc.dictionary_encode(series[name]).combine_chunks().take(number) for name in parquet.TAGS}
    columns = [tags[f.name] if f.name in tags else windows[f.name].cast(f.type) for f in REFINED]
    return pa.Table.from_arrays(columns, schema=REFINED)


def _series(samples: pa.Table, cadence: Cadence) -> tuple[np.ndarray, pa.Table]:
    """Every row's series number, and the series by number, in order of station and metric."""
    starts = parquet.series_starts(samples)
    pairs = list(zip(*(samples[name].take(starts).to_pylist() for name in parquet.TAGS), strict=True))
    ordered = sorted(set(pairs))
    number_of = {pair: number for number, pair in enumerate(ordered)}
    lengths = np.diff(np.append(starts, samples.num_rows))
    numbers = np.repeat(np.array([number_of[pair] for pair in pairs], dtype="i4"), lengths)
    metrics = [metric for _, metric in ordered]
    table = {
        "series": pa.array(range(len(ordered)), pa.int32()),
        "station_id": [station for station, _ in ordered],
        "metric": metrics,
        "rule": [str(rule_of(metric)) for metric in metrics],
        "slot_us": pa.array([max(cadence.of(m), FINEST_SLOT_SECONDS) * 1_000_000 for m in metrics], pa.int64()),
    }
    return numbers, pa.table(table)


def _directions(path: Path) -> pa.Table:
    with connect() as connection:
        return connection.sql(sql("directions"), params={"path": str(path)}).to_arrow_table()


def _no_directions() -> pa.Table:
    return pa.schema(
        [
            ("station_id", pa.string()),
            ("metric", pa.string()),
            ("window_number", pa.int64()),
            ("resultant_length", pa.float64()),
            ("mean", pa.float64()),
        ]
    ).empty_table()


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB on one thread."""
    return duckdb.connect(config={"threads": 1})


def expected_slots(cadence_seconds: int) -> int:
    """Grid slots of a whole day."""
    return 86_400 // max(cadence_seconds, 1)
