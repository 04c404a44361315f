"""Conditional writes, and one writer at a time.

`put_if` replaces an object only if it is still the one that was read; `exclusive` keeps other writers away while
several objects that belong together are read, compared and written. Every `put` within it is conditional too: a
process that was cut off, and believes that it still has the lock, replaces nothing that changed.

* In a local folder the lock is a file below `_locks/`, locked by the kernel (flock): it ends with its process.
* On S3 it is an object below `_locks/<key>/` with a name of its own, its owner's. Who finds no other one there, after
  writing his own, has the lock. An object counts for `LEASE_SECONDS` by the store's clock, that of his own object, so
  the lock of a killed process ends by itself, and nobody can take away another one's by mistake.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from weather_backfill.model.errors import (
    ConflictError,
    MissingFeatureError,
    NotFoundError,
    StorageUnavailableError,
    WeatherError,
)
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.objects import LOCKS, Seen, StoredObject
from weather_backfill.util.files import GROUP_READS, make_folder

_log = logging.getLogger(__name__)
LEASE_SECONDS = 120.0
"""The time for which a lock on S3 counts; its owner renews it after a third."""
WAIT_SECONDS = 300.0
"""Longest wait for a lock: more than a killed process's takes to end."""
TRIES = 10
"""How often a writer that lost to another one reads again before it gives up."""
_SLACK_SECONDS = 2.0  # a store's times may be whole seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5
_pause = time.sleep

T = TypeVar("T")


class Lock(Protocol):
    """A lock that was tried for; `confirm` raises `ConflictError` where it may have ended."""

    def taken(self) -> bool:
        """Try once to take it."""
        ...

    def confirm(self) -> None:
        """Raise `ConflictError` if others may have it by now; renews it where that is in time."""
        ...

    def release(self) -> None:
        """Let others have it. Safe to call at any time."""
        ...


class Exclusive:
    """The right to write an object, and what belongs to it, that other processes do not have meanwhile."""

    def __init__(self, store: ObjectStore, key: str, lock: Lock) -> None:
        self._store, self._key, self._lock = store, key, lock

    def look(self) -> Seen | None:
        """Read the object; None if there is none."""
        return self._store.look(self._key)

    def confirm(self) -> None:
        """Raise `ConflictError` unless the right still holds: call it before objects beside the own one are written."""
        self._lock.confirm()

    def put(self, data: bytes, seen: Seen | None) -> StoredObject:
        """Write the object if it is still the one `seen`; raises `ConflictError` and writes nothing if it is not."""
        self._lock.confirm()
        return _put(self._store, self._key, data, seen.etag if seen else None)


@contextmanager
def exclusive(store: ObjectStore, key: str) -> Iterator[Exclusive]:
    """Keep other writers of an object away; not to be nested.

    Raises `StorageUnavailableError` where another process has it for longer than `WAIT_SECONDS`, and
    `MissingFeatureError` where the file system knows no locks.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:2]
    with _held(store, key, name, f"writing {store.uri(key)}", WAIT_SECONDS) as held:
        yield held


@contextmanager
def reserved(store: ObjectStore, what: str, wait_seconds: float) -> Iterator[Callable[[], None]]:
    """Keep others away from `what` (a name, no object) while it is looked at and acted on; objects are written within.

    Yields a function that raises `ConflictError` where the reservation may have ended: call it before each act. Never
    to be taken within `exclusive`. Raises as `exclusive`, after `wait_seconds`.
    """
    with _held(store, what, what, f"{what} in {store.url}", wait_seconds) as held:
        yield held.confirm


@contextmanager
def _held(store: ObjectStore, key: str, file: str, doing: str, wait_seconds: float) -> Iterator[Exclusive]:
    lock: Lock = _FileLock(store.folder, file) if store.folder else _Lease(store, key)
    deadline, pause = time.monotonic() + wait_seconds, _FIRST_PAUSE
    try:
        while not lock.taken():
            if time.monotonic() > deadline:
                raise StorageUnavailableError(
                    f"another process has been {doing} for {wait_seconds:.0f} s. Worth another try; "
                    "if it stays, look for a process that hangs."
                )
            _pause(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the tries, guards nothing
            pause = min(2 * pause, _LONGEST_PAUSE)
        yield Exclusive(store, key, lock)
    finally:
        lock.release()


def put_if(store: ObjectStore, key: str, data: bytes, etag: str | None) -> StoredObject:
    """Write an object only if its ETag is still this one (None: only if there is no object).

    Raises `ConflictError`, and writes nothing, if another process was faster.
    """
    with exclusive(store, key) as held:
        held.confirm()
        return _put(store, key, data, etag)


def delete_if(store: ObjectStore, stored: StoredObject, may: Callable[[], bool] = lambda: True) -> bool:
    """Delete an object only if it is still as listed, and `may()` says so; returns whether it was deleted."""
    with exclusive(store, stored.key) as held:
        if not unchanged(store, stored) or not may():
            return False
        held.confirm()
        store.delete(stored.key)
        return True


def unchanged(store: ObjectStore, stored: StoredObject) -> bool:
    """Return whether an object is still as it was listed: ETag, size and time (by the second, as some stores tell)."""
    try:
        now = store.head(stored.key)
    except NotFoundError:
        return False
    times = (now.last_modified.replace(microsecond=0), stored.last_modified.replace(microsecond=0))
    return (now.etag, now.size) == (stored.etag, stored.size) and times[0] == times[1]


def started_over(attempt: Callable[[], T]) -> T:
    """Call `attempt`, again from the start where it lost to another writer; raises the last `ConflictError`."""
    for _ in range(TRIES - 1):
        with suppress(ConflictError):
            return attempt()
        _pause(random.uniform(0, _LONGEST_PAUSE / 10))  # noqa: S311 - as above
    return attempt()


def _put(store: ObjectStore, key: str, data: bytes, etag: str | None) -> StoredObject:
    """Write under a condition: the store's own where it has one, else compared while the lock is held."""
    changed = ConflictError(f"{store.uri(key)} is no longer the object that was read: read it again.")
    own_condition = store.folder is not None or store.abilities.create_only
    if etag is None and own_condition:
        if not store.create(key, data):
            raise changed
        return store.verified(key, len(data))
    if etag is not None and store.folder is None and store.abilities.if_match:
        return store.put(key, data, if_match=etag)
    try:
        now = store.head(key).etag
    except NotFoundError:
        now = None
    if now != etag:
        raise changed
    return store.put(key, data)


class _FileLock:
    """A lock file of the kernel: one of 256 for all keys, or a reservation's; never deleted, so that all lock one."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / LOCKS / f"{name}.lock"
        self._file: int | None = None

    def taken(self) -> bool:
        try:
            if self._file is None:
                make_folder(self._path.parent)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, GROUP_READS)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise MissingFeatureError(
                    f"could not lock {self._path}: {error}. The file system knows no file locks (flock): keep the "
                    "lake where they work, or on S3."
                ) from error
            raise StorageUnavailableError(f"could not lock {self._path}: {error}. Check the folder's owner.") from error
        return True

    def confirm(self) -> None:
        assert self._file is not None  # the kernel keeps it as long as this process lives

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Lease:
    """A lock object on S3 for a limited time."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._folder = store, f"{LOCKS}/{key}"
        self._mine = f"{self._folder}/{uuid.uuid4().hex}"
        self._owner = json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode()
        self._since: float | None = None

    def taken(self) -> bool:
        others = self._announce()
        if others and min(others) < self._mine:
            self.release()  # of those who wait, the first by name stays
        return not others

    def _announce(self) -> list[str]:
        """Write or renew the own object; returns the others that count."""
        since = time.monotonic()
        self._since = since  # from here on there may be an object to delete
        self._store.put(self._mine, self._owner)
        listed = self._store.list(self._folder)
        now = next((stored.last_modified for stored in listed if stored.key == self._mine), None)
        if now is None:
            raise StorageUnavailableError(
                f"{self._store.uri(self._mine)} was written and is not listed: expected a store whose listings are "
                "consistent. Worth another try; if it stays, use such a store."
            )
        others = {stored.key: (now - stored.last_modified).total_seconds() for stored in listed}
        del others[self._mine]
        dead = [key for key, age in others.items() if age > LEASE_SECONDS + _SLACK_SECONDS]
        if dead:
            _log.warning("%s: the lock of a process that has ended is taken over", self._store.uri(self._folder))
            self._store.delete(dead)
        return [key for key in others if key not in dead]

    def confirm(self) -> None:
        assert self._since is not None
        age = time.monotonic() - self._since
        if age > LEASE_SECONDS / 3 and (age > LEASE_SECONDS * 2 / 3 or self._announce()):
            raise ConflictError(
                f"{self._store.uri(self._folder)}: this process was held up for {age:.0f} s and lost its lock. "
                "Nothing more was written; read again."
            )

    def release(self) -> None:
        if self._since is not None:
            self._since = None
            with suppress(NotFoundError):
                try:
                    self._store.delete(self._mine)
                except WeatherError as error:  # what was to be done is done: the lock ends by itself
                    _log.warning("%s ends in %.0f s: %s", self._store.uri(self._mine), LEASE_SECONDS, error)
