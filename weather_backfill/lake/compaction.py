"""Small JSON objects that are old, many in one: what a record says stays, only its object goes.

    _archive/<kind>/YYYY-MM/<hash of what is in it>.jsonl     one line an object: its key, its time, what it said

A line is written before its object is deleted, and an archive is replaced by one that holds all of it, so that a
reader who looks at the objects first and here second never misses any, wherever a process was killed. Objects and
lines of one key may be there at once: the object counts, else the line of the latest time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from weather_backfill.lake import layout
from weather_backfill.model.errors import NotFoundError, StorageUnavailableError, UnreadableObjectError, WeatherError
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One archived object; `modified` is the time of the object, UTC as ISO text."""

    key: str
    modified: str
    body: Any


def months(store: ObjectStore, kind: str) -> list[str]:
    """The months that have archives, `YYYY-MM`, latest first."""
    try:
        found = store.folders(layout.archive_prefix(kind))
    except NotFoundError:
        return []
    return sorted((month for month in found if month != layout.NOTHING), reverse=True)


def read(store: ObjectStore, kind: str, month: str = "") -> dict[str, Line]:
    """The archived objects by key, of one month or all; a damaged archive is passed over and said."""
    found: list[Line] = []
    for key, data in _archives(store, kind, month):
        try:
            found += _lines(store, key, data)
        except UnreadableObjectError as error:  # old records of others must not stop what is wanted now
            _log.error("passed over: %s", error)
    return latest(found)


def _archives(store: ObjectStore, kind: str, month: str) -> list[tuple[str, bytes | WeatherError]]:
    for _ in range(_TRIES):  # an archive may be replaced by a larger one while we read
        found = list(store.read_many([o.key for o in store.list(layout.archive_prefix(kind, month))]))
        if not any(isinstance(data, NotFoundError) for _, data in found):
            return found
    raise StorageUnavailableError(f"{store.uri(layout.archive_prefix(kind, month))} changes all the time: try again.")


def latest(lines: Iterable[Line]) -> dict[str, Line]:
    """The latest line of each key."""
    found: dict[str, Line] = {}
    for line in lines:
        if line.key not in found or found[line.key].modified <= line.modified:
            found[line.key] = line
    return found


def compact(
    store: ObjectStore, kind: str, month: str, objects: list[StoredObject], still: Callable[[str], bool]
) -> None:
    """Archive objects in a month's one archive and delete them, except those that have changed meanwhile.

    `still(key)` is asked once more just before an object goes. Objects that are no JSON stay where they are.
    Raises `UnreadableObjectError`, and changes nothing, where the month's archive is damaged.
    """
    prefix = layout.archive_prefix(kind, month)
    parts = [stored.key for stored in store.list(prefix)]
    kept = latest(line for key, data in _archives(store, kind, month) for line in _lines(store, key, data))
    found = store.each(lambda stored: _line(store, stored), objects)  # many small objects: not one after another
    taken = {line.key: line for line in found if line is not None}
    if not taken and len(parts) < 2:
        return
    lines = latest([*kept.values(), *taken.values()])
    data = "".join(json.dumps(asdict(lines[key]), sort_keys=True) + "\n" for key in sorted(lines)).encode()
    target = f"{prefix}/{hashlib.sha256(data).hexdigest()[:16]}.jsonl"
    store.put(target, data)
    store.delete([key for key in parts if key != target])
    store.delete([o.key for o in objects if o.key in taken and _unchanged(store, o) and still(o.key)])


def _unchanged(store: ObjectStore, stored: StoredObject) -> bool:
    try:
        now = store.head(stored.key)
    except NotFoundError:
        return False
    return (now.etag, now.size) == (stored.etag, stored.size)


def _line(store: ObjectStore, stored: StoredObject) -> Line | None:
    try:
        with json_documents.reading("this is no JSON", "it stays."):
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
