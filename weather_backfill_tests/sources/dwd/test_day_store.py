"""Stations in, days out: the same rows however the days are cut, against a slow count."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from weather_backfill.sources.dwd import day_store
from weather_backfill.sources.dwd.day_store import DayIndex, DayStore
from weather_backfill.sources.dwd.product_parser import NO_LEVEL, Series
from weather_backfill.sources.dwd.timestamps import DAY, HOUR
from weather_backfill.sources.table import Interval

FIRST = date(2020, 1, 1)
START = int(np.datetime64(FIRST, "us").astype(np.int64))
STATIONS = ["00001", "00002", "00003"]
METRICS = ["air_temperature", "relative_humidity"]
INTERVALS = {"air_temperature": Interval(0, -600), "relative_humidity": Interval(3600, 0)}
"""A reading ten minutes before its stamp, and the hour up to it."""


def all_series() -> dict[str, list[Series]]:
    """Ten days of hours with gaps: some hours, some whole days, and all of one series' beginning are absent."""
    random = np.random.default_rng(1)
    found: dict[str, list[Series]] = {}
    for at, station in enumerate(STATIONS):
        for metric in METRICS:
            hours = np.flatnonzero(random.random(240) < 0.8)
            hours = hours[(hours // 24 != 4) & ((hours // 24 != 2 + at) | (metric == METRICS[0]))]
            values = np.where(random.random(len(hours)) < 0.1, np.nan, random.normal(size=len(hours)))
            levels = np.where(random.random(len(hours)) < 0.1, NO_LEVEL, 3).astype(np.int8)
            interval = INTERVALS[metric]
            found.setdefault(station, []).append(Series(metric, START + hours * HOUR, values, levels, interval))
    return found


def slowly(day: date, series: dict[str, list[Series]]) -> list[tuple[object, ...]]:
    begin = START + (day - FIRST).days * DAY
    return [
        (
            station,
            s.metric,
            int(t),
            None if np.isnan(v) else float(v),
            9 if np.isnan(v) else 1,
            *s.interval,
            None if q < 0 else int(q),
        )
        for station, parts in series.items()
        for s in parts
        for t, v, q in zip(s.times, s.values, s.levels, strict=True)
        if begin <= int(t) + (s.interval.end_offset - s.interval.seconds // 2) * 1_000_000 < begin + DAY
    ]


@pytest.mark.parametrize("wanted", [range(10), [0, 1, 5, 6, 9], [3]], ids=["all", "gaps", "one"])
@pytest.mark.parametrize("block", [1, 200, 1 << 18])
@pytest.mark.parametrize("memory", [1, 1 << 20], ids=["spilled", "held"])
def test_days_hold_their_rows_in_order(block: int, memory: int, wanted: list[int], monkeypatch) -> None:
    monkeypatch.setattr(day_store, "_BLOCK_ROWS", block)
    dates = [FIRST + timedelta(days=n) for n in wanted]
    index, series = DayIndex(dates), all_series()
    with DayStore(index, STATIONS, METRICS, memory) as store:
        for station, parts in series.items():
            store.add(station, [index.wanted(s) for s in parts])
        tables = store.tables()
        order = [*range(len(dates)), *reversed(range(len(dates)))]  # a day may be asked for again
        for position in order:
            table = tables.day(position)
            columns = [
                table["station_id"], table["metric"], table["observed_at"].cast("int64"), table["value"],
                table["quality"], table["interval_seconds"], table["interval_end_offset_seconds"],
                table["source_quality"],
            ]  # fmt: skip
            rows = list(zip(*(c.to_pylist() for c in columns), strict=True))
            assert rows == slowly(dates[position], series)
