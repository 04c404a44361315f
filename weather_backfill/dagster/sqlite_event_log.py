"""Keeps Dagster's SQLite event log open while a range is recorded, so that not every event waits for the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg

from weather_backfill.dagster.private import INDEX_SHARD_NAME, SqliteEventLogStorage


@contextmanager
def kept_open(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Keep Dagster's SQLite event log open in this context; any other event log storage is left alone.

    Dagster opens and closes the file for every event. Closing the last connection to a file copies its write-ahead
    log into it and waits for the disk, several times an event. One idle connection more, and none of Dagster's is
    the last: 550 days with five checks each took 56 s instead of 158. Committed events are as safe as before.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    paths = [storage.path_for_shard(shard) for shard in (run_id, INDEX_SHARD_NAME)]
    with _reader(paths[0]), _reader(paths[1]):
        yield


@contextmanager
def _reader(path: str) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # a file is not open until it is read
        yield
