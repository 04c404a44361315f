"""The version store: replaced versions of raw days are stored below `_versions/`, listed, and put back.

Refined days are not stored: they follow from the raw file alone and are made again. A day's rejects are stored under
the name of their raw object, before it: once the raw version exists, both do. Only this module reads below
`_versions/`, so that readers, views and listings never see it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from weather_backfill.lake import layout, listing, ownership, parquet
from weather_backfill.lake.row_diff import previous_of
from weather_backfill.model.errors import ConfigurationError, VerificationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore, StoredObject

_SHA = 16
_NAME = re.compile(r"\d{8}T\d{6}(\.\d{6})?Z-[0-9a-f]{16}")
_PLACE = re.compile(rf"{layout.VERSIONS}/[^/]+/(?P<day>service=[^/]+/tenant=[^/]+/date=[^/]+)/[^/]+")
_RAW, _REJECTS = layout.RAW_OBSERVATIONS, layout.REJECTED_OBSERVATIONS


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a raw day, times in UTC; `replaced_at` is None for the current one."""

    name: str
    object_key: str
    size: int
    created_at: datetime
    replaced_at: datetime | None = None

    @property
    def sha(self) -> str:
        """The first 16 characters of the file's sha256."""
        return self.name.rsplit("-", 1)[-1]


def keep(store: ObjectStore, service: str, key: PartitionKey, data: bytes) -> str:
    """Store `data`, a day's current raw object, and its rejects as a version; returns the version's name.

    Call it before either is replaced, with no other writer of the day beside (`conditional.exclusive`). A kill in
    between leaves the day as it was. The rejects of a version that is stored already are not replaced by the next
    call, as the day's may be the new ones by then; the version itself is, so that it ages from now on.
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
    """List the versions of a day, the current one first, then the others from the last replaced to the first."""
    current = layout.day_key(_RAW, service, key)
    data = previous_of(store, current)
    created = store.head(current).last_modified if data is not None else None
    stored_versions = store.list(layout.versions_prefix(_RAW, service, key))
    versions = [
        Version(_name_of(stored), stored.key, stored.size, _created(_name_of(stored)), replaced)
        for stored, replaced in _replaced(stored_versions, created)
    ]
    if data is not None and created:
        versions.insert(0, Version(_name(created, data), current, len(data), created))
    return versions


def _replaced(
    objects: list[StoredObject], current_created: datetime | None = None
) -> list[tuple[StoredObject, datetime]]:
    """A day's stored versions, the last replaced first, each with the time at which it was replaced.

    Every version was the current one until the next was written, so the names alone give order and times. After a
    restore the store's own times are those of the restore: they are only an upper bound.
    """
    named = [stored for stored in objects if _NAME.fullmatch(_name_of(stored))]
    ordered = sorted(named, key=lambda o: (_created(_name_of(o)), o.last_modified, o.key))
    successors = [*(_created(_name_of(o)) for o in ordered[1:]), current_created]
    pairs = zip(ordered, successors, strict=True) if ordered else ()
    return [(o, min(o.last_modified, after) if after else o.last_modified) for o, after in pairs][::-1]


def _name_of(stored: StoredObject) -> str:
    return stored.key.rsplit("/", 1)[-1].removesuffix(".parquet")


def current_sha(store: ObjectStore, service: str, key: PartitionKey) -> str | None:
    """The `Version.sha` of a day's current raw object; None if there is none."""
    data = previous_of(store, layout.day_key(_RAW, service, key))
    return None if data is None else _digest(data)


def describe(store: ObjectStore, version: Version) -> dict[str, Any]:
    """Describe a version as a row: facts of its footer, and when it was written and replaced (UTC, ISO text)."""
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


def choose(versions: list[Version], name: str | None, day: str) -> Version:
    """Choose the version of this name, or without a name the previous one; raises `ConfigurationError` if none is."""
    names = ", ".join(v.name for v in versions) or "none"
    if name:
        for version in versions:
            if version.name == name:
                return version
        raise ConfigurationError(f"{day} has no version {name[:60]!r}: expected one of {names}.")
    current = next((v.sha for v in versions if v.replaced_at is None), None)
    for version in versions:
        if version.replaced_at is not None and version.sha != current:
            return version
    raise ConfigurationError(f"{day} has no earlier version to go back to (versions: {names}).")


def put_back(store: ObjectStore, service: str, key: PartitionKey, version: Version) -> bytes:
    """Make a version the current one, rejects first, and return its bytes; the replaced one is stored as a version.

    Safe to call again. Raises `VerificationError` if the bytes do not match the sha in the version's name, and
    `UnreadableObjectError` if they are of another tenant or day; both change nothing.
    """
    data = store.get(version.object_key)
    if _digest(data) != version.sha:
        raise VerificationError(
            f"{store.uri(version.object_key)} is damaged: its sha256 is {_digest(data)}…, expected {version.sha}…. "
            "Restore it from a backup, or choose another version."
        )
    if metadata := parquet.metadata_of(data):
        ownership.check_owner(parquet.footer_of(metadata), version.object_key)
    conditional.started_over(lambda: _put_back(store, service, key, version, data))
    return data


def _put_back(store: ObjectStore, service: str, key: PartitionKey, version: Version, data: bytes) -> None:
    current_key = layout.day_key(_RAW, service, key)
    with conditional.exclusive(store, current_key) as held:
        current = held.look()
        if current and current.data == data:
            return
        held.confirm()
        if current:
            keep(store, service, key, current.data)
        rejects = previous_of(store, _object(_REJECTS, service, key, version.name))
        if rejects is not None:
            store.put(layout.day_key(_REJECTS, service, key), rejects)
        else:
            store.delete(layout.day_key(_REJECTS, service, key))
        held.put(data, current)


def expired(store: ObjectStore, before: datetime) -> list[str]:
    """The keys of the stored versions, and of their rejects, that were replaced before a time."""
    days: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in listing.records(store, layout.VERSIONS):
        if place := _PLACE.fullmatch(stored.key):
            days[place["day"]].append(stored)
    return [key for objects in days.values() for key in _expired_of_day(objects, before)]


def delete_expired(store: ObjectStore, keys: list[str], before: datetime) -> None:
    """Delete of `keys`, which `expired` gave, those that still are; no writer replaces their day meanwhile.

    The current object's version stays: a write that was cut short has stored it, and the next one needs it.
    """
    days: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        if place := _PLACE.fullmatch(key):
            days[place["day"]].add(key)
    for day, chosen in sorted(days.items()):
        current_key = f"{_RAW}/{day}/{layout.FILE}"
        with conditional.exclusive(store, current_key) as held:
            listed = [
                o for dataset in (_RAW, _REJECTS) for o in listing.records(store, layout.VERSIONS, f"{dataset}/{day}")
            ]
            still = chosen.intersection(_expired_of_day(listed, before))
            current = f"{_stamp(store.head(current_key).last_modified)}-" if store.exists(current_key) else None
            held.confirm()
            store.delete(sorted(k for k in still if not (current and k.rsplit("/", 1)[-1].startswith(current))))


def _expired_of_day(objects: list[StoredObject], before: datetime) -> list[str]:
    raw = [stored for stored in objects if stored.key.split("/")[1] == _RAW]
    expired_names = {_name_of(stored) for stored, replaced in _replaced(raw) if replaced < before}
    # A version's rejects expire with it; rejects without a version, by their own time.
    raw_names = {_name_of(stored) for stored in raw}
    return [
        stored.key
        for stored in objects
        if _name_of(stored) in expired_names or (_name_of(stored) not in raw_names and stored.last_modified < before)
    ]


def _object(dataset: str, service: str, key: PartitionKey, name: str) -> str:
    return f"{layout.versions_prefix(dataset, service, key)}/{name}.parquet"


def _name(created: datetime, data: bytes) -> str:
    return f"{_stamp(created)}-{_digest(data)}"


def _stamp(created: datetime) -> str:
    return f"{created:%Y%m%dT%H%M%S.%fZ}"


def _created(name: str) -> datetime:
    stamp = name.rsplit("-", 1)[0]
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ" if "." in stamp else "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_SHA]
