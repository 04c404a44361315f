"""One station's files of some years, decoded and joined: its rows of the wanted days, in the order of the lake."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from weather_backfill.model.intervals import DAY_US, shift_to_middle
from weather_backfill.model.schemas import MISSING
from weather_backfill.sources.ghcnh.cadence import cadence_of
from weather_backfill.sources.ghcnh.decode import METRIC_CODES, Decoded, Rows, joined
from weather_backfill.sources.ghcnh.elements import METRICS, RAIN
from weather_backfill.sources.ghcnh.rain import hour_totals
from weather_backfill.sources.table import BEFORE_FIRST_DAY, Reject

_DIGITS = 12


@dataclass(frozen=True, slots=True)
class StationFile:
    """A station's file of a year that was read, and its size in bytes."""

    name: str
    year: int
    size: int
    decoded: Decoded


@dataclass(slots=True)
class StationDays:
    """A station's rows sorted by day, metric, time and interval; `days` are UTC days since 1970-01-01, a row each.

    `digests` are by day those of the rows, `cadences` by year in seconds by metric, `spans` by year the first
    and last stamp.
    """

    station: str
    rows: Rows
    days: npt.NDArray[np.int64]
    digests: dict[int, str] = field(default_factory=dict)
    cadences: dict[int, Mapping[str, int]] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    rejects: dict[int, list[Reject]] = field(default_factory=dict)
    facts: dict[int, Counter[str]] = field(default_factory=dict)
    unknown_columns: set[str] = field(default_factory=set)
    sizes: dict[int, int] = field(default_factory=dict)
    year_facts: dict[int, Counter[str]] = field(default_factory=dict)


def load_station(
    station: str, files: list[StationFile], wanted: npt.NDArray[np.int64], begins: Collection[int] = ()
) -> StationDays:
    """Join a station's files, given in order of years: rows of the `wanted` days (since 1970-01-01, sorted).

    A year of `begins` has no file before it.
    """
    rows = joined([file.decoded.rows for file in files])
    facts: dict[int, Counter[str]] = {}
    rejects = {day: list(found) for day, found in _filed(files).items()}
    rows = _closed_hours(rows, facts)
    rows, early = _without_day_before(rows, files, begins)
    for day, found in early.items():
        rejects.setdefault(day, []).extend(found)
    days = (rows.times + shift_to_middle(rows.seconds, 0)) // DAY_US
    inside = np.isin(days, wanted)
    if not inside.all():
        rows, days = rows.take(inside), days[inside]
    rows, days = _in_order(rows, days, facts)
    loaded = StationDays(station, rows, days, rejects=rejects, facts=facts)
    loaded.digests = _digests(rows, days)
    for file in files:
        loaded.cadences[file.year] = cadence_of(file.decoded)
        loaded.unknown_columns.update(file.decoded.unknown_columns)
        if len(file.decoded.stamps):
            loaded.spans[file.year] = int(file.decoded.stamps.min()), int(file.decoded.stamps.max())
        loaded.sizes[file.year] = file.size
        loaded.year_facts[file.year] = +file.decoded.facts
    return loaded


def _closed_hours(rows: Rows, facts: dict[int, Counter[str]]) -> Rows:
    """Keep of the running totals of an hour those of its last stamp, with the seconds they stand for; traces too."""
    running = np.flatnonzero(rows.running > 0)
    if not len(running):
        return rows
    amounts = running[rows.metrics[running] == METRIC_CODES[RAIN]]
    amounts = amounts[np.argsort(rows.times[amounts], kind="stable")]
    times = rows.times[amounts]
    totals = hour_totals(times, rows.running[amounts].astype(np.int64))
    ends, seconds = times[totals.last], totals.seconds[totals.last]
    at = np.minimum(np.searchsorted(ends, rows.times[running]), len(ends) - 1)
    last = ends[at] == rows.times[running]
    _count(facts, "running_totals", times[~np.isin(times, ends)])
    rows.seconds = rows.seconds.copy()
    rows.seconds[running] = seconds[at]
    keep = np.ones(len(rows.times), dtype=bool)
    keep[running] = last
    return rows if keep.all() else rows.take(keep)


def _count(facts: dict[int, Counter[str]], name: str, times: npt.NDArray[np.int64]) -> None:
    days, counts = np.unique(times // DAY_US, return_counts=True)
    for day, count in zip(days.tolist(), counts.tolist(), strict=True):
        facts.setdefault(day, Counter())[name] += count


def _without_day_before(
    rows: Rows, files: list[StationFile], begins: Collection[int]
) -> tuple[Rows, dict[int, list[Reject]]]:
    """Drop the rows stamped on a file's first day whose interval belongs to the day before, of which nothing else is.

    A file that begins on the first of January goes on from that of the year before, unless its year is of `begins`.
    """
    early = np.zeros(len(rows.times), dtype=bool)
    rejects: dict[int, list[Reject]] = {}
    days: npt.NDArray[np.int64] | None = None
    for file in files:
        if not len(file.decoded.stamps):
            continue
        first = int(file.decoded.stamps.min()) // DAY_US
        if first == _day_number(date(file.year, 1, 1)) and file.year not in begins:
            continue
        if days is None:
            days = rows.times // DAY_US
        start = first * DAY_US
        here = (days == first) & (rows.times + shift_to_middle(rows.seconds, 0) < start)
        early |= here
        for row in map(int, np.flatnonzero(here)):
            text = f"{METRICS[rows.metrics[row]]}={rows.values[row]:g} of {rows.seconds[row]} s"
            rejects.setdefault(first, []).append(Reject(BEFORE_FIRST_DAY, file.name, text, None, int(rows.times[row])))
    return (rows.take(~early) if early.any() else rows), rejects


def _in_order(
    rows: Rows, days: npt.NDArray[np.int64], facts: dict[int, Counter[str]]
) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Rows by day, metric, time and interval; of equal ones that with the best flag, of these the last."""
    if not len(days):
        return rows, days
    seconds = (rows.times - int(rows.times.min())) // 1_000_000
    keys = (rows.metrics.astype(np.int64) << 52) | (seconds << 18) | rows.seconds
    if not (np.diff(keys) > 0).all():
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        same = keys[1:] == keys[:-1]
        if same.any():
            _count(facts, "duplicates", rows.times[order[1:][same]])
            flags = np.where(np.isnan(rows.values), MISSING, rows.flags)[order]
            better = np.lexsort((-flags.astype(np.int64), keys))  # stable: within equal flags in the file's order
            order = order[better]
            order = order[np.append(keys[1:] != keys[:-1], True)]
        rows, days = rows.take(order), days[order]
    by_day = np.argsort((days - int(days.min())).astype(np.uint16), kind="stable")  # 16 bits are sorted by radix
    return rows.take(by_day), days[by_day]


def _digests(rows: Rows, days: npt.NDArray[np.int64]) -> dict[int, str]:
    """By day a digest of its rows, as long as they are the same ones."""
    if not len(days):
        return {}
    numbers, starts = np.unique(days, return_index=True)
    ends = np.append(starts[1:], len(days))
    parts = (rows.times, rows.metrics, rows.values, rows.flags, rows.levels, rows.seconds)
    digests = {}
    for day, start, end in zip(numbers.tolist(), starts.tolist(), ends.tolist(), strict=True):
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part[start:end].tobytes())
        digests[day] = digest.hexdigest()[:_DIGITS]
    return digests


def _filed(files: list[StationFile]) -> dict[int, list[Reject]]:
    """Rejects by the day of their stamp, or of the file's last good row where that cannot be read or lies ahead."""
    filed: dict[int, list[Reject]] = {}
    for file in files:
        stamps = file.decoded.stamps
        last = int(stamps.max()) // DAY_US if len(stamps) else _day_number(date(file.year, 1, 1))
        for reject in file.decoded.rejects:
            own = last if reject.observed_at is None else min(reject.observed_at // DAY_US, last)
            filed.setdefault(own, []).append(reject)
    return filed


def _day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days
