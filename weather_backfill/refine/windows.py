"""Refinement of raw observations into windows `[start, end)` in UTC, labelled by their start: of 15 minutes, and for
each value that stands for longer the window of its own interval.

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
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.model.days import Cadence
from weather_backfill.model.intervals import INTERVAL
from weather_backfill.model.metrics import rule_of
from weather_backfill.model.schemas import REFINED, SUSPECT, require_columns
from weather_backfill.refine.aggregates import aggregate
from weather_backfill.refine.pairs import PAIRS, paired
from weather_backfill.refine.parts import Span
from weather_backfill.refine.rules import COMPLETE_SHARE
from weather_backfill.refine.samples import connect, samples_of, series_of, sql

FINEST_SLOT_SECONDS = 15
_COLUMNS = ("observed_at", "station_id", "metric", "value", "quality")
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class WindowedDay:
    """A day's windows (columns of `schemas.REFINED`), and the rows, good values and footer of its raw day.

    `good_values` counts the raw values flagged pass, not evaluated or suspect.
    """

    table: pa.Table
    raw_rows: int
    good_values: int
    footer: Mapping[str, str]


def refine_file(path: Path, day: date | None = None) -> WindowedDay:
    """Refine one day's raw Parquet file into windows; `day` is that of its key, else its footer's counts.

    What of an interval lies outside the day counts in the day's nearest window; where no day is known, in its own.
    Raises `UnreadableObjectError` where the file is damaged or lacks a column.
    """
    with parquet.open_file(path) as file:
        require_columns(file.schema_arrow.names, _COLUMNS)
        footer = parquet.footer(file)
        whole_series = footer.get("row_groups") == parquet.WHOLE_SERIES
        groups = [[n] for n in range(file.num_row_groups)] if whole_series else [list(range(file.num_row_groups))]
        rows = file.metadata.num_rows
    cadence = parquet.cadence_of(footer)
    if day is None and "date" in footer:
        day = date.fromisoformat(footer["date"])
    span = Span.of(day) if day else None
    rules = {rule_of(metric) for metric in json.loads(footer["metrics"])}
    needed = [path if rule in rules else None for rule in PAIRS.values()]
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="refine") as pool:
        pairs = dict(zip(PAIRS, pool.map(lambda name, file: paired(name, file, span), PAIRS, needed), strict=True))

        def refine(group: list[int]) -> tuple[pa.Table, int]:
            with connect() as connection:
                return _refine_row_groups(connection, path, group, cadence, span, pairs)

        parts = list(pool.map(refine, groups))
    table = parquet.concat([part for part, _ in parts], REFINED)
    return WindowedDay(table, rows, sum(good for _, good in parts), footer)


def _refine_row_groups(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    groups: list[int],
    cadence: Cadence,
    day: Span | None,
    pairs: dict[str, pa.Table],
) -> tuple[pa.Table, int]:
    """Refine some row groups: their windows, and the number of their values with a good flag."""
    with parquet.open_file(path) as file:
        present = [name for name in (*_COLUMNS, *INTERVAL) if name in file.schema_arrow.names]
        table = parquet.unified(file.read_row_groups(groups, present, use_threads=False))
    if not table.num_rows:
        return REFINED.empty_table(), 0
    numbers, series = _series(table, cadence)
    samples = samples_of(table, numbers)
    del table  # what the samples do not need is freed before they are aggregated
    windows = aggregate(samples, np.asarray(series["slot_us"]), day)
    for name, found in pairs.items():
        connection.register(name, found)
    connection.register("series", series)
    connection.register("aggregates", windows)
    refined = connection.sql(sql("windows"), params={"complete": COMPLETE_SHARE}).to_arrow_table()
    return _named(refined, series), int((samples.quality <= SUSPECT).sum())


def _named(windows: pa.Table, series: pa.Table) -> pa.Table:
    """Replace the series numbers of windows by names: the columns of `schemas.REFINED`."""
    number = windows["series"].combine_chunks()
    tags = {name: pc.dictionary_encode(series[name]).combine_chunks().take(number) for name in parquet.TAGS}
    columns = [tags[f.name] if f.name in tags else windows[f.name].cast(f.type) for f in REFINED]
    return pa.Table.from_arrays(columns, schema=REFINED)


def _series(samples: pa.Table, cadence: Cadence) -> tuple[np.ndarray, pa.Table]:
    """`series_of` with the rule and the grid of each series."""
    numbers, series = series_of(samples)
    metrics = series["metric"].to_pylist()
    named = zip(metrics, series["station_id"].to_pylist(), strict=True)
    slots = [max(cadence.of(metric, station), FINEST_SLOT_SECONDS) * 1_000_000 for metric, station in named]
    rules = [str(rule_of(metric)) for metric in metrics]
    return numbers, series.append_column("rule", [rules]).append_column("slot_us", pa.array(slots, pa.int64()))


def expected_slots(cadence_seconds: int) -> int:
    """The number of grid slots of a whole day."""
    return 86_400 // max(cadence_seconds, 1)
