"""Statistics of metrics that need a second one beside them: directions without calms, distances by strikes.

The two of a pair may lie in two row groups, so the queries (SQL files of the same names) read the whole raw file; what
they find is aggregated by `aggregates.py` like any other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from weather_backfill.lake import parquet
from weather_backfill.model.intervals import INTERVAL
from weather_backfill.model.metrics import Rule
from weather_backfill.model.schemas import PASS
from weather_backfill.refine.aggregates import aggregate
from weather_backfill.refine.parts import Span
from weather_backfill.refine.rules import CALM, WINDOW_US
from weather_backfill.refine.samples import connect, samples_of, series_of, sql

PAIRS: Mapping[str, Rule] = {"directions": Rule.DIRECTION, "distances": Rule.STRIKES}
"""The queries by the rule of the metrics that need them."""
_KEYS = ("start_us", "window_seconds")
_EXTREMES = ("minimum", "maximum", "first_value", "last_value", "deviation")
_COLUMNS = {"directions": ("east", "north"), "distances": ("mean", *_EXTREMES)}
_Aggregate = Callable[[np.ndarray], pa.Table]


def paired(name: str, path: Path | None, day: Span | None) -> pa.Table:
    """The statistics of a query's metrics by station, metric and window; no rows without a file.

    `directions`: the mean unit vector, `east` and `north`. `distances`: `mean` over the strikes, and the extremes,
    first and last value and deviation of the rows with strikes.
    """
    keys = [
        ("station_id", pa.string()),
        ("metric", pa.string()),
        ("start_us", pa.int64()),
        ("window_seconds", pa.int32()),
    ]
    schema = pa.schema([*keys, *((column, pa.float64()) for column in _COLUMNS[name])])
    if path is None:
        return schema.empty_table()
    with connect() as connection:
        rows = _read(connection, name, path)
    if not rows.num_rows:
        return schema.empty_table()
    numbers, series = series_of(rows)
    samples = samples_of(rows, numbers)._replace(quality=np.full(rows.num_rows, PASS, "i1"))
    slots = np.full(series.num_rows, WINDOW_US)

    def by_window(value: np.ndarray) -> pa.Table:
        return aggregate(samples._replace(value=value), slots, day)

    columns = (_vectors if name == "directions" else _strikes)(rows, by_window)
    columns |= {tag: series[tag].take(columns["series"]) for tag in parquet.TAGS}
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _read(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> pa.Table:
    raw = connection.read_parquet(str(path))
    unknown = [f"NULL::INTEGER AS {column}" for column in INTERVAL if column not in raw.columns]  # a file of schema 1
    connection.register("raw_rows", raw.project(", ".join(["*", *unknown])))
    rows = connection.sql(sql(name), params={"calm": CALM} if name == "directions" else None).to_arrow_table()
    for tag in parquet.TAGS:
        rows = rows.set_column(rows.schema.get_field_index(tag), tag, rows[tag].dictionary_encode())
    return parquet.unified(rows)


def _vectors(rows: pa.Table, by_window: _Aggregate) -> dict[str, pa.ChunkedArray]:
    east, north = (by_window(rows[name].to_numpy()) for name in ("east", "north"))
    return {name: east[name] for name in ("series", *_KEYS)} | {"east": east["mean"], "north": north["mean"]}


def _strikes(rows: pa.Table, by_window: _Aggregate) -> dict[str, pa.ChunkedArray]:
    distance, strikes = rows["value"].to_numpy(), rows["strikes"].to_numpy()
    near, far, often = by_window(distance), by_window(distance * strikes), by_window(strikes)
    mean = far["total"].to_numpy() / often["total"].to_numpy()
    return {name: near[name] for name in ("series", *_KEYS, *_EXTREMES)} | {"mean": pa.chunked_array([mean])}
