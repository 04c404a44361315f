"""Compaction of old JSON records into monthly JSON Lines archives; contents are kept, the single objects deleted.

    _archive/<kind>/YYYY-MM/<hash of the contents>.jsonl     one line per object: its key, its time, its JSON

A line is written before its object is deleted, and an archive is replaced by one with all of its lines, so that a
reader who reads the objects first and the archives second never misses any, wherever a process was killed. An object
and a line of one key may exist at once: the object counts, else the latest line.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from weather_backfill.lake import layout, listing
from weather_backfill.model.errors import NotFoundError, StorageUnavailableError, UnreadableObjectError, WeatherError
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
_TRIES = 5
_MONTH = re.compile(r"\d{4}-\d{2}")


@dataclass(frozen=True, slots=True)
class Line:
    """One archived object: its key, its last modification (UTC, ISO text) and its JSON."""

    key: str
    modified: str
    body: Any


def months(store: ObjectStore, kind: str) -> list[str]:
    """The months that have archives, `YYYY-MM`, latest first."""
    try:
        folders = store.folders(layout.archive_prefix(kind))
    except NotFoundError:
        return []
    return sorted((month for month in folders if _MONTH.fullmatch(month)), reverse=True)


def read(store: ObjectStore, kind: str, month: str = "") -> dict[str, Line]:
    """Read the archived objects by key, of one month or all; a damaged archive is logged and skipped."""
    lines: list[Line] = []
    for key, data in _archives(store, kind, month):
        try:
            lines += _lines(store, key, data)
        except UnreadableObjectError as error:  # a damaged archive must not hide the others
            _log.error("skipped: %s", error)
    return latest(lines)


def _archives(store: ObjectStore, kind: str, month: str) -> list[tuple[str, bytes | WeatherError]]:
    for _ in range(_TRIES):  # an archive may be replaced by a larger one while we read
        archives = list(store.read_many([o.key for o in _listed(store, kind, month)]))
        if not any(isinstance(data, NotFoundError) for _, data in archives):
            return archives
    raise StorageUnavailableError(
        f"{store.uri(layout.archive_prefix(kind, month))} changed during each of {_TRIES} reads: try again."
    )


def _listed(store: ObjectStore, kind: str, month: str) -> list[StoredObject]:
    below = layout.archive_prefix(kind, month).removeprefix(f"{layout.ARCHIVE}/")
    return listing.records(store, layout.ARCHIVE, below)


def latest(lines: Iterable[Line]) -> dict[str, Line]:
    """The latest line of each key."""
    by_key: dict[str, Line] = {}
    for line in lines:
        if line.key not in by_key or by_key[line.key].modified <= line.modified:
            by_key[line.key] = line
    return by_key


def compact(
    store: ObjectStore,
    kind: str,
    month: str,
    objects: list[StoredObject],
    still: Callable[[str], bool] | None = None,
) -> None:
    """Move objects into a month's one archive; those that changed meanwhile are not deleted.

    `still(key)` is asked once more before an object is deleted, with no other writer of it beside: False keeps it.
    Without it the objects are of a kind that is written once. Objects that are not JSON stay where they are. Raises
    `UnreadableObjectError`, and changes nothing, where the month's archive is damaged.
    """
    prefix = layout.archive_prefix(kind, month)
    archives = [stored.key for stored in _listed(store, kind, month)]
    archived = latest(line for key, data in _archives(store, kind, month) for line in _lines(store, key, data))
    read_lines = store.each(lambda stored: _line(store, stored), objects)  # many small objects: concurrently
    new = {line.key: line for line in read_lines if line is not None}
    if not new and len(archives) < 2:
        return
    lines = latest([*archived.values(), *new.values()])
    data = "".join(json.dumps(asdict(lines[key]), sort_keys=True) + "\n" for key in sorted(lines)).encode()
    target = f"{prefix}/{hashlib.sha256(data).hexdigest()[:16]}.jsonl"
    store.put(target, data)
    store.delete([key for key in archives if key != target])
    settled = [o for o in objects if o.key in new]
    if still is None:
        store.delete([o.key for o in settled if conditional.unchanged(store, o)])
    else:
        for stored in settled:
            conditional.delete_if(store, stored, partial(still, stored.key))


def _line(store: ObjectStore, stored: StoredObject) -> Line | None:
    try:
        with json_documents.reading("this is not JSON", "it is not archived."):
            return Line(stored.key, stored.last_modified.isoformat(), json_documents.parsed(store.get(stored.key)))
    except (NotFoundError, UnreadableObjectError):
        return None


def _lines(store: ObjectStore, key: str, data: bytes | WeatherError) -> list[Line]:
    if isinstance(data, WeatherError):
        raise data
    with json_documents.reading(f"{store.uri(key)} is not an archive", "restore it from a backup, or move it away."):
        lines = [Line(**json_documents.parsed(line)) for line in data.splitlines()]
        if not all(isinstance(line.key, str) and isinstance(line.modified, str) for line in lines):
            raise ValueError("a line has no key or no time")
        return lines
