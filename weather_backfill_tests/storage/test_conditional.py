"""Conditional writes and locks: one winner, no lost update, and no lock that outlives its process."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from weather_backfill.model.errors import ConflictError, StorageUnavailableError
from weather_backfill.storage import conditional
from weather_backfill.storage.conditional import delete_if, exclusive, put_if, started_over
from weather_backfill.storage.object_store import LOCKS, ObjectStore


def test_an_object_is_replaced_only_by_who_has_seen_it(store: ObjectStore) -> None:
    with pytest.raises(ConflictError, match="no longer the object that was read"):
        put_if(store, "a", b"0", '"an etag of something"')
    first = put_if(store, "a", b"1", None)
    with pytest.raises(ConflictError):
        put_if(store, "a", b"2", None)
    second = put_if(store, "a", b"3", first.etag)
    with pytest.raises(ConflictError) as caught:
        put_if(store, "a", b"4", first.etag)
    assert caught.value.retryable
    seen = store.look("a")
    assert seen is not None
    assert (seen.data, seen.etag) == (b"3", second.etag)
    assert store.look("b") is None
    assert [o.key for o in store.list() if not o.key.startswith(LOCKS) or not store.folder] == ["a"], "no lock is left"


def test_no_two_versions_of_an_object_share_an_etag(tmp_path: Path) -> None:
    """The kernel's clock for files stands still for milliseconds, and inodes are used again."""
    store = ObjectStore(str(tmp_path))
    assert len({store.put("a", b"%03d" % number).etag for number in range(100)}) == 100


def test_an_object_is_deleted_only_as_it_was_listed(store: ObjectStore) -> None:
    store.put("f/a", b"one")
    [listed] = store.list("f")
    store.put("f/a", b"two")
    assert not delete_if(store, listed)
    [listed] = store.list("f")
    assert not delete_if(store, listed, lambda: False)
    assert store.get("f/a") == b"two"
    assert delete_if(store, listed)
    assert not delete_if(store, listed)
    assert not store.exists("f/a")


@pytest.mark.parametrize("locked", [True, False])
def test_of_many_who_add_at_once_nobody_is_lost(store: ObjectStore, locked: bool, monkeypatch) -> None:
    monkeypatch.setattr(conditional, "TRIES", 200)
    store.put("sum", b"0")

    def add(_: int) -> None:
        def attempt() -> None:
            if locked:
                with exclusive(store, "sum") as held:
                    seen = held.look()
                    assert seen is not None
                    held.put(b"%d" % (int(seen.data) + 1), seen)
            else:
                seen = store.look("sum")
                assert seen is not None
                put_if(store, "sum", b"%d" % (int(seen.data) + 1), seen.etag)

        started_over(attempt)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(20)))
    assert store.get("sum") == b"20"


KILLED = """
import os, sys
from weather_backfill.storage.conditional import exclusive
from weather_backfill.storage.object_store import ObjectStore
with exclusive(ObjectStore(sys.argv[1]), "a"):
    os.write(1, b"locked")
    os.kill(os.getpid(), 9)
"""


def test_the_lock_of_a_killed_process_ends_with_it(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, check=False)
    assert (died.returncode, died.stdout) == (-9, b"locked")
    with exclusive(ObjectStore(str(tmp_path)), "a") as held:
        held.put(b"1", None)


@pytest.fixture
def s3_store(s3_endpoint: str, bucket: str) -> ObjectStore:
    from weather_backfill.storage.object_store import S3Options

    return ObjectStore(f"s3://{bucket}/some/prefix", S3Options(endpoint_url=s3_endpoint))


def test_on_s3_the_lock_of_a_killed_process_holds_for_its_lease_and_no_longer(
    s3_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_store.put(f"{LOCKS}/a/0123", b"left by a process that was killed")
    monkeypatch.setattr(conditional, "WAIT_SECONDS", 0.0)
    with pytest.raises(StorageUnavailableError, match="another process has been writing"), exclusive(s3_store, "a"):
        pass
    assert [o.key for o in s3_store.list(LOCKS)] == [f"{LOCKS}/a/0123"], "who gives up leaves nothing"
    monkeypatch.setattr(conditional, "LEASE_SECONDS", -10.0)  # every other lock has ended ten seconds ago
    with exclusive(s3_store, "a"):
        assert f"{LOCKS}/a/0123" not in [o.key for o in s3_store.list(LOCKS)]
    assert s3_store.list(LOCKS) == []


@pytest.mark.parametrize("held_up", [conditional.LEASE_SECONDS * 0.9, conditional.LEASE_SECONDS * 9])
def test_on_s3_a_process_that_was_cut_off_writes_nothing_more(
    s3_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, held_up: float
) -> None:
    before = s3_store.put("a", b"before")
    with exclusive(s3_store, "a") as held:
        seen = held.look()
        assert seen is not None
        assert seen.etag == before.etag
        started = time.monotonic()
        monkeypatch.setattr(conditional.time, "monotonic", lambda: started + held_up)
        for write in (lambda: held.put(b"late", seen), held.confirm):
            with pytest.raises(ConflictError, match="lost its lock"):
                write()
    assert s3_store.get("a") == b"before"


def test_on_s3_a_slow_writer_renews_its_lock(s3_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with exclusive(s3_store, "a") as held:
        started = time.monotonic()
        monkeypatch.setattr(conditional.time, "monotonic", lambda: started + conditional.LEASE_SECONDS / 2)
        held.put(b"slow", None)
        s3_store.put(f"{LOCKS}/a/another", b"took it while we were away")
        monkeypatch.setattr(conditional.time, "monotonic", lambda: started + conditional.LEASE_SECONDS)
        with pytest.raises(ConflictError):
            held.confirm()
    assert s3_store.get("a") == b"slow"


def test_who_believes_to_have_the_lock_replaces_nothing_that_changed(store: ObjectStore) -> None:
    """As a process of an earlier release, which knows no locks, may write meanwhile."""
    store.put("a", b"before")
    with exclusive(store, "a") as held:
        seen = held.look()
        store.put("a", b"by another")
        with pytest.raises(ConflictError):
            held.put(b"mine", seen)
    with exclusive(store, "b") as held:
        store.put("b", b"by another")
        with pytest.raises(ConflictError):
            held.put(b"mine", None)
    assert (store.get("a"), store.get("b")) == (b"by another", b"by another")
