"""Replaced versions of raw days: kept below `_versions/`, listed, and put back.

Refined is not kept: it follows from the raw file alone and is made again. A day's rejects are kept with their raw
object under the same name, before it: once the raw version is there, both are. Nothing reads below `_versions/`
but this module, so that readers, views and listings never see it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from weather_backfill.lake import layout, parquet
from weather_backfill.lake.row_diff import previous_of
from weather_backfill.model.errors import ConfigurationError, VerificationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.storage.object_store import ObjectStore, StoredObject

_SHA = 16
_NAME = re.compile(r"\d{8}T\d{6}(\.\d{6})?Z-[0-9a-f]{16}")
_RAW, _REJECTS = layout.RAW_OBSERVATIONS, layout.REJECTED_OBSERVATIONS


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a raw day; `replaced_at` is None for the current one."""

    name: str
    object_key: str
    size: int
    created_at: datetime
    replaced_at: datetime | None = None

    @property
    def sha(self) -> str:
        """The first characters of the content's sha256."""
        return self.name.rsplit("-", 1)[-1]


def keep(store: ObjectStore, service: str, key: PartitionKey, data: bytes) -> str:
    """Keep `data`, the raw object that a day has now, with its rejects; returns the version's name.

    To be called before either is replaced. A kill in between leaves the day as it was, and the next call does
    not replace what is kept already, for by then the rejects may be the new ones.
    """
    created = store.head(layout.day_key(_RAW, service, key)).last_modified
    name = _name(created, data)
    target = _object(_RAW, service, key, name)
    if not store.exists(target):
        rejects = previous_of(store, layout.day_key(_REJECTS, service, key))
        if rejects is not None:
            store.put(_object(_REJECTS, service, key, name), rejects)
        store.put(target, data)
    return name


def versions_of(store: ObjectStore, service: str, key: PartitionKey) -> list[Version]:
    """The versions of a day, the current one first, then the one replaced last."""
    current = layout.day_key(_RAW, service, key)
    data = previous_of(store, current)
    created = store.head(current).last_modified if data is not None else None
    listed = store.list(layout.versions_prefix(_RAW, service, key))
    found = [
        Version(_name_of(stored), stored.key, stored.size, _created(_name_of(stored)), replaced)
        for stored, replaced in _replaced(listed, created)
    ]
    if data is not None and created:
        found.insert(0, Version(_name(created, data), current, len(data), created))
    return found


def _replaced(kept: list[StoredObject], now: datetime | None = None) -> list[tuple[StoredObject, datetime]]:
    """A day's kept objects, the one replaced last first, with when each was replaced.

    Every version was the current one until the next was written, so the names alone give order and times; `now` is when
    the current one was written. The store's own times are those of a restore, after one: they only bound the last.
    """
    ours = [stored for stored in kept if _NAME.fullmatch(_name_of(stored))]
    ordered = sorted(ours, key=lambda o: (_created(_name_of(o)), o.last_modified, o.key))
    nexts = [*(_created(_name_of(o)) for o in ordered[1:]), now]
    pairs = zip(ordered, nexts, strict=True) if ordered else ()
    return [(o, min(o.last_modified, after) if after else o.last_modified) for o, after in pairs][::-1]


def _name_of(stored: StoredObject) -> str:
    return stored.key.rsplit("/", 1)[-1].removesuffix(".parquet")


def current_sha(store: ObjectStore, service: str, key: PartitionKey) -> str | None:
    """The `Version.sha` of what a day holds now; None if it holds nothing."""
    data = previous_of(store, layout.day_key(_RAW, service, key))
    return None if data is None else _digest(data)


def describe(store: ObjectStore, version: Version) -> dict[str, Any]:
    """A version as a row: what the file itself says, and when it was written and replaced."""
    metadata = parquet.metadata_of(store.get(version.object_key))
    footer = parquet.footer_of(metadata) if metadata else {}
    return {
        "version": version.name,
        "current": version.replaced_at is None,
        "rows": metadata.num_rows if metadata else None,
        "bytes": version.size,
        "created_at": version.created_at.isoformat(),
        "replaced_at": version.replaced_at.isoformat() if version.replaced_at else None,
        "code_version": footer.get("code_version"),
    }


def choose(found: list[Version], wanted: str | None, day: str) -> Version:
    """The version of this name, or the one that was current before; raises `ConfigurationError` if there is none."""
    names = ", ".join(v.name for v in found) or "none"
    if wanted:
        for version in found:
            if version.name == wanted:
                return version
        raise ConfigurationError(f"{day} has no version {wanted[:60]!r}: expected one of {names}.")
    current = next((v.sha for v in found if v.replaced_at is None), None)
    for version in found:
        if version.replaced_at is not None and version.sha != current:
            return version
    raise ConfigurationError(f"{day} has no earlier version to go back to (versions: {names}).")


def put_back(store: ObjectStore, service: str, key: PartitionKey, version: Version) -> bytes:
    """Make a version the current one, rejects first; the replaced one is kept. Safe to call again.

    Raises `VerificationError`, and changes nothing, if the version's bytes are not what its name says.
    """
    data = store.get(version.object_key)
    if _digest(data) != version.sha:
        raise VerificationError(f"{store.uri(version.object_key)} is damaged: its sha256 is {_digest(data)}….")
    current = layout.day_key(_RAW, service, key)
    now = previous_of(store, current)
    if now == data:
        return data
    if now is not None:
        keep(store, service, key, now)
    rejects = previous_of(store, _object(_REJECTS, service, key, version.name))
    if rejects is not None:
        store.put(layout.day_key(_REJECTS, service, key), rejects)
    else:
        store.delete(layout.day_key(_REJECTS, service, key))
    store.put(current, data)
    return data


def expired(store: ObjectStore, before: datetime) -> list[str]:
    """The objects of versions that were replaced before a time."""
    days: dict[str, dict[str, list[StoredObject]]] = defaultdict(lambda: defaultdict(list))
    for stored in store.list(layout.VERSIONS):
        _, dataset, day = stored.key.rsplit("/", 1)[0].split("/", 2)
        days[day][dataset].append(stored)
    found: list[str] = []
    for datasets in days.values():
        gone = {_name_of(stored) for stored, replaced in _replaced(datasets[_RAW]) if replaced < before}
        # The rejects of a version go with it; those whose version is not there, by their own time.
        here = {_name_of(stored) for stored in datasets[_RAW]}
        for stored in (stored for objects in datasets.values() for stored in objects):
            name = _name_of(stored)
            if name in gone or (name not in here and stored.last_modified < before):
                found.append(stored.key)
    return found


def _object(dataset: str, service: str, key: PartitionKey, name: str) -> str:
    return f"{layout.versions_prefix(dataset, service, key)}/{name}.parquet"


def _name(created: datetime, data: bytes) -> str:
    return f"{created:%Y%m%dT%H%M%S.%fZ}-{_digest(data)}"


def _created(name: str) -> datetime:
    stamp = name.rsplit("-", 1)[0]
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ" if "." in stamp else "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_SHA]
