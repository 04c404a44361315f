"""Inputs of the benchmarks, made once below build/bench and used again; seeded, so always the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from weather_backfill.lake import layout, parquet
from weather_backfill.model.days import Cadence
from weather_backfill.model.metrics import METRICS, Rule
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import FAIL, MISSING, RAW
from weather_backfill.refine.quality import flag
from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, weather, write_archive
from weather_backfill.sources.tempest.source import day_folder
from weather_backfill.storage.object_store import ObjectStore

DAY = date(2024, 1, 15)
SERVICE, TENANT = "tempest", "bench"
CADENCE = Cadence(60)
MINUTES = 1440
MINUTE_US = 60_000_000


def once(path: Path, make: Callable[[Path], None]) -> Path:
    """What `make` writes at the path; a half-written one is made again."""
    if not path.exists():
        unfinished = path.with_name(path.name + ".unfinished")
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        make(unfinished)
        unfinished.rename(path)
    return path


def one_message_archive(folder: Path, stations: int) -> Path:
    """A day of an archive with one object for each station and minute, one message in each."""

    def make(root: Path) -> None:
        archive = SimulatedArchive("bench", DAY, DAY, stations)
        for station, serial in enumerate(archive.station_ids):
            for minute, report in enumerate(weather(archive, 0, DAY, station)):
                hour = root / day_folder(DAY) / f"hour={minute // 60:02d}"
                hour.mkdir(parents=True, exist_ok=True)
                message = {"serial_number": serial, "type": "obs_st", "obs": [report[:18]], "firmware_revision": 176}
                (hour / f"{serial}-{minute % 60:02d}.json").write_bytes(orjson.dumps(message))

    return once(folder / f"archive-{stations}x{MINUTES}", make)


def raw_day(folder: Path, stations: int, points: int) -> Path:
    """A lake with one raw day of a value a minute for each point; up to a third are points we have a row for."""

    def make(root: Path) -> None:
        lineage = parquet.cadence_lineage(CADENCE)
        data = parquet.encode(_raw_table(stations, points), lineage).data
        ObjectStore(str(root)).put(layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, PartitionKey(DAY, TENANT)), data)

    return once(folder / f"raw-{stations}x{points}", make)


def raw_days(folder: Path, stations: int, points: int, days: int) -> Path:
    """A lake with that many raw days: the first as `raw_day` makes it, every other the same at its own time."""
    first = raw_day(folder, stations, points)

    def make(root: Path) -> None:
        store = ObjectStore(str(root))
        table = parquet.decode((first / layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, _key(0))).read_bytes())
        times = np.asarray(table["observed_at"].cast(pa.int64()))
        for number in range(days):
            shifted = pa.array(times + number * MINUTES * MINUTE_US).cast(RAW.field("observed_at").type)
            day = table.set_column(table.schema.get_field_index("observed_at"), RAW.field("observed_at"), shifted)
            data = parquet.encode(day, parquet.cadence_lineage(CADENCE)).data
            store.put(layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, _key(number)), data)

    return once(folder / f"raw-{stations}x{points}-{days}-days", make)


def _key(number: int) -> PartitionKey:
    return PartitionKey(DAY + timedelta(days=number), TENANT)


def _raw_table(stations: int, points: int) -> pa.Table:
    rng = np.random.default_rng(1)
    known = sorted(name for name, metric in METRICS.items() if metric.rule is Rule.MEAN)[: points // 3]
    metrics = sorted([*known, *(f"point_{n:03d}" for n in range(points - len(known)))])
    series = stations * points
    value = np.round(20 + np.cumsum(rng.normal(0, 0.1, (series, MINUTES)), axis=1), 2).ravel()
    start = int(np.datetime64(DAY, "us").astype("i8"))
    station = np.repeat(np.arange(stations, dtype="i4"), points * MINUTES)
    metric = np.tile(np.repeat(np.arange(points, dtype="i4"), MINUTES), stations)
    missing = rng.random(len(value)) < 0.005
    columns = [
        pa.array(np.tile(start + np.arange(MINUTES) * MINUTE_US, series)).cast(RAW.field("observed_at").type),
        pa.DictionaryArray.from_arrays(pa.array(station), pa.array([f"ST-{n:08d}" for n in range(stations)])),
        pa.DictionaryArray.from_arrays(pa.array(metric), pa.array(metrics)),
        pa.array(value, mask=missing),
        pa.array(np.ones(len(value), "i1")),
        pa.array(np.full(len(value), 60, "i4")),
        pa.array(np.full(len(value), 60, "i4")),  # from the stamp on, as the peers count them
    ]
    table = flag(pa.Table.from_arrays(columns, schema=RAW), CADENCE)
    # The plain aggregates of the peers know no flags: what failed is made missing, so that all keep the same values.
    quality = np.asarray(table["quality"])
    columns[3] = pa.array(value, mask=missing | (quality == FAIL))
    columns[4] = pa.array(np.where(quality == FAIL, MISSING, quality).astype("i1"))
    return pa.Table.from_arrays(columns, schema=RAW)


def range_archive(folder: Path, days: int, stations: int, minutes_per_object: int) -> Path:
    """An archive of some days with a few large objects a day, a little damaged as real ones are."""

    def make(root: Path) -> None:
        end = DAY + timedelta(days=days - 1)
        faults = Faults(garbage=0)
        archive = SimulatedArchive("bench", DAY, end, stations, minutes_per_object=minutes_per_object, faults=faults)
        write_archive(archive, ObjectStore(str(root)))

    return once(folder / f"archive-{days}-days-{stations}-stations", make)


def trivial_archive(folder: Path, days: int) -> Path:
    """An archive of one station that reports twice an hour, one object a day: next to no work."""

    def make(root: Path) -> None:
        faults = Faults(garbage=0, missing=0.98)
        end = DAY + timedelta(days=days - 1)
        write_archive(
            SimulatedArchive("bench", DAY, end, 1, minutes_per_object=MINUTES, faults=faults), ObjectStore(str(root))
        )

    return once(folder / f"archive-{days}-days-trivial", make)
