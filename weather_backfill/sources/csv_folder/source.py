"""Decodes a CSV or Parquet file by the connection's mapping."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from weather_backfill.model.days import Cadence
from weather_backfill.sources.csv_folder.connection import CsvFolderConnection
from weather_backfill.sources.daily_files import DailyFilesSource, FileRows
from weather_backfill.sources.table import Interval, Reject
from weather_backfill.sources.text_tables import numbers, read_columns, utc_micros
from weather_backfill.storage.object_store import ObjectStore


class CsvFolderSource(DailyFilesSource):
    """A `Source` over a connection's folder."""

    def __init__(self, connection: CsvFolderConnection, folder: ObjectStore) -> None:
        expected = (connection.station,) if connection.station else ()
        super().__init__(folder, connection.files, Cadence(connection.cadence_seconds), expected)
        self._connection, self._scales = connection, connection.scales()

    def decode(self, key: str) -> FileRows:
        """Read one file. Cells that are no number, rows without time or station and ragged lines are rejects."""
        c = self._connection
        columns = [c.time_column, *filter(None, (c.station_column, c.metric_column, c.value_column))]
        columns += [] if c.metric_column else list(c.columns)
        table, lines = read_columns(self.folder.get(key), key, columns, separator=c.separator, encoding=c.encoding)
        rejects = [Reject("wrong number of fields", key, line) for line in lines]
        times, no_time = utc_micros(table[c.time_column], c.time_zone, c.time_format)
        stations = _texts(table[c.station_column]) if c.station_column else np.full(len(times), c.station, object)
        unusable = no_time | (stations == "")
        for row in np.flatnonzero(unusable):
            reason = "no time" if no_time[row] else "no station"
            rejects.append(Reject(reason, key, str(table.slice(row, 1).to_pylist()[0])))
        parts, mapped = [], np.full(len(times), not c.metric_column)
        for name, (metric, factor, offset) in self._scales.items():
            here = ~unusable & (_texts(table[c.metric_column]) == name if c.metric_column else True)
            column = table[c.value_column or name]
            values, bad = numbers(column, c.decimal)
            for row in np.flatnonzero(bad & here):
                cell = f"{name}={column[row]}"
                rejects.append(Reject("not a number", key, cell, stations[row], int(times[row])))
            mapped, here = mapped | here, here & ~bad
            size = int(here.sum())
            stands_for = [np.full(size, number, np.int32) for number in c.interval_of(metric)]
            scaled = values[here] * factor + offset
            parts.append((stations[here], np.full(size, metric, object), times[here], scaled, *stands_for))
        unmapped = Counter({"unmapped_rows": int((~mapped & ~unusable).sum())})
        named, metrics, moments, values, *stands_for = map(np.concatenate, zip(*parts, strict=True))
        return FileRows(named, metrics, moments, values, rejects, +unmapped, Interval(*stands_for))


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(["" if cell is None else str(cell).strip() for cell in column.to_pylist()], dtype=object)
