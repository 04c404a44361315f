"""What Tempest's rows of schema 1 stand for: their reports lie beside them, a row a field.

A report's own rows say how long it is (`reporting_interval`, minutes) and how often wind is sampled
(`wind_sample_interval`, seconds); the bucket of a message was not kept. As in `source.py`, a report that says nothing
is taken for a minute's, and wind that is sampled more rarely than it is reported stands for the time between samples.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.sources.declared import Declared

_LONGEST_MINUTES, _LONGEST_SAMPLING = 1440, 3600
_WIND = ("wind_speed", "wind_speed_lull", "wind_speed_of_gust", "wind_from_direction")


def declares(connection: object, table: pa.Table, cadence_seconds: int) -> Declared:
    """The intervals of the rows' reports."""
    rows = table.num_rows
    if not rows:
        return Declared(pa.array([], pa.int32()), pa.array([], pa.int32()))
    table = parquet.unified(table)
    reports = _reports(table)
    metrics = table["metric"].chunk(0).dictionary.to_pylist()
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in table["metric"].chunks])
    values = np.asarray(pc.fill_null(table["value"], np.nan))
    minutes = _beside(reports, values, codes, metrics, "reporting_interval")
    said = (minutes > 0) & (minutes <= _LONGEST_MINUTES)
    seconds = np.round(np.where(said, minutes, 1.0) * 60).astype("i4")
    sampling = np.nan_to_num(_beside(reports, values, codes, metrics, "wind_sample_interval"))
    wind = np.isin(codes, [metrics.index(name) for name in _WIND if name in metrics]) & ~np.isnan(values)
    rarer = wind & (sampling > seconds) & (sampling <= _LONGEST_SAMPLING)
    seconds = np.where(rarer, sampling.astype("i4"), seconds)
    return Declared(pa.array(seconds, pa.int32()), pa.array(np.zeros(rows, dtype="i4")))


def _reports(table: pa.Table) -> np.ndarray:
    """A number per row, the same for the rows of one report: those of one station and time."""
    stations = np.concatenate([np.asarray(chunk.indices) for chunk in table["station_id"].chunks])
    times = np.asarray(table["observed_at"].cast(pa.int64()))
    stamps, at = np.unique(times, return_inverse=True)
    return np.unique(stations.astype("i8") * len(stamps) + at, return_inverse=True)[1]


def _beside(reports: np.ndarray, values: np.ndarray, codes: np.ndarray, metrics: list[str], metric: str) -> np.ndarray:
    """The value of a field in each row's report; NaN where the report does not say it."""
    found = np.full(int(reports.max()) + 1, np.nan)
    if metric in metrics:
        here = codes == metrics.index(metric)
        found[reports[here]] = values[here]
    return found[reports]
