"""The shared state of rate limits and circuit breakers: small documents that all processes of all runs share.

A store does one thing: run a function on a scope's document under a lock, and store the changed document.
The algorithms are plain functions over dictionaries (`rate_limit.py`, `circuit_breaker.py`), so they are the same on
SQLite (the default: one file, all processes of one host), Postgres and Redis (any number of hosts), and can
be tested without any of them. Limiter libraries were weighed: none shares a `Retry-After` or counts a request
until its answer came, and both are needed here.

The store also tells the time, because hosts disagree about it: Postgres and Redis answer with their own
clock, SQLite with this host's. All times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from weather_backfill.http.shared_state.base import Change, Document, SharedState, SharedStateError
from weather_backfill.http.shared_state.local import MemoryState, SqliteState, default_path
from weather_backfill.model.errors import ConfigurationError

__all__ = [
    "Change",
    "Document",
    "MemoryState",
    "SharedState",
    "SharedStateError",
    "SqliteState",
    "default_path",
    "open_state",
]


def open_state(url: str | None = None) -> SharedState:
    """Open the store of a URL: `redis://`, `rediss://`, `postgresql://`, `memory://`, a path, or `None`.

    `None` is the SQLite file at `default_path`, the same for every process of this host. Raises `ConfigurationError`
    if the URL's scheme is unknown or its client library is not installed.
    """
    if url is None:
        return SqliteState(default_path())
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == "memory":
        return MemoryState()
    if scheme in ("", "file"):
        return SqliteState(Path(urlsplit(url).path if scheme else url).expanduser())
    if scheme in ("redis", "rediss"):
        from weather_backfill.http.shared_state.servers import RedisState

        return RedisState(url)
    if scheme in ("postgres", "postgresql"):
        from weather_backfill.http.shared_state.servers import PostgresState

        return PostgresState(url)
    raise ConfigurationError(
        f"limits URL of kind {scheme!r} is not known: expected a file path, redis://host/0 or "
        "postgresql://host/database."
    )
