"""Coverage: the share of a day that values cover, by station and metric, and what of it is wholly absent."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.lake import parquet
from weather_backfill.model import intervals
from weather_backfill.model.days import Cadence, RawDay
from weather_backfill.model.expectation import Lack
from weather_backfill.model.metrics import METRICS
from weather_backfill.refine.parts import covered_by_series
from weather_backfill.refine.samples import samples_of
from weather_backfill.util import json_documents

WORST = 5
"""Stations, and metrics, that are named as the worst."""
FOOTER_BYTES = 24 * 1024
"""Room for the coverage in a raw file's footer; beyond it only the least covered series are listed."""
_BLOCK_ROWS = 1_000_000
_IN_FULL = 1000
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Shares (0 to 1) of a day that values cover by series (station and metric), also of expected ones without rows.

    `station` and `metric` hold a series' codes, the places of its names in `stations` and `metrics`.
    """

    stations: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    station: Codes = field(default_factory=lambda: np.empty(0, "i8"))
    metric: Codes = field(default_factory=lambda: np.empty(0, "i8"))
    shares: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0, "f8"))

    @property
    def by_station(self) -> Mapping[str, float]:
        """The mean share of each station over its metrics."""
        return self._mean(self.station, self.stations)

    @property
    def by_metric(self) -> Mapping[str, float]:
        """The mean share of each metric over the stations that have it or should."""
        means = self._mean(self.metric, self.metrics)
        return {metric: share for metric, share in means.items() if metric}

    @property
    def share(self) -> float:
        """The mean share over the stations; 0 for a day without any."""
        return float(np.mean(list(self.by_station.values()))) if len(self.shares) else 0.0

    @property
    def worst(self) -> Mapping[str, float]:
        """The stations that are covered least, by name."""
        return least(self.by_station)

    def _mean(self, codes: Codes, names: Sequence[str]) -> dict[str, float]:
        counts = np.bincount(codes, minlength=len(names))
        totals = np.bincount(codes, self.shares, minlength=len(names))
        return {names[code]: float(totals[code] / counts[code]) for code in np.flatnonzero(counts).tolist()}

    def series(self) -> Iterator[tuple[str, str, float]]:
        """Yield station, metric and share of each series; the metric of a station without any is ""."""
        for station, metric, share in zip(
            self.station.tolist(), self.metric.tolist(), self.shares.tolist(), strict=True
        ):
            yield self.stations[station], self.metrics[metric], share

    def encode(self) -> str:
        """The coverage for a file's footer, in thousandths."""
        for kept in (len(self.shares), 2000, 500, 100, 10, 0):
            text = self._encoded(kept)
            if len(text) <= FOOTER_BYTES:
                break
        return text

    def _encoded(self, kept: int) -> str:
        rows = np.sort(np.argsort(self.shares, kind="stable")[:kept])
        shares = np.floor(self.shares[rows] * _IN_FULL + 1e-6).astype(int)
        stations, station = np.unique(self.station[rows], return_inverse=True)
        metrics, metric = np.unique(self.metric[rows], return_inverse=True)
        document = {
            "stations": [self.stations[n] for n in stations], "metrics": [self.metrics[n] for n in metrics],
            "station": station.tolist(), "metric": metric.tolist(), "shares": shares.tolist(),
            "all": kept >= len(self.shares),
        }  # fmt: skip
        return base64.b64encode(zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 9)).decode()


def decoded(text: str) -> tuple[Coverage, bool]:
    """The coverage of a footer, and whether it lists all series; raises `UnreadableObjectError` for another text."""
    with json_documents.reading("this file's footer has no valid coverage", "reprocess its day."):
        document = json_documents.parsed(_unpacked(text))
        station, metric = (np.array(document[name], dtype="i8") for name in ("station", "metric"))
        stations, metrics = (tuple(map(str, document[name])) for name in ("stations", "metrics"))
        shares = np.array(document["shares"], dtype="f8") / _IN_FULL
        if not len(station) == len(metric) == len(shares) or _outside(station, stations) or _outside(metric, metrics):
            raise ValueError("its columns do not fit each other")
        return Coverage(stations, metrics, station, metric, shares), bool(document["all"])


def _unpacked(text: str) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(text, validate=True), 64 << 20)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError("it is cut, or too large")
    return data


def _outside(codes: Codes, names: Sequence[str]) -> bool:
    return bool(len(codes) and (codes.min() < 0 or codes.max() >= len(names)))


def least(shares: Mapping[str, float]) -> dict[str, float]:
    """The entries with the lowest shares, lowest first, then by name."""
    return dict(sorted(shares.items(), key=lambda item: (item[1], item[0]))[:WORST])


def coverage(day: RawDay) -> Coverage:
    """The share of the day that values cover, by station and metric.

    Intervals cover the time that they hold together; readings, and intervals shorter than the grid, the slots that hold
    their midpoints. An interval belongs whole to its day, also what of it lies outside: the next day lacks as much at
    its end. Counts metrics with a CF name and points that the table of metrics lacks; a station's battery or codes are
    not weather, and what is sporadic is no gap. An expected station or metric without rows counts as empty.
    """
    if day.table.num_rows:
        table = parquet.unified(day.table)
        starts = parquet.series_starts(table)
        metric, metric_names = codes_at(table, "metric", starts)
        station, station_names = codes_at(table, "station_id", starts)
        slot_seconds = _slot_seconds(day.cadence, metric, metric_names, station, station_names)
        counted = np.array([_counts(name, day.cadence) for name in metric_names], dtype=bool)[metric]
        slots, covered = _filled(table, starts, slot_seconds)
        shares = np.minimum(slots / (86_400 // np.maximum(slot_seconds, 1)) + covered / intervals.DAY_US, 1)[counted]
        codes = (station[counted].astype("i8"), metric[counted].astype("i8"))
        came = Coverage(tuple(station_names), tuple(metric_names), *codes, shares)
        present = {station_names[code] for code in np.unique(station)}  # the dictionary may hold further names
    else:
        came, present = Coverage(), set[str]()
    return _with_absent(came, day, present)


def _with_absent(came: Coverage, day: RawDay, present: Collection[str]) -> Coverage:
    """The coverage with the expected series of which no row came, which cover nothing."""
    there = {(s, m) for s, m, _ in came.series()} if day.expected_metrics else set()
    absent = [
        (station, metric)
        for station, metrics in sorted(day.expected_metrics.items())
        for metric in sorted(metrics)
        if (station, metric) not in there and _counts(metric, day.cadence)
    ]
    named = {station for station, _ in absent}
    # A station that reports none of the counted metrics is not silent.
    absent += [(station, "") for station in sorted(set(day.expected_stations) - set(present) - named)]
    if not absent:
        return came
    stations = {name: code for code, name in enumerate(came.stations)}
    metrics = {name: code for code, name in enumerate(came.metrics)}
    station = [stations.setdefault(name, len(stations)) for name, _ in absent]
    metric = [metrics.setdefault(name, len(metrics)) for _, name in absent]
    return Coverage(
        tuple(stations), tuple(metrics), np.append(came.station, station), np.append(came.metric, metric),
        np.append(came.shares, np.zeros(len(absent))),
    )  # fmt: skip


def wholly_null(covered: Coverage, required: Collection[str]) -> tuple[Lack, ...]:
    """The required metrics of stations that have rows of them, or should, and no value all day."""
    if not required:
        return ()
    wanted = np.array([name in required for name in covered.metrics], dtype=bool)
    if not len(covered.shares):
        return ()
    rows = np.flatnonzero((covered.shares == 0) & wanted[covered.metric])
    cause = "required, and without a value all day"
    series = zip(covered.station[rows].tolist(), covered.metric[rows].tolist(), strict=True)
    return tuple(Lack(covered.stations[station], covered.metrics[metric], cause=cause) for station, metric in series)


def _counts(metric: str, cadence: Cadence) -> bool:
    return metric not in cadence.sporadic and (metric not in METRICS or METRICS[metric].cf)


def _slot_seconds(
    cadence: Cadence, metric: np.ndarray, metric_names: list[str], station: np.ndarray, station_names: list[str]
) -> np.ndarray:
    """The cadence of each series; those of stations without an own one are told by metric alone."""
    seconds = np.array([cadence.of(name) for name in metric_names], dtype="i8")[metric]
    own = np.array([name in cadence.by_station for name in station_names], dtype=bool)
    for at in np.flatnonzero(own[station]) if cadence.by_station else ():
        seconds[at] = cadence.of(metric_names[metric[at]], station_names[station[at]])
    return seconds


def codes_at(table: pa.Table, column: str, rows: np.ndarray | slice) -> tuple[np.ndarray, list[str]]:
    """The dictionary codes of a column at some rows, and the dictionary."""
    chunks = table[column].chunks
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in chunks])
    return codes[rows], chunks[0].dictionary.to_pylist()


def _filled(table: pa.Table, starts: np.ndarray, slot_seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count by series the distinct grid slots that hold a short value, and the microseconds that longer ones cover.

    About a million rows at a time, to save memory.
    """
    edges = np.append(starts, table.num_rows)
    slots, covered = np.zeros(len(starts), "i8"), np.zeros(len(starts))
    first = 0
    while first < len(starts):
        last = max(int(np.searchsorted(edges, edges[first] + _BLOCK_ROWS, side="right")) - 1, first + 1)
        part = table.slice(edges[first], edges[last] - edges[first])
        lengths = np.diff(edges[first : last + 1])
        slots[first:last], covered[first:last] = _filled_in(part, lengths, slot_seconds[first:last])
        first = last
    return slots, covered


def _filled_in(part: pa.Table, lengths: np.ndarray, slot_seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_filled` of some whole series; rows are sorted by time within a series."""
    if part["value"].null_count:
        valid = np.asarray(part["value"].is_valid())
        lengths = np.add.reduceat(valid, np.append(0, np.cumsum(lengths)[:-1]), dtype="i8")
        part = part.filter(pa.array(valid))
    series = np.repeat(np.arange(len(lengths), dtype="i4"), lengths)
    rows = samples_of(part, series).rows(slice(None))
    uniform = slot_seconds.min() == slot_seconds.max()  # dividing by a scalar is several times faster
    slot_us = slot_seconds[0] * 1_000_000 if uniform else (slot_seconds * 1_000_000)[rows.series]
    slots, covered = (rows.end - rows.length // 2) // slot_us, np.zeros(len(lengths))
    lasting = rows.length >= slot_us
    if lasting.any():
        covered = covered_by_series(rows if lasting.all() else rows[lasting], len(lengths))
        slots, series = slots[~lasting], series[~lasting]
    distinct = np.ones(len(slots), dtype=bool)
    distinct[1:] = (slots[1:] != slots[:-1]) | (series[1:] != series[:-1])
    return np.bincount(series[distinct], minlength=len(lengths)), covered
