"""Stores for one process (memory) and for one host (SQLite)."""

from __future__ import annotations

import copy
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from weather_backfill.http.shared_state.base import Change, Document, SharedStateError, T
from weather_backfill.util.files import make_folder, make_private


def default_path() -> Path:
    """`weather_limits.sqlite` in `DAGSTER_HOME`, else in the user's cache folder."""
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder.expanduser() / "weather_limits.sqlite"


class MemoryState:
    """Documents in this process's memory: for tests, and for tools that run once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._documents: dict[str, Document] = {}

    def change(self, scope: str, change: Change[T]) -> T:
        with self._lock:
            return change(self._documents.setdefault(scope, {}), self._clock())

    def read(self, scope: str) -> tuple[Document, float]:
        with self._lock:
            return copy.deepcopy(self._documents.get(scope, {})), self._clock()

    def scopes(self) -> list[str]:
        with self._lock:
            return list(self._documents)


class SqliteState:
    """Documents in one SQLite file (WAL) on a local disk; `BEGIN IMMEDIATE` is the lock.

    Not for network file systems: their locks are not to be trusted. Use Redis or Postgres across hosts.
    """

    BUSY_SECONDS = 30.0

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = Path(path), clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = -1

    def change(self, scope: str, change: Change[T]) -> T:
        with self._lock:
            return self._guard(lambda: self._change(scope, change))

    def read(self, scope: str) -> tuple[Document, float]:
        with self._lock:
            return self._guard(lambda: (_load(self._select(scope)), self._clock()))

    def scopes(self) -> list[str]:
        with self._lock:
            return self._guard(lambda: [row[0] for row in self._open().execute("SELECT scope FROM shared_state")])

    def _change(self, scope: str, change: Change[T]) -> T:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = self._select(scope)
            document = _load(before)
            result = change(document, self._clock())
            after = orjson.dumps(document)
            if after != before:
                connection.execute("INSERT OR REPLACE INTO shared_state VALUES (?, ?)", (scope, after))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return result

    def _select(self, scope: str) -> bytes | None:
        row = self._open().execute("SELECT document FROM shared_state WHERE scope = ?", (scope,)).fetchone()
        return row[0] if row else None

    def _open(self) -> sqlite3.Connection:
        # A connection must not cross a fork: the child would release the parent's locks.
        if self._connection is None or self._pid != os.getpid():
            make_folder(self._path.parent)
            make_private(self._path)  # its write-ahead log is made with the same mode
            connection = sqlite3.connect(
                self._path, timeout=self.BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS shared_state (scope TEXT PRIMARY KEY, document BLOB NOT NULL)"
            )
            self._connection, self._pid = connection, os.getpid()
        return self._connection

    def _guard(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (sqlite3.Error, OSError) as error:
            raise SharedStateError(
                f"the rate limiter's file {self._path} cannot be used: {error}. Expected a writable file on "
                "a local disk; set WEATHER_LIMITS_URL to another path, or to Redis or Postgres."
            ) from error


def _load(stored: bytes | None) -> Document:
    return orjson.loads(stored) if stored else {}
