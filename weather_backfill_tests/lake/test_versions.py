"""Replaced versions of a raw day: kept once, never for equal bytes, put back whole."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from weather_backfill.lake import layout, versions
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.errors import ConfigurationError, VerificationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import REJECTS
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill_tests.refine.test_windows import raw_table

KEY = PartitionKey(date(2024, 1, 1), "acme")
OBJECT = layout.day_key(layout.RAW_OBSERVATIONS, "dwd", KEY)
REJECTED = layout.day_key(layout.REJECTED_OBSERVATIONS, "dwd", KEY)


def day(value: float, rejects: int = 0) -> DayTable:
    rows = [{"reason": f"r{n}", "source_object": "o", "raw_text": "t"} for n in range(rejects)]
    table = pa.Table.from_pylist(rows, schema=REJECTS)
    return DayTable(KEY, raw_table([(0, "ST-1", "air_temperature", value, 1)]), rejects=table)


def write(store: ObjectStore, value: float, rejects: int = 0) -> bytes:
    write_day(store, "dwd", layout.RAW_OBSERVATIONS, day(value, rejects))
    return store.get(OBJECT)


def kept_objects(store: ObjectStore) -> list[str]:
    return [stored.key for stored in store.list(layout.VERSIONS)]


def test_equal_bytes_keep_nothing_and_other_bytes_keep_the_old(store: ObjectStore) -> None:
    first = write(store, 1.0, rejects=2)
    old_rejects = store.get(REJECTED)
    assert write(store, 1.0, rejects=2) == first
    assert kept_objects(store) == []
    second = write(store, 2.0)
    assert [store.get(key) for key in kept_objects(store)] == [first, old_rejects]
    current, previous = versions.versions_of(store, "dwd", KEY)
    assert (store.get(current.object_key), store.get(previous.object_key)) == (second, first)
    versions.put_back(store, "dwd", KEY, previous)
    assert (store.get(OBJECT), store.get(REJECTED)) == (first, old_rejects)
    undo = versions.choose(versions.versions_of(store, "dwd", KEY), None, "day")
    versions.put_back(store, "dwd", KEY, undo)
    assert store.get(OBJECT) == second
    assert not store.exists(REJECTED)
    assert [o.key for o in store.list(layout.RAW_OBSERVATIONS)] == [OBJECT], "a dataset holds its days and no more"


class Counting(ObjectStore):
    calls: list[str]

    def _call(self, verb: str, key: str, action: Any) -> Any:
        self.calls.append(verb)
        return super()._call(verb, key, action)


def test_the_first_write_of_a_day_asks_nothing_more(tmp_path) -> None:
    store = Counting(str(tmp_path))
    store.calls = []
    write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(KEY, day(1.0).table))
    assert store.calls == ["read", "write", "look at"]


class Killed(BaseException):
    pass


class Dying(ObjectStore):
    """A store whose process is killed just before its nth write."""

    left: int

    def put(self, key: str, data: bytes) -> StoredObject:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().put(key, data)


@pytest.mark.parametrize("writes", range(4))
def test_killed_at_any_write_the_day_is_whole_and_the_next_try_keeps_the_pair(tmp_path, writes: int) -> None:
    store = ObjectStore(str(tmp_path))
    first = write(store, 1.0, rejects=2)
    old_rejects = store.get(REJECTED)
    dying = Dying(str(tmp_path))
    dying.left = writes
    with pytest.raises(Killed):
        write(dying, 2.0, rejects=1)
    assert store.get(OBJECT) == first
    second = write(store, 2.0, rejects=1)
    [current, previous] = versions.versions_of(store, "dwd", KEY)
    assert store.get(current.object_key) == second
    dying.left = writes
    with pytest.raises(Killed):
        versions.put_back(dying, "dwd", KEY, previous)
    assert store.get(OBJECT) == second
    versions.put_back(store, "dwd", KEY, previous)
    assert (store.get(OBJECT), store.get(REJECTED)) == (first, old_rejects)


def test_a_damaged_version_changes_nothing_and_unknown_ones_are_refused(store: ObjectStore) -> None:
    write(store, 1.0)
    second = write(store, 2.0)
    found = versions.versions_of(store, "dwd", KEY)
    with pytest.raises(ConfigurationError, match="no version '20'"):
        versions.choose(found, "20", "day")
    with pytest.raises(ConfigurationError, match="no earlier version"):
        versions.choose(found[:1], None, "day")
    store.put(found[1].object_key, b"damage")
    with pytest.raises(VerificationError, match="damaged"):
        versions.put_back(store, "dwd", KEY, found[1])
    assert store.get(OBJECT) == second
    now = datetime.now(UTC)
    assert versions.expired(store, now - timedelta(days=1)) == []
    assert versions.expired(store, now + timedelta(days=1)) == [found[1].object_key]


def test_a_restore_in_any_order_keeps_the_order_of_versions_and_when_they_were_replaced(tmp_path) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    for value in (1.0, 2.0, 3.0, 4.0):
        write(store, value, rejects=1)
    before = versions.versions_of(store, "dwd", KEY)
    restored = ObjectStore(str(tmp_path / "restored"))
    between = datetime.now(UTC)
    for stored in store.list()[::-1]:  # as threads may bring them; the store's times are those of now
        restored.put(stored.key, store.get(stored.key))
    after = versions.versions_of(restored, "dwd", KEY)
    assert [v.name for v in after[1:]] == [v.name for v in before[1:]]
    assert versions.choose(after, None, "day").name == versions.choose(before, None, "day").name
    gone = versions.expired(restored, between)
    replaced = [v.name for v in after[2:]]  # the last one's replacement was written anew
    assert sorted({key.rsplit("/", 1)[1] for key in gone}) == sorted(f"{name}.parquet" for name in replaced)
    assert len(gone) == 2 * len(replaced), "rejects go with their version"


def test_names_of_versions_without_fractions_and_foreign_ones(tmp_path) -> None:
    store = ObjectStore(str(tmp_path))
    write(store, 1.0)
    folder = layout.versions_prefix(layout.RAW_OBSERVATIONS, "dwd", KEY)
    store.put(f"{folder}/20240102T030405Z-0123456789abcdef.parquet", b"old")
    store.put(f"{folder}/notes.parquet", b"not ours")
    assert [v.name for v in versions.versions_of(store, "dwd", KEY)][1:] == ["20240102T030405Z-0123456789abcdef"]
