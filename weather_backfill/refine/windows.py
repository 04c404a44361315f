"""Raw observations to 15-minute windows `[start, end)` in UTC, labelled by their start.

The SQL lies beside this module. Row groups never split a series (`lake/parquet.py`), so each is aggregated by
itself, single-threaded, a few at a time: the same raw file gives the same bytes whatever the machine, which
one query over all threads does not, as floating-point sums then depend on who comes first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.metrics import METRICS, Rule, rule_of
from weather_backfill.schemas import REFINED
from weather_backfill.sources.base import Cadence

WINDOW_SECONDS = 900
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
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="refine") as pool:
        tables = list(pool.map(lambda group: _refine_row_groups(path, group, cadence, directions), groups))
    return _as_refined(tables)


def _refine_row_groups(path: Path, groups: list[int], cadence: Cadence, directions: pa.Table) -> pa.Table:
    with parquet.open_file(path) as file:
        samples = file.read_row_groups(groups, use_threads=False)
    metrics = pc.unique(samples["metric"]).cast(pa.string()).to_pylist()
    if not metrics:
        return REFINED.empty_table()
    by_slot: dict[int, list[str]] = {}
    for metric in metrics:
        by_slot.setdefault(max(cadence.of(metric), FINEST_SLOT_SECONDS), []).append(metric)
    with connect() as connection:
        connection.register("directions", directions)
        connection.register("rules", _rules(metrics))
        parts = []
        for slot, chosen in sorted(by_slot.items()):
            part = samples if len(by_slot) == 1 else samples.filter(pc.is_in(samples["metric"], pa.array(chosen)))
            connection.register("samples", part)
            parts.append(connection.sql(sql("windows"), params={"slot_us": slot * 1_000_000}).to_arrow_table())
    if len(parts) == 1:
        return parts[0]
    order = [("station_id", "ascending"), ("metric", "ascending"), ("window_start", "ascending")]
    return pa.concat_tables(parts).sort_by(order)


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


def _rules(metrics: Iterable[str]) -> pa.Table:
    return pa.table({"metric": list(metrics), "rule": [str(rule_of(name)) for name in metrics]})


def _as_refined(tables: list[pa.Table]) -> pa.Table:
    if not tables:
        return REFINED.empty_table()
    table = pa.concat_tables(tables)
    columns = [
        pc.dictionary_encode(table[field.name]).combine_chunks()
        if pa.types.is_dictionary(field.type)
        else table[field.name].cast(field.type)
        for field in REFINED
    ]
    return pa.Table.from_arrays(columns, schema=REFINED)


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB on one thread."""
    return duckdb.connect(config={"threads": 1})


def expected_slots(cadence_seconds: int) -> int:
    """Grid slots of a whole day."""
    return 86_400 // max(cadence_seconds, 1)
