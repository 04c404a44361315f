"""Windows to a day: each window is sorted and spilled to a local file when it is complete, and the day is put
together from slices of those files, so that memory holds windows and slices and never a day.

Window files are Arrow IPC without compression: they are memory-mapped, and live for minutes. They are kept in
a folder that goes with its process (`util/scratch.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from weather_backfill.model.schemas import RAW, REJECTS
from weather_backfill.sources.aceiot.decode import Counts
from weather_backfill.sources.aceiot.pagination import WalkResult
from weather_backfill.sources.aceiot.points import PointSet
from weather_backfill.sources.table import READING, Tags, latest_rows, raw_batch, stable_order

_SLICE_ROWS = 1_000_000
_WINDOW = pa.schema([("code", pa.int32()), ("time", pa.int64()), ("value", pa.float64())])


def sort_window(result: WalkResult) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window's codes, times and values, sorted by code and time, unique by both; the last received wins.

    Moves what it drops from `kept` to `duplicate` in the result's counts.
    """
    pages = [p.samples for p in result.pages]
    codes = np.concatenate([p.codes for p in pages])
    times = np.concatenate([p.times for p in pages])
    values = np.concatenate([p.values for p in pages])
    rows = latest_rows(codes, times)
    result.counts.kept -= len(rows.replaced)
    result.counts.duplicate += len(rows.replaced)
    return rows.series, rows.times, values[rows.order]


def write_window(path: Path, result: WalkResult) -> None:
    """Sort and store a complete window; the file appears whole or not at all, facts in its metadata."""
    columns = [pa.array(c, t) for c, t in zip(sort_window(result), _WINDOW.types, strict=True)]
    rejects = pa.concat_tables([p.rejects for p in result.pages])
    facts = {
        "counts": asdict(result.counts), "pages": len(result.pages), "bytes": result.bytes,
        "repaired": result.repaired, "widened": result.widened,
    }  # fmt: skip
    with pa.OSFile(str(path.with_suffix(".rejects")), "wb") as file, pa.ipc.new_file(file, REJECTS) as writer:
        writer.write_table(rejects)
    staged = path.with_suffix(".staged")
    schema = _WINDOW.with_metadata({"facts": orjson.dumps(facts)})
    with pa.OSFile(str(staged), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    staged.replace(path)


class WindowFile:
    """A stored window, memory-mapped."""

    def __init__(self, path: Path) -> None:
        table = _mapped(path)
        self.facts: dict[str, Any] = orjson.loads(table.schema.metadata[b"facts"])
        self.counts = Counts(**self.facts["counts"])
        self.rejects = _mapped(path.with_suffix(".rejects"))
        self.codes, self.times, self.values = (_numpy(table[name]) for name in _WINDOW.names)


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    if column.num_chunks == 1:
        return column.chunk(0).to_numpy(zero_copy_only=True)
    return column.to_numpy()


def assemble(path: Path, sites: Sequence[tuple[PointSet, Sequence[WindowFile]]]) -> pa.Table:
    """The day's table with the columns of `schemas.RAW`, sorted by station, metric and time, memory-mapped from `path`.

    `sites` are in the order of their names, a site's windows in the order of time. Record batches hold whole
    series and about a million rows. The file is deleted at once; the mapping keeps its bytes while it is used.
    """
    stations = pa.array([points.site for points, _ in sites], pa.string())
    metrics = sorted({metric for points, _ in sites for metric in points.metrics})
    metric_codes = {metric: code for code, metric in enumerate(metrics)}
    metric_names = pa.array(metrics, pa.string())
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, RAW) as writer:
        for station, (points, windows) in enumerate(sites):
            code_of_point = np.array([metric_codes[metric] for metric in points.metrics], dtype=np.int32)
            for codes, times, values in _slices(len(points.metrics), windows):
                station_id = Tags(np.full(len(codes), station, np.int32), stations)
                metric = Tags(code_of_point[codes], metric_names)
                writer.write_batch(raw_batch(times, station_id, metric, values, interval=READING))
    table = _mapped(path)
    path.unlink()
    return table


def _slices(codes: int, windows: Sequence[WindowFile]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sorted slices of about a million rows over all windows of a site; a series is never split."""
    bounds = [np.searchsorted(w.codes, np.arange(codes + 1)) for w in windows]
    totals = np.sum(bounds, axis=0) if bounds else np.zeros(codes + 1, dtype=np.int64)
    low = 0
    while low < codes:
        high = max(int(np.searchsorted(totals, totals[low] + _SLICE_ROWS, side="right")) - 1, low + 1)
        parts = [slice(b[low], b[high]) for b in bounds]
        lowest, low = low, high
        if not any(p.stop > p.start for p in parts):
            continue
        code = np.concatenate([w.codes[p] for w, p in zip(windows, parts, strict=True)])
        order = stable_order(code, lowest)  # windows follow each other in time
        yield (
            code[order],
            np.concatenate([w.times[p] for w, p in zip(windows, parts, strict=True)])[order],
            np.concatenate([w.values[p] for w, p in zip(windows, parts, strict=True)])[order],
        )
