"""What the rows of an older release stand for: their reports' own lengths, which lie in the same file as rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.sources.tempest.messages import report_seconds
from weather_backfill.sources.tempest.source import WIND, stand_for


def lengths_of_reports(table: pa.Table) -> npt.NDArray[np.int32]:
    """The seconds that each row stands for, as `source.py` reads them from messages; a minute where no row says it."""
    station, metric = (
        pc.dictionary_encode(table[name].cast(pa.string())).combine_chunks() for name in ("station_id", "metric")
    )
    times = np.asarray(table["observed_at"].cast(pa.int64()))
    times = times - times.min(initial=0)
    reports = np.asarray(station.indices, dtype="i8") * int(times.max(initial=0) + 1) + times
    values = np.asarray(table["value"], dtype="f8")

    def said(name: str) -> np.ndarray:
        rows = np.asarray(pc.equal(table["metric"].cast(pa.string()), name)) & ~np.isnan(values)
        order = np.argsort(reports[rows])
        keys, told = reports[rows][order], values[rows][order]
        if not len(keys):
            return np.full(len(reports), np.nan)
        at = np.minimum(np.searchsorted(keys, reports), len(keys) - 1)
        return np.where(keys[at] == reports, told[at], np.nan)

    minutes, sampling = said("reporting_interval"), said("wind_sample_interval")
    is_wind = np.isin(metric.dictionary.to_pylist(), WIND)[np.asarray(metric.indices)] & ~np.isnan(values)
    return stand_for(report_seconds(minutes)[0], sampling, is_wind)
