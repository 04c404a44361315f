"""Refinement of raw observations into 15-minute windows `[start, end)` in UTC, labelled by their start.

`aggregates.py` computes the numbers; `windows.sql` beside this module makes the refined columns of them. Row groups
never split a series (`lake/parquet.py`), so each is aggregated by itself, single-threaded, a few at a time: the same
raw file gives the same bytes on every machine. One query over all threads does not, as floating-point sums then depend
on the order in which threads finish.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.model.days import Cadence
from weather_backfill.model.metrics import Rule, rule_of
from weather_backfill.model.schemas import REFINED, SUSPECT, require_columns
from weather_backfill.refine.aggregates import aggregate
from weather_backfill.refine.rules import COMPLETE_SHARE, WINDOW_US

FINEST_SLOT_SECONDS = 15
_COLUMNS = ("observed_at", "station_id", "metric", "value", "quality")
_WORKERS = 2
_IN_PAIRS: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "directions": (Rule.DIRECTION, ("mean", "resultant_length")),
    "distances": (Rule.STRIKES, ("mean", "minimum", "maximum", "first_value", "last_value", "deviation")),
}
"""Queries over the whole raw file, as they pair two metrics that may lie in two row groups: by the SQL file's name, the
rule of the metrics that need them, and the statistics they compute.
"""


@cache
def sql(name: str) -> str:
    """Read one of the package's SQL files, by its name without `.sql`."""
    return (files("weather_backfill.refine") / f"{name}.sql").read_text()


@dataclass(frozen=True, slots=True)
class WindowedDay:
    """A day's windows (columns of `schemas.REFINED`), and the rows, good values and footer of its raw day.

    `good_values` counts the raw values flagged pass, not evaluated or suspect.
    """

    table: pa.Table
    raw_rows: int
    good_values: int
    footer: Mapping[str, str]


def refine_file(path: Path) -> WindowedDay:
    """Refine one day's raw Parquet file into windows.

    Raises `UnreadableObjectError` where the file is damaged or lacks a column.
    """
    with parquet.open_file(path) as file:
        require_columns(file.schema_arrow.names, _COLUMNS)
        footer = parquet.footer(file)
        whole_series = footer.get("row_groups") == parquet.WHOLE_SERIES
        groups = [[n] for n in range(file.num_row_groups)] if whole_series else [list(range(file.num_row_groups))]
        rows = file.metadata.num_rows
    cadence = parquet.cadence_of(footer)
    rules = {rule_of(metric) for metric in json.loads(footer["metrics"])}
    needed = [path if rule in rules else None for rule, _ in _IN_PAIRS.values()]
    with connect() as database, ThreadPoolExecutor(_WORKERS, thread_name_prefix="refine") as pool:
        pairs = dict(zip(_IN_PAIRS, pool.map(_pairs, _IN_PAIRS, needed), strict=True))

        def refine(group: list[int]) -> tuple[pa.Table, int]:
            with database.cursor() as connection:  # shares the threads and buffers of one database
                return _refine_row_groups(connection, path, group, cadence, pairs)

        parts = list(pool.map(refine, groups))
    table = parquet.concat([part for part, _ in parts], REFINED)
    return WindowedDay(table, rows, sum(good for _, good in parts), footer)


def _refine_row_groups(
    connection: duckdb.DuckDBPyConnection, path: Path, groups: list[int], cadence: Cadence, pairs: dict[str, pa.Table]
) -> tuple[pa.Table, int]:
    """Refine some row groups: their windows, and the number of their values with a good flag."""
    with parquet.open_file(path) as file:
        samples = parquet.unified(file.read_row_groups(groups, use_threads=False))
    if not samples.num_rows:
        return REFINED.empty_table(), 0
    numbers, series = _series(samples, cadence)
    time, quality = np.asarray(samples["observed_at"].cast(pa.int64())), np.asarray(samples["quality"])
    windows = aggregate(numbers, time, samples["value"].to_numpy(), quality, np.asarray(series["slot_us"]))
    for name, table in pairs.items():
        connection.register(name, table)
    connection.register("series", series)
    connection.register("aggregates", windows)
    rules = {"window_us": WINDOW_US, "complete": COMPLETE_SHARE}
    table = connection.sql(sql("windows"), params=rules).to_arrow_table()
    return _named(table, series), int((quality <= SUSPECT).sum())


def _named(windows: pa.Table, series: pa.Table) -> pa.Table:
    """Replace the series numbers of windows by names: the columns of `schemas.REFINED`."""
    number = windows["series"].combine_chunks()
    tags = {name: pc.dictionary_encode(series[name]).combine_chunks().take(number) for name in parquet.TAGS}
    columns = [tags[f.name] if f.name in tags else windows[f.name].cast(f.type) for f in REFINED]
    return pa.Table.from_arrays(columns, schema=REFINED)


def _series(samples: pa.Table, cadence: Cadence) -> tuple[np.ndarray, pa.Table]:
    """Number the series in order of station and metric: each row's series number, and the table of series."""
    starts = parquet.series_starts(samples)
    pairs = list(zip(*(samples[name].take(starts).cast(pa.string()).to_pylist() for name in parquet.TAGS), strict=True))
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


def _pairs(name: str, path: Path | None) -> pa.Table:
    """Run a query of `_IN_PAIRS` on a raw file: one row per station, metric and window; no rows without a file."""
    if path is None:
        _, statistics = _IN_PAIRS[name]
        keys = [("station_id", pa.string()), ("metric", pa.string()), ("window_number", pa.int64())]
        return pa.schema([*keys, *((statistic, pa.float64()) for statistic in statistics)]).empty_table()
    with connect() as connection:
        return connection.sql(sql(name), params={"path": str(path), "window_us": WINDOW_US}).to_arrow_table()


def connect() -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB with one thread."""
    return duckdb.connect(config={"threads": 1})


def expected_slots(cadence_seconds: int) -> int:
    """The number of grid slots of a whole day."""
    return 86_400 // max(cadence_seconds, 1)
