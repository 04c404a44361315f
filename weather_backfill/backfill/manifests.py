"""Manifests of managed backfills, the markers of open and held ones, and the summaries of those that have ended."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from weather_backfill.backfill.launch import native_id
from weather_backfill.backfill.plan import BackfillPlan
from weather_backfill.lake import compaction, layout, listing
from weather_backfill.model.errors import ConflictError, NotFoundError, UnreadableObjectError, WeatherError
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)

_MARKER_FOR = timedelta(days=1)
"""A marker that is older and names no manifest is deleted."""


class ManifestState(StrEnum):
    """The state that a manifest asks for; how far the work is, `status.BackfillState` says."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELED = "canceled"
    STOPPED = "stopped"  # its connection is gone or switched off; switched on again, the missing days are launched anew


@dataclass(frozen=True, slots=True)
class Manifest:
    """A managed backfill as it was requested; each of `parts` is launched as one native backfill. Days are UTC."""

    backfill_id: str
    plan: BackfillPlan
    parts: list[list[date]]
    requested_by: str
    created_at: datetime
    state: ManifestState = ManifestState.ACTIVE
    labels: Mapping[str, str] = field(default_factory=dict)
    stored_at: datetime | None = None  # by the storage's clock, as the times of objects are
    put_off: frozenset[date] = frozenset()  # deferred: days of parts that a person has cancelled one by one
    installation: str | None = None  # the instance that it was asked of; null in records of earlier releases
    read_as: str | None = field(default=None, compare=False, repr=False)
    """Digest of the object that it was read from; None: from none, for it is new, or was read from the archive."""

    @property
    def held(self) -> bool:
        """True if a person has deferred all of it, or some of its days."""
        return self.state in (ManifestState.PAUSED, ManifestState.CANCELED) or bool(self.put_off)

    def part_name(self, number: int) -> str:
        """The name of a part's native backfill; `native_of` finds it."""
        return self.backfill_id if number == 0 else f"{self.backfill_id}.{number + 1}"

    def part_id(self, number: int) -> str:
        """The id under which a part's native backfill is launched."""
        return native_id(self.part_name(number))

    def ids_of(self, number: int) -> set[str]:
        """The ids that a part's native backfill may have: releases up to v0.1.0 did not shorten long names."""
        return {self.part_id(number), self.part_name(number)}

    def to_json(self) -> bytes:
        """Encode as the manifest object."""
        document = {
            "backfill_id": self.backfill_id,
            "requested_by": self.requested_by,
            "created_at": self.created_at.isoformat(),
            "stored_at": self.stored_at.isoformat() if self.stored_at else None,
            "state": self.state,
            "labels": dict(self.labels),
            "parts": [[str(day) for day in part] for part in self.parts],
            **({"put_off": sorted(map(str, self.put_off))} if self.put_off else {}),
            "installation": self.installation,
            "plan": self.plan.to_json(),
        }
        return json.dumps(document, indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Decode a manifest object; raises `UnreadableObjectError` if it is none."""
        with json_documents.reading("this is no manifest of a backfill", "restore it, or move it out of the lake."):
            return replace(cls.of(json_documents.parsed(data)), read_as=_digest(data))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Manifest:
        """Build a manifest from its parsed JSON document; raises `UnreadableObjectError` if it is none."""
        with json_documents.reading("this is no manifest of a backfill", "restore it, or move it out of the lake."):
            created, stored_at = json_documents.moment(document["created_at"]), document.get("stored_at")
            return cls(
                document["backfill_id"],
                BackfillPlan.from_json(document["plan"]),
                [[date.fromisoformat(day) for day in part] for part in document["parts"]],
                document["requested_by"],
                created,
                ManifestState(document["state"]),
                dict(document["labels"]),
                datetime.fromisoformat(stored_at) if stored_at else None,
                frozenset(date.fromisoformat(day) for day in document.get("put_off", ())),
                document.get("installation"),
            )


def save_manifest(store: ObjectStore, manifest: Manifest, *, reopen: bool = True) -> Manifest:
    """Write a manifest if its object is still the one it was read from, and mark it open until it has ended.

    Returns the manifest as it now is in the store. Raises `ConflictError`, and writes no manifest, if somebody has
    changed, written or archived it since. Without `reopen` a backfill that has ended is not marked again: its end is
    reported once. The markers are written first: after a kill in between they name no manifest, or one in another
    state, and readers skip both. Housekeeping archives none meanwhile.
    """
    key, data = layout.manifest_key(manifest.backfill_id), manifest.to_json()
    with conditional.exclusive(store, key) as held:
        seen = held.look()
        if (_digest(seen.data) if seen else None) != manifest.read_as:
            raise ConflictError(
                f"{store.uri(key)} was changed by another process. See what became of it, and say it again."
            )
        if reopen:
            mark_open(store, manifest.backfill_id)
        if manifest.held:
            store.put(layout.held_key(manifest.backfill_id), b"held")
        held.put(data, seen)
        if not manifest.held:
            store.delete(layout.held_key(manifest.backfill_id))
    return replace(manifest, read_as=_digest(data))


def update_manifest(
    store: ObjectStore, backfill_id: str, change: Callable[[Manifest], Manifest], *, reopen: bool = True
) -> Manifest:
    """Read a manifest (archived or not), change it and save it; whoever loses to another writer reads it again.

    `change` may be called several times; a manifest that it returns as it is is not written. Raises what `change`
    raises, `NotFoundError` where there is no manifest, and the last `ConflictError` of several.
    """

    def attempt() -> Manifest:
        manifest = find_manifest(store, backfill_id)
        if manifest is None:
            raise NotFoundError(
                f"backfill {backfill_id!r} has no manifest: see `weather-backfill log` for those there."
            )
        changed = change(manifest)
        return manifest if changed == manifest else save_manifest(store, changed, reopen=reopen)

    return conditional.started_over(attempt)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def create_manifest(store: ObjectStore, manifest: Manifest) -> bool:
    """Write a manifest unless its id has one; returns whether it was written. Of several writers one wins."""
    manifest = replace(manifest, stored_at=mark_open(store, manifest.backfill_id).last_modified)
    return store.create(layout.manifest_key(manifest.backfill_id), manifest.to_json())


def load_manifest(store: ObjectStore, backfill_id: str) -> Manifest | None:
    """Read the manifest of an id from its object: one request, for archived ones are not searched.

    None for backfills that were launched elsewhere, under whatever id. Raises `UnreadableObjectError` with the
    object's address for a damaged one.
    """
    if not layout.BACKFILL_ID.fullmatch(backfill_id):
        return None
    key = layout.manifest_key(backfill_id)
    try:
        return Manifest.from_json(store.get(key))
    except NotFoundError:
        return None
    except UnreadableObjectError as error:
        raise UnreadableObjectError(f"{store.uri(key)}: {error}") from error


def find_manifest(store: ObjectStore, backfill_id: str) -> Manifest | None:
    """Read the manifest of an id, archived or not; None and errors as `load_manifest`."""
    manifest = load_manifest(store, backfill_id)
    if manifest is None and layout.BACKFILL_ID.fullmatch(backfill_id):
        line = compaction.read(store, layout.BACKFILLS).get(layout.manifest_key(backfill_id))
        return Manifest.of(line.body) if line else None
    return manifest


def decided(store: ObjectStore, manifest: Manifest) -> Manifest | None:
    """The stored manifest, if its state or its deferred days have changed since `manifest` was read; else None."""
    now = load_manifest(store, manifest.backfill_id)
    return now if now and (now.state, now.put_off) != (manifest.state, manifest.put_off) else None


def mark_open(store: ObjectStore, backfill_id: str) -> StoredObject:
    """Write the "open" marker of a backfill: it has not ended."""
    return store.put(layout.open_key(backfill_id), b"open")


def close(store: ObjectStore, backfill_id: str) -> None:
    """Remove the "open" marker of a finished backfill."""
    store.delete(layout.open_key(backfill_id))


def open_manifests(store: ObjectStore) -> list[Manifest]:
    """Read the manifests of backfills that have not ended, oldest first: one listing and those objects.

    A lake from before there were markers gets them at the first call, so that no open backfill is forgotten.
    """
    if not store.exists(f"{layout.OPEN}/{layout.MARKED}"):
        for manifest in live_manifests(store):
            with suppress(ConflictError):  # who has just written it has marked it
                save_manifest(store, manifest)
        store.put(f"{layout.OPEN}/{layout.MARKED}", b"")
    return _marked(store, layout.OPEN)


def held_manifests(store: ObjectStore) -> list[Manifest]:
    """Read the manifests of backfills that a person has paused or cancelled in whole or in part, oldest first."""
    return [manifest for manifest in _marked(store, layout.HELD) if manifest.held]


def _marked(store: ObjectStore, prefix: str) -> list[Manifest]:
    """The manifests that markers name; where one's object is not there, as it was archived."""
    markers = {o.key.rsplit("/", 1)[-1]: o for o in listing.records(store, prefix)}
    names = {layout.manifest_key(name): name for name in markers if name != layout.MARKED}
    marked = _load(store, list(names))
    unread = names.keys() - {layout.manifest_key(m.backfill_id) for m in marked}
    if absent := [key for key in unread if not store.exists(key)]:
        lines = compaction.read(store, layout.BACKFILLS)
        marked += [Manifest.of(lines[key].body) for key in absent if key in lines]
        of_nothing = [markers[names[key]] for key in absent if key not in lines]
        # Of a process that was killed between marker and manifest; each costs a look into the archives.
        store.delete([o.key for o in of_nothing if datetime.now(UTC) - o.last_modified > _MARKER_FOR])
    return sorted(marked, key=lambda manifest: manifest.created_at)


def manifests(store: ObjectStore) -> list[Manifest]:
    """Read all manifests, archived ones included, oldest first; damaged ones are logged and skipped."""
    live = live_manifests(store)
    live_keys = {layout.manifest_key(manifest.backfill_id) for manifest in live}
    lines = compaction.read(store, layout.BACKFILLS).items()
    for key, line in lines:
        if _is_manifest(key) and key not in live_keys:
            try:
                live.append(Manifest.of(line.body))
            except WeatherError as error:  # as in `_load`
                _log.error("%s in the archive is passed over: %s", key, error)
    return sorted(live, key=lambda manifest: manifest.created_at)


def live_manifests(store: ObjectStore) -> list[Manifest]:
    """Read the manifests that are not archived, oldest first."""
    return _load(store, [stored.key for stored in listing.records(store, layout.BACKFILLS) if _is_manifest(stored.key)])


def _is_manifest(key: str) -> bool:
    return key.endswith("/manifest.json")


def ended_summaries(store: ObjectStore) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Read the summaries of ended managed backfills by id, archived ones included; and the ids of those without one.

    Raises `UnreadableObjectError` for a damaged summary.
    """
    unended = {manifest.backfill_id for manifest in open_manifests(store)}
    names = {o.key.split("/")[1] for o in listing.records(store, layout.BACKFILLS) if o.key.endswith("/manifest.json")}
    lines = compaction.read(store, layout.BACKFILLS).items()
    summaries = {str(line.body["backfill_id"]): dict(line.body) for key, line in lines if key.endswith("/summary.json")}
    for key, data in store.read_many([layout.summary_key(name) for name in sorted(names - unended)]):
        if isinstance(data, bytes):
            with json_documents.reading(f"{store.uri(key)} is not a summary", "delete it, and it is written anew."):
                summary = json_documents.parsed(data)
                summaries[summary["backfill_id"]] = summary
    return summaries, sorted(names - summaries.keys())


def _load(store: ObjectStore, keys: list[str]) -> list[Manifest]:
    loaded = []
    for key, data in store.read_many(keys):
        try:
            if isinstance(data, bytes):
                loaded.append(Manifest.from_json(data))
        except WeatherError as error:  # one damaged object must not hold up everybody
            _log.error("%s is passed over: %s", store.uri(key), error)
    return sorted(loaded, key=lambda manifest: manifest.created_at)
