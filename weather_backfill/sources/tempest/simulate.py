"""Simulates a Tempest archive like a real one: weather, jitter, gaps, nulls, duplicates, damage.

Deterministic by seed: the same arguments write the same bytes. Weather is made of a season, a daily cycle,
fronts that pass every few days and showers; it is plausible, not a forecast.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import orjson

from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.source import day_folder
from weather_backfill.storage.object_store import ObjectStore

MINUTES = 1440


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults to simulate, as shares of messages; days and stations are numbered from 0 (None for never)."""

    missing: float = 0.01
    nulls: float = 0.005
    duplicates: float = 0.01
    garbage: float = 0.0005
    corrupt_day: int | None = None
    silent_station: int | None = None
    silent_day: int | None = None


@dataclass(frozen=True, slots=True)
class SimulatedArchive:
    """The archive to simulate: a tenant's stations for the UTC days from start to end, both included."""

    tenant: str
    start: date
    end: date
    stations: int = 3
    seed: int = 1
    minutes_per_object: int = 5
    faults: Faults = Faults()

    @property
    def station_ids(self) -> list[str]:
        """Serial numbers like real ones."""
        return [f"ST-{10_000 + self.seed * 100 + n:08d}" for n in range(self.stations)]


def write_archive(
    archive: SimulatedArchive, store: ObjectStore, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Write the archive's objects and return how many; `progress` is called after each day with that day's count."""
    total = 0
    for number, day in enumerate(days_between(archive.start, archive.end)):
        written = 0
        for station, serial in enumerate(archive.station_ids):
            if archive.faults.silent_station == station and archive.faults.silent_day == number:
                continue
            for key, body in _objects(archive, number, day, station, serial):
                store.put(key, body)
                written += 1
        if archive.faults.corrupt_day == number:
            sound = gzip.compress(b'{"type":"obs_st"}' * 20, mtime=0)
            store.put(f"{day_folder(day)}/hour=12/cut-off.json.gz", sound[: len(sound) // 2])
            written += 1
        total += written
        progress(written)
    return total


def _objects(
    archive: SimulatedArchive, number: int, day: date, station: int, serial: str
) -> Iterator[tuple[str, bytes]]:
    """Yield a station's day as objects (key, gzipped NDJSON) of `minutes_per_object` minutes each."""
    rng = np.random.default_rng([archive.seed, number, station])
    reports = weather(archive, number, day, station)
    keep = rng.random(MINUTES) >= archive.faults.missing
    null = rng.random((MINUTES, 21)) < archive.faults.nulls
    twice = rng.random(MINUTES) < archive.faults.duplicates
    garbage = rng.random(MINUTES) < archive.faults.garbage
    lines: list[list[bytes]] = [[] for _ in range(MINUTES)]
    for minute in np.flatnonzero(keep):
        values = [None if missing else value for value, missing in zip(reports[minute][1:], null[minute], strict=True)]
        message = _message(serial, [reports[minute][0], *values[:17]])
        lines[minute] = [message, message] if twice[minute] else [message]
        if garbage[minute]:
            lines[minute].append(message[: len(message) // 2])
    step = archive.minutes_per_object
    for first in range(0, MINUTES, step):
        body = b"\n".join(line for minute in lines[first : first + step] for line in minute)
        if body:
            yield (
                f"{day_folder(day)}/hour={first // 60:02d}/{serial}-{first % 60:02d}.json.gz",
                gzip.compress(body, 1, mtime=0),
            )


def _message(serial: str, report: list[float | int | None]) -> bytes:
    return orjson.dumps(
        {"serial_number": serial, "type": "obs_st", "hub_sn": "HB-00000001", "obs": [report], "firmware_revision": 176}
    )


def weather(archive: SimulatedArchive, number: int, day: date, station: int) -> list[list[float | int]]:
    """A UTC day's reports, one a minute: epoch seconds, then the 21 fields of `obs_st` (UDP sends the first 17)."""
    rng = np.random.default_rng([archive.seed, number, station, 7])
    minute = np.arange(MINUTES)
    days = number + minute / MINUTES
    epoch = int(np.datetime64(day, "s").astype("i8")) + minute * 60 + 5 + rng.integers(0, 50)
    front = np.sin(2 * np.pi * (days / 4.3 + archive.seed * 0.37)) + 0.5 * np.sin(2 * np.pi * days / 2.1)
    season = -8 * np.cos(2 * np.pi * (day.timetuple().tm_yday - 15) / 365)
    sun = np.maximum(np.sin(np.pi * (minute / 60 - 6.5) / 11), 0)
    cloud = np.clip(0.4 + 0.4 * front + 0.15 * _noise(rng), 0, 1)
    solar = 850 * sun * (1 - 0.75 * cloud)
    temperature = 10 + season + 4 * sun * (1 - cloud) - 2 * front + 0.4 * station + 0.3 * _noise(rng)
    humidity = np.clip(70 - 20 * sun * (1 - cloud) + 12 * front + 3 * _noise(rng), 15, 100)
    pressure = 1008 - 9 * front - 1.5 * station + 0.1 * _noise(rng)
    wind = np.maximum(2.5 + 1.8 * front + 1.2 * sun + 0.8 * _noise(rng), 0)
    gust = wind * (1.3 + 0.3 * rng.random(MINUTES)) + 0.2
    direction = (250 + 70 * np.tanh(front) + 20 * _noise(rng)) % 360
    raining = (cloud > 0.75) & (_noise(rng) > 0.3)
    rain = np.where(raining, rng.gamma(0.6, 0.08, MINUTES), 0)
    total = np.cumsum(rain)
    strikes = np.where(raining & (rng.random(MINUTES) < 0.01), rng.integers(1, 4, MINUTES), 0)
    columns = [
        epoch, np.round(wind * 0.4, 2), np.round(wind, 2), np.round(gust, 2), np.round(direction).astype(int),
        np.full(MINUTES, 3), np.round(pressure, 2), np.round(temperature, 2), np.round(humidity, 2),
        np.round(solar * 120).astype(int), np.round(solar / 90, 2), np.round(solar).astype(int),
        np.round(rain, 6), raining.astype(int), np.where(strikes > 0, 12, 0), strikes,
        np.round(2.55 + 0.2 * sun, 3), np.ones(MINUTES, dtype=int), np.round(total, 6),
        np.round(rain * 1.05, 6), np.round(total * 1.05, 6), np.ones(MINUTES, dtype=int),
    ]  # fmt: skip
    return [list(report) for report in zip(*(column.tolist() for column in columns), strict=True)]


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit size: a random walk pulled back to zero."""
    steps = rng.normal(0, 1, MINUTES + 60)
    smooth = np.convolve(steps, np.ones(61) / 61, "valid") * np.sqrt(61)
    return np.asarray(smooth[:MINUTES])
