"""Small documents that all processes of a service's runs share: what limiter and breaker remember.

A store does one thing: run a function on a scope's document under a lock, and keep what the function left.
The algorithms are plain functions over dictionaries (`limits.py`, `breaker.py`), so they are the same on
SQLite (the default: one file, all processes of one host), Postgres and Redis (any number of hosts), and can
be tested without any of them. Limiter libraries were weighed: none shares a `Retry-After` or counts a request
until its answer came, and both are needed here.

The store also tells the time, because hosts disagree about it: Postgres and Redis answer with their own
clock, SQLite with this host's. All times are seconds since the epoch, UTC.
"""

from __future__ import annotations

import copy
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import orjson

from weather_backfill.errors import ConfigurationError, RetryableError

T = TypeVar("T")
Document = dict[str, Any]
Change = Callable[[Document, float], T]
"""Takes the scope's document and the time now, may change the document, returns anything. It may run
twice.
"""


class SharedStateError(RetryableError):
    """The store of limiter and breaker did not answer; nothing was asked of the upstream."""


class SharedState(Protocol):
    """A store of documents by scope, one writer at a time."""

    def change(self, scope: str, change: Change[T]) -> T:
        """Run `change` on the scope's document (empty at first) under a lock, and keep its changes."""
        ...

    def read(self, scope: str) -> tuple[Document, float]:
        """The scope's document (empty if there is none) and the time now, without a lock."""
        ...

    def scopes(self) -> list[str]:
        """The scopes that have a document."""
        ...


def open_state(url: str | None = None) -> SharedState:
    """The store behind a URL: `redis://`, `rediss://`, `postgresql://`, `memory://`, a path, or `None`.

    `None` is one SQLite file that every process of this host finds by itself. Raises `ConfigurationError` if
    the URL's kind is not known or its client library is not installed.
    """
    if url is None:
        return SqliteState(default_path())
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == "memory":
        return MemoryState()
    if scheme in ("", "file"):
        return SqliteState(Path(urlsplit(url).path if scheme else url).expanduser())
    if scheme in ("redis", "rediss"):
        from weather_backfill.sources.shared_servers import RedisState

        return RedisState(url)
    if scheme in ("postgres", "postgresql"):
        from weather_backfill.sources.shared_servers import PostgresState

        return PostgresState(url)
    raise ConfigurationError(
        f"limits URL of kind {scheme!r} is not known: expected a file path, redis://host/0 or "
        "postgresql://host/database."
    )


def default_path() -> Path:
    """`weather_limits.sqlite` in `DAGSTER_HOME`, else in the user's cache folder."""
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder.expanduser() / "weather_limits.sqlite"


class MemoryState:
    """Documents of this process alone: for tests, and for tools that run once."""

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
            self._path.parent.mkdir(parents=True, exist_ok=True)
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
