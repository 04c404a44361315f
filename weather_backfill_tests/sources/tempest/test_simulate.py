"""The simulator: the same bytes for the same seed, and the faults it promises."""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest

from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
from weather_backfill.sources.tempest.source import day_folder
from weather_backfill.storage.object_store import ObjectStore

START = date(2024, 1, 1)
QUIET = Faults(0, 0, 0, 0)


def simulate(folder: Path, days: int = 1, seed: int = 1, faults: Faults = QUIET, stations: int = 1) -> dict[str, bytes]:
    store = ObjectStore(str(folder))
    archive = SimulatedArchive("acme", START, START + timedelta(days=days - 1), stations, seed, 60, faults)
    steps: list[int] = []
    count = write_archive(archive, store, steps.append)
    objects = {stored.key: store.get(stored.key) for stored in store.list() if not stored.key.startswith("_")}
    assert count == len(objects) == sum(steps)
    assert len(steps) == days
    return objects


def lines(objects: dict[str, bytes]) -> list[bytes]:
    return [line for key in sorted(objects) for line in gzip.decompress(objects[key]).split(b"\n")]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    first = simulate(tmp_path / "1", days=2, faults=Faults())
    assert simulate(tmp_path / "2", days=2, faults=Faults()) == first
    assert lines(simulate(tmp_path / "3", days=2, faults=Faults(), seed=2)) != lines(first)


def test_a_quiet_archive_has_every_minute_once(tmp_path: Path) -> None:
    messages = [orjson.loads(line) for line in lines(simulate(tmp_path))]
    seconds = [message["obs"][0][0] for message in messages]
    assert len(set(seconds)) == len(messages) == 1440
    assert min(seconds) >= 1704067200
    assert max(seconds) < 1704067200 + 86400
    assert all(len(message["obs"][0]) == 18 for message in messages)
    assert not any(value is None for message in messages for value in message["obs"][0])


@pytest.mark.parametrize(
    ("faults", "lowest", "highest"),
    [
        (Faults(missing=0.1, nulls=0, duplicates=0, garbage=0), 1230, 1360),
        (Faults(missing=0, nulls=0, duplicates=0.1, garbage=0), 1520, 1650),
    ],
)
def test_gaps_and_duplicates_are_there_in_their_share(
    tmp_path: Path, faults: Faults, lowest: int, highest: int
) -> None:
    found = lines(simulate(tmp_path, faults=faults))
    assert lowest < len(found) < highest
    if faults.duplicates:
        assert len(set(found)) == 1440
    else:
        assert len(set(found)) == len(found)


def test_nulls_and_garbage_are_there_in_their_share(tmp_path: Path) -> None:
    found = lines(simulate(tmp_path, faults=Faults(missing=0, nulls=0.1, duplicates=0, garbage=0.05)))
    whole, broken = [], 0
    for line in found:
        try:
            whole.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            broken += 1
    assert len(whole) == 1440
    assert 30 < broken < 120
    values = [value for message in whole for value in message["obs"][0][1:]]
    assert 0.08 < sum(value is None for value in values) / len(values) < 0.12
    assert all(message["obs"][0][0] is not None for message in whole), "a report always has its time"


def test_a_corrupt_day_has_one_object_that_cannot_be_unpacked(tmp_path: Path) -> None:
    objects = simulate(tmp_path, days=3, faults=Faults(corrupt_day=1))
    damaged = []
    for key, data in objects.items():
        try:
            gzip.decompress(data)
        except EOFError:
            damaged.append(key)
    assert damaged == [f"{day_folder(START + timedelta(days=1))}/hour=12/cut-off.json.gz"]


def test_a_silent_station_sends_nothing_on_its_day_only(tmp_path: Path) -> None:
    archive = SimulatedArchive("acme", START, START, 2, 1)
    objects = simulate(tmp_path, days=2, stations=2, faults=Faults(silent_station=1, silent_day=1))
    silent = archive.station_ids[1]
    days = {key.split("/hour=")[0] for key in objects if silent in key}
    assert days == {day_folder(START)}
    assert len({key.split("/hour=")[0] for key in objects}) == 2


def test_other_arguments_do_not_change_a_stations_weather(tmp_path: Path) -> None:
    """A fault that is switched on must not change the values of the others: the runs stay comparable."""
    quiet = {orjson.loads(line)["obs"][0][0]: line for line in lines(simulate(tmp_path / "1"))}
    gaps = lines(simulate(tmp_path / "2", faults=Faults(missing=0.3, nulls=0, duplicates=0, garbage=0)))
    assert all(quiet[orjson.loads(line)["obs"][0][0]] == line for line in gaps)
