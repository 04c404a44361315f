"""The shared state of rate limits and circuit breakers: small documents that all processes of all runs share.

A store does one thing: run a function on a scope's document, and store the changed document if no other process has
changed it meanwhile. No process that stops or dies keeps others waiting: a folder and Redis hold no lock, and Postgres
ends the transaction of one that is silent.
The algorithms are plain functions over dictionaries (`rate_limit.py`, `circuit_breaker.py`), so they are the same on
a folder (the default: all processes of one host), Postgres and Redis (any number of hosts), and can
be tested without any of them. Limiter libraries were weighed: none shares a `Retry-After` or counts a request
until its answer came, and both are needed here.

The store also tells the time, because hosts disagree about it: Postgres and Redis answer with their own
clock, a folder with this host's. All times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from weather_backfill.http.shared_state.base import Change, Document, SharedState, SharedStateError
from weather_backfill.http.shared_state.local import FolderState, MemoryState, default_path
from weather_backfill.model.errors import ConfigurationError

__all__ = [
    "Change",
    "Document",
    "FolderState",
    "MemoryState",
    "SharedState",
    "SharedStateError",
    "default_path",
    "open_state",
]


def open_state(url: str | None = None) -> SharedState:
    """Open the store of a URL: `redis://`, `rediss://`, `postgresql://`, `memory://`, a path, or `None`.

    `None` is the folder at `default_path`, the same for every process of this host. Raises `ConfigurationError`
    if the URL's scheme is unknown or its client library is not installed.
    """
    if url is None:
        return FolderState(default_path())
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == "memory":
        return MemoryState()
    if scheme in ("", "file"):
        return FolderState(Path(urlsplit(url).path if scheme else url).expanduser())
    if scheme in ("redis", "rediss"):
        from weather_backfill.http.shared_state.servers import RedisState

        return RedisState(url)
    if scheme in ("postgres", "postgresql"):
        from weather_backfill.http.shared_state.servers import PostgresState

        return PostgresState(url)
    raise ConfigurationError(
        f"limits URL of kind {scheme!r} is not known: expected a folder, redis://host/0 or postgresql://host/database."
    )
