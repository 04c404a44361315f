"""The simulator's observations: deterministic from a seed, and made fast enough to serve.

A site scans all of its points every `cadence` seconds; the samples of a scan share one time stamp with
microseconds. Each row is found by arithmetic from its scan and its place in the scan, so a page is built by
Arrow's string functions over row numbers, without any stored data, and the truth of a day by the same
functions.

Per site some rows are not clean, as in real buildings: `null_every` (value null), `bad_every` (no number),
`repeat_every` (scans that repeat their first rows with other values: the later one counts), and points that
send samples without being configured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.model.partitions import UTC

_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_BAD_TEXTS = ("n/a", "inactive", "1,5", "nan", "")
_KINDS = ("weather/temp", "weather/humidity", "weather/pressure", "weather/wind_speed")
LAYOUT_DAY = date(2026, 8, 7)
LAYOUT = (("17:15", 1464), ("17:20", 879), ("17:25", 879))
"""Rows by time of the site `layout`: the window on which the cursor fault was measured."""


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """A made-up site. Numbers are counts of rows, 0 for never; `gap` are hours of each
    day without scans, `resolution` is the step of the values."""

    name: str
    points: int = 20
    cadence: int = 60
    first_day: date = date(2020, 1, 1)
    unconfigured: int = 2
    null_every: int = 97
    bad_every: int = 1009
    repeat_every: int = 13
    gap: tuple[int, int] | None = None
    jitter: bool = True
    resolution: float = 0.001
    layout: bool = False

    @classmethod
    def parse(cls, text: str) -> SiteSpec:
        """From `name[:points[:cadence seconds[:gap from-gap to]]]`, or `layout`."""
        name, *rest = text.split(":")
        if name == "layout" and not rest:
            return layout_site()
        gap = tuple(int(h) for h in rest[2].split("-")) if len(rest) > 2 else None
        points, cadence = [int(x) for x in rest[:2]] + [20, 60][len(rest[:2]) :]
        return cls(name, points, cadence, gap=(gap[0], gap[1]) if gap else None)


def layout_site() -> SiteSpec:
    """The site with the 3,222 rows of the measured layout, on one day, all of them clean."""
    return SiteSpec("layout", 1464, unconfigured=0, null_every=0, bad_every=0, repeat_every=0, layout=True)


@dataclass(frozen=True, slots=True)
class Scans:
    """The scans of a site's day: microseconds since the epoch, distinct points, and rows with repeats."""

    times: np.ndarray
    distinct: np.ndarray
    rows: np.ndarray
    ends: np.ndarray = field(repr=False)

    @property
    def total(self) -> int:
        """Rows of the day."""
        return int(self.ends[-1]) if len(self.ends) else 0


class SiteData:
    """A site's samples. `seed` makes another site of the same shape."""

    def __init__(self, spec: SiteSpec, seed: int = 0) -> None:
        self.spec = spec
        self._seed = seed + sum(spec.name.encode())
        generator = np.random.default_rng(self._seed)
        total = spec.points + spec.unconfigured
        self.names = [
            f"acme/{spec.name}/{_KINDS[i]}" if i < len(_KINDS) and spec.points >= len(_KINDS) and not
            spec.layout else f"acme/{spec.name}/10.0.{i // 250}.{i % 250}-{100 + i}/analogInput/{i}"
            for i in range(total)
        ]  # fmt: skip
        self.configured = self.names[: spec.points]
        self._names = pa.array([f'{{"name":"{n}","value":' for n in self.names])
        self._mean = generator.uniform(5, 95, total)
        self._swing = generator.uniform(0.5, 9, total)
        self._phase = generator.uniform(0, 2 * np.pi, total)
        self.scans = lru_cache(64)(self._scans)
        self._texts = lru_cache(64)(self._time_texts)

    def _scans(self, day: date) -> Scans:
        spec, start = self.spec, (day - _EPOCH).days * _DAY_US
        if spec.layout:
            layout = LAYOUT if day == LAYOUT_DAY else ()
            at = np.array([start + _minutes(t) * 60_000_000 for t, _ in layout], dtype=np.int64)
            rows = np.array([n for _, n in layout], dtype=np.int64)
            return Scans(at, rows, rows, np.cumsum(rows))
        offsets = np.arange(0, 86_400, spec.cadence, dtype=np.int64)
        if spec.gap:
            offsets = offsets[(offsets < spec.gap[0] * 3600) | (offsets >= spec.gap[1] * 3600)]
        if day < spec.first_day:
            offsets = offsets[:0]
        # Stamps wander by microseconds; the first of a day is exactly midnight, the edge that windows share.
        noise = _hash(offsets + start, self._seed) % np.uint64(900_000)
        wander = np.where(offsets == 0, 0, noise.astype(np.int64)) if spec.jitter else 0
        times = start + offsets * 1_000_000 + wander
        distinct = np.full(len(times), len(self.names), dtype=np.int64)
        repeats = np.zeros(len(times), dtype=np.int64)
        if spec.repeat_every:
            chosen = _hash(times, self._seed + 1) % np.uint64(spec.repeat_every) == 0
            repeats = np.where(chosen, min(3, len(self.names)), 0)
        rows = distinct + repeats
        return Scans(times, distinct, rows, np.cumsum(rows))

    def position(self, day: date, micros: int, offset: int) -> int:
        """The row of a day that lies `offset` rows behind the first row at or after a time."""
        scans = self.scans(day)
        scan = int(np.searchsorted(scans.times, micros, side="left"))
        return (int(scans.ends[scan - 1]) if scan else 0) + offset

    def _rows(self, day: date, low: int, high: int) -> tuple[np.ndarray, np.ndarray, pa.Array, np.ndarray]:
        """Scan, point, value text (quoted, or null) and whether it is clean, of a day's rows `[low,
        high)`.
        """
        spec, scans = self.spec, self.scans(day)
        row = np.arange(low, high, dtype=np.int64)
        scan = np.searchsorted(scans.ends, row, side="right")
        place = row - np.where(scan > 0, scans.ends[scan - 1], 0)
        repeated = place >= scans.distinct[scan]
        point = np.where(repeated, place - scans.distinct[scan], place)
        at = scans.times[scan]
        angle = 2 * np.pi * (at % _DAY_US) / _DAY_US
        noise = (_hash(at + point, self._seed + 2) % np.uint64(1000)).astype(np.float64) / 1000
        value = self._mean[point] + self._swing[point] * np.sin(angle + self._phase[point]) + noise + repeated
        per_unit = round(1 / spec.resolution)
        rounded = pa.array(np.floor(value * per_unit) / per_unit)
        text = pc.binary_join_element_wise('"', pc.cast(rounded, pa.string()), '"', "")
        mark = _hash(at * 31 + place, self._seed + 3)
        null = (mark % np.uint64(spec.null_every) == 0) if spec.null_every else np.zeros(len(row), bool)
        bad = (mark % np.uint64(spec.bad_every) == 1) if spec.bad_every else np.zeros(len(row), bool)
        if null.any() or bad.any():
            wrong = pa.array([f'"{t}"' for t in _BAD_TEXTS]).take(pa.array((mark % np.uint64(5)).astype(np.int8)))
            text = pc.if_else(pa.array(null), "null", pc.if_else(pa.array(bad), wrong, text))
        return scan, point, text, ~(null | bad)

    def page(self, day: date, low: int, high: int) -> bytes:
        """The JSON objects of a day's rows `[low, high)`, with commas between and none behind."""
        if high <= low:
            return b""
        scan, point, text, _ = self._rows(day, low, high)
        objects = pc.binary_join_element_wise(
            self._names.take(pa.array(point)), text, self._texts(day).take(pa.array(scan)), ""
        )
        return objects.buffers()[2].to_pybytes()[:-1]

    def _time_texts(self, day: date) -> pa.Array:
        ends = [f',"time":"{iso(t)}"}},' for t in self.scans(day).times.tolist()]
        return pa.array(ends, pa.string())

    def truth(self, day: date) -> pa.Table:
        """What a complete day holds: point, time (UTC), value; sorted by point and time, later repeats
        win.
        """
        scans = self.scans(day)
        scan, point, text, clean = self._rows(day, 0, scans.total)
        keep = np.flatnonzero(clean & (point < self.spec.points))
        values = np.zeros(len(scan))
        quoted = text.take(pa.array(keep))
        values[keep] = pc.cast(pc.utf8_trim(quoted, '"'), pa.float64()).to_numpy()
        order = keep[np.lexsort((keep, scans.times[scan[keep]], point[keep]))]
        p, s = point[order], scan[order]
        last = np.ones(len(order), bool)
        last[:-1] = (p[1:] != p[:-1]) | (s[1:] != s[:-1])
        order = order[last]
        table = pa.table(
            {
                "point": pa.array(self.names).take(pa.array(point[order])),
                "observed_at": pa.array(scans.times[scan[order]]).view(pa.timestamp("us", tz="UTC")),
                "value": values[order],
            }
        )
        return table.sort_by([("point", "ascending"), ("observed_at", "ascending")])


def truth(site: SiteSpec, day: date, seed: int = 0) -> pa.Table:
    """The truth of one site's UTC day, as `SiteData.truth`."""
    return SiteData(site, seed).truth(day)


def iso(micros: int) -> str:
    """Naive ISO text of microseconds since the epoch, with a fraction only where there is one."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).replace(tzinfo=None).isoformat()


def _minutes(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _hash(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Well-mixed 64-bit numbers (splitmix64), the same on every machine."""
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
