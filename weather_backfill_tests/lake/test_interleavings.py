"""Two writers and a housekeeper on one day, in hundreds of orders: no row and no version is lost in any."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from weather_backfill.lake import layout, parquet, row_diff, versions
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.errors import ConfigurationError, LostRowsError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import REJECTS
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill_tests.refine.test_windows import raw_table
from weather_backfill_tests.turns import Stepping, Turns, no_waits

__all__ = ["no_waits"]

KEY = PartitionKey(date(2024, 1, 1), "acme")
OBJECT = layout.day_key(layout.RAW_OBSERVATIONS, "dwd", KEY)
REJECTED = layout.day_key(layout.REJECTED_OBSERVATIONS, "dwd", KEY)
FULL, PART = 40, 10
REAL_S3 = "WEATHER_TEST_S3_ENDPOINT" in os.environ
EXAMPLES = {"local": 300, "s3": 300 if REAL_S3 else 10}


def table_of(number: int, rows: int) -> pa.Table:
    """A day whose values say which write it is of."""
    return raw_table([(second, "ST-1", "air_temperature", float(number), 1) for second in range(rows)])


TABLES = {(number, rows): table_of(number, rows) for number in range(1, 9) for rows in (FULL, PART)}
REJECT_TABLES = {
    number: pa.Table.from_pylist([{"reason": f"r{number}", "source_object": "o", "raw_text": "t"}], schema=REJECTS)
    for number in range(1, 9)
}


def number_of(data: bytes) -> int:
    return int(parquet.decode(data)["value"][0].as_py())


_writing = threading.local()
LEAST_KEPT = {"whole": row_diff.KEPT_SHARE, "partial": row_diff.KEPT_SHARE, "incomplete": 1.0}
"""The share of the rows that each kind of write has to keep; the others may lose any."""

INCOMPLETE = {"incomplete": "a station is missing"}


class Race:
    """One order of one set of writes; what every replacement of the day was, and what had to be kept."""

    def __init__(self, open_store: Callable[[type[ObjectStore]], ObjectStore], seed: int, kill_share: float) -> None:
        self.turns = Turns(seed, kill_share)
        self.plain = open_store(ObjectStore)
        self.store = open_store(Stepping)
        self.rejects: dict[int, bool] = {}
        self.current: bytes = b""
        self.replaced: list[bytes] = []
        self.before = datetime.now(UTC) - timedelta(days=30)

    def day(self, number: int, rows: int) -> DayTable:
        self.rejects[number] = self.turns.random.random() < 0.5
        rejects = REJECT_TABLES[number] if self.rejects[number] else REJECTS.empty_table()
        return DayTable(KEY, TABLES[number, rows], rejects=rejects)

    def prepare(self) -> None:
        """A day with an old version that has long expired; on disk also the trace of a writer that was killed."""
        write_day(self.plain, "dwd", layout.RAW_OBSERVATIONS, self.day(1, FULL))
        self.current = self.plain.get(OBJECT)
        folder = layout.versions_prefix(layout.RAW_OBSERVATIONS, "dwd", KEY)
        for stamp in ("20200101T000000Z", "20200201T000000Z"):
            self.plain.put(f"{folder}/{stamp}-0123456789abcdef.parquet", b"old")
        if self.plain.folder and self.turns.random.random() < 0.5:
            name = versions.keep(self.plain, "dwd", KEY, self.current)
            long_ago = time.time() - 40 * 86400
            os.utime(self.plain.folder / folder / f"{name}.parquet", (long_ago, long_ago))
        self.store.written = self._written  # type: ignore[attr-defined]

    def _written(self, key: str) -> None:
        """Every replacement of the day, as it happens: nobody else has the turn."""
        if key != OBJECT:
            return
        new = self.plain.get(OBJECT)
        if new != self.current:
            before, after = parquet.decode(self.current).num_rows, parquet.decode(new).num_rows
            assert after >= _writing.least_kept * before, f"{after} rows replaced {before}"
            self.replaced.append(self.current)
        self.current = new

    def writer(self, numbers: list[int]) -> None:
        """Whole days, partial ones, accepted losses, rollbacks."""
        for number in numbers:
            kind = self.turns.random.choice(["whole", "partial", "incomplete", "accepted", "rollback"])
            _writing.least_kept = LEAST_KEPT.get(kind, 0.0)
            try:
                if kind == "rollback":
                    found = [v for v in versions.versions_of(self.store, "dwd", KEY) if v.created_at.year > 2020]
                    versions.put_back(self.store, "dwd", KEY, versions.choose(found, None, "the day"))
                else:
                    day = self.day(number, FULL if kind == "whole" else PART)
                    day = replace(day, accept_loss=kind == "accepted", incomplete=INCOMPLETE.get(kind))
                    write_day(self.store, "dwd", layout.RAW_OBSERVATIONS, day)
            except (LostRowsError, ConfigurationError):
                continue  # the guard held, or there is no version to go back to

    def housekeeper(self) -> None:
        for _ in range(2):
            keys = versions.expired(self.store, self.before)
            versions.delete_expired(self.store, keys, self.before)

    def check(self) -> None:
        """Nothing that was replaced is gone; a version's rejects are its own."""
        assert self.plain.get(OBJECT) == self.current
        kept = {v.name: self.plain.get(v.object_key) for v in versions.versions_of(self.plain, "dwd", KEY)[1:]}
        for data in self.replaced:
            assert data in kept.values(), f"write {number_of(data)} was replaced and not kept"
        if self.turns.killed:
            return  # between a day's rejects and its observations: the next write puts it right
        pairs = {OBJECT: (self.current, REJECTED)}
        folder = layout.versions_prefix(layout.REJECTED_OBSERVATIONS, "dwd", KEY)
        pairs |= {n: (data, f"{folder}/{n}.parquet") for n, data in kept.items() if data != b"old"}
        for name, (data, rejects_key) in pairs.items():
            number = number_of(data)
            found = self.plain.look(rejects_key)
            reason = parquet.decode(found.data)["reason"][0].as_py() if found else None
            assert reason == (f"r{number}" if self.rejects[number] else None), f"{name} has another's rejects"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.radosgw)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[str, type[ObjectStore]], Any]]:
    """Where the races are, and how a store of some class is opened there."""
    if request.param == "local":
        return request.param, lambda name, kind: kind(str(tmp_path / name))
    bucket, options = request.getfixturevalue("bucket"), S3Options(endpoint_url=request.getfixturevalue("s3_endpoint"))
    return request.param, lambda name, kind: kind(f"s3://{bucket}/{name}", options)


def run(race: Race) -> int:
    """Run a race and check it; how often the day was replaced."""
    race.prepare()
    writers = {"a": partial(race.writer, [2, 3]), "b": partial(race.writer, [4, 5])}
    race.turns.run({**writers, "housekeeper": race.housekeeper})
    race.check()
    return len(race.replaced)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("no_waits")
def test_no_order_of_writers_and_housekeeper_loses_anything(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    where, open_store = place
    monkeypatch.setattr(os, "fsync", lambda file: None)  # of order, not of power cuts
    replaced = 0
    for seed in range(EXAMPLES[where]):
        try:
            replaced += run(Race(partial(open_store, str(seed)), seed, kill_share=0.1 if where == "local" else 0.0))
        except AssertionError as error:
            raise AssertionError(f"in the order of seed {seed}: {error}") from error
    assert replaced > EXAMPLES[where], "the writers must have met"
