"""What is written down of a backfill: its manifest, its summary, and the append-only audit."""

from __future__ import annotations

import getpass
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from weather_backfill.backfill.launch import native_id
from weather_backfill.backfill.plan import Plan
from weather_backfill.errors import ConfigurationError, NotFoundError, WeatherError
from weather_backfill.lake import layout
from weather_backfill.lake.storage import ObjectStore

ACTIVE, PAUSED, CANCELED = "active", "paused", "canceled"
_MARKED = ".marked"  # no backfill's id starts with a dot
STOPPED = "stopped"  # its connection is gone or switched off; switched on again, the missing days are launched anew


@dataclass(frozen=True, slots=True)
class Manifest:
    """A managed backfill as it was asked for; `parts` are the native backfills it is made of."""

    backfill_id: str
    plan: Plan
    parts: list[list[date]]
    requested_by: str
    created_at: datetime
    state: str = ACTIVE
    labels: Mapping[str, str] = field(default_factory=dict)

    def part_id(self, number: int) -> str:
        """The id of a part's native backfill."""
        return native_id(self.backfill_id if number == 0 else f"{self.backfill_id}.{number + 1}")

    def to_json(self) -> bytes:
        """As the manifest object."""
        document = {
            "backfill_id": self.backfill_id,
            "requested_by": self.requested_by,
            "created_at": self.created_at.isoformat(),
            "state": self.state,
            "labels": dict(self.labels),
            "parts": [[str(day) for day in part] for part in self.parts],
            "plan": self.plan.to_json(),
        }
        return json.dumps(document, indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """From the manifest object."""
        document = json.loads(data)
        return cls(
            document["backfill_id"],
            Plan.from_json(document["plan"]),
            [[date.fromisoformat(day) for day in part] for part in document["parts"]],
            document["requested_by"],
            datetime.fromisoformat(document["created_at"]),
            document["state"],
            document["labels"],
        )


def save_manifest(store: ObjectStore, manifest: Manifest) -> None:
    """Write a manifest, replacing the one of the same id; it is open until its summary says the end.

    The markers go first: killed in between, they name no manifest or one that is in no such state, which readers
    pass over.
    """
    mark_open(store, manifest.backfill_id)
    held = manifest.state in (PAUSED, CANCELED)
    if held:
        store.put(layout.held_key(manifest.backfill_id), b"held")
    store.put(layout.manifest_key(manifest.backfill_id), manifest.to_json())
    if not held:
        store.delete(layout.held_key(manifest.backfill_id))


def create_manifest(store: ObjectStore, manifest: Manifest) -> bool:
    """Write a manifest unless its id has one; whether it was written. Of several at once, one wins."""
    mark_open(store, manifest.backfill_id)
    return store.create(layout.manifest_key(manifest.backfill_id), manifest.to_json())


def load_manifest(store: ObjectStore, backfill_id: str) -> Manifest | None:
    """The manifest of an id; None for backfills that were launched elsewhere, under whatever id."""
    if not layout.BACKFILL_ID.fullmatch(backfill_id):
        return None
    try:
        return Manifest.from_json(store.get(layout.manifest_key(backfill_id)))
    except NotFoundError:
        return None


def mark_open(store: ObjectStore, backfill_id: str) -> None:
    """Say that a backfill has not ended."""
    store.put(layout.open_key(backfill_id), b"open")


def close(store: ObjectStore, backfill_id: str) -> None:
    """Take the marker of a backfill away that has ended."""
    store.delete(layout.open_key(backfill_id))


def open_manifests(store: ObjectStore) -> list[Manifest]:
    """The manifests of backfills that have not ended, oldest first: one listing and those objects, for any history.

    A lake from before there were markers gets them at the first call, so that nothing that is open is forgotten.
    """
    if not store.exists(f"{layout.OPEN}/{_MARKED}"):
        for manifest in manifests(store):
            save_manifest(store, manifest)
        store.put(f"{layout.OPEN}/{_MARKED}", b"")
    return _marked(store, layout.OPEN)


def held_manifests(store: ObjectStore) -> list[Manifest]:
    """The manifests of backfills that a person has paused or cancelled, oldest first."""
    return [manifest for manifest in _marked(store, layout.HELD) if manifest.state in (PAUSED, CANCELED)]


def _marked(store: ObjectStore, prefix: str) -> list[Manifest]:
    names = [o.key.rsplit("/", 1)[-1] for o in store.list(prefix)]
    return _load(store, [layout.manifest_key(name) for name in names if name != _MARKED])


def manifests(store: ObjectStore) -> list[Manifest]:
    """All manifests, oldest first."""
    return _load(store, [o.key for o in store.list(layout.BACKFILLS) if o.key.endswith("/manifest.json")])


def ended_summaries(store: ObjectStore) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The summaries of managed backfills that have ended, by id, and the ids of those that have not (or have none)."""
    unended = {manifest.backfill_id for manifest in open_manifests(store)}
    names = {o.key.split("/")[1] for o in store.list(layout.BACKFILLS) if o.key.endswith("/manifest.json")}
    found: dict[str, dict[str, Any]] = {}
    for _, data in store.read_many([layout.summary_key(name) for name in sorted(names - unended)]):
        if isinstance(data, bytes):
            summary = json.loads(data)
            found[summary["backfill_id"]] = summary
    return found, sorted(names - found.keys())


def _load(store: ObjectStore, keys: list[str]) -> list[Manifest]:
    found = [Manifest.from_json(data) for _, data in store.read_many(keys) if isinstance(data, bytes)]
    return sorted(found, key=lambda manifest: manifest.created_at)


def person() -> str:
    """Who is asking, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def audit(store: ObjectStore, action: str, **facts: Any) -> None:
    """Append one event: who, what, when, with which parameters, to what outcome. Nothing is ever rewritten."""
    now = datetime.now(UTC)
    event = {"at": now.isoformat(), "action": action, "requested_by": person(), **facts}
    store.put(layout.audit_key(now, uuid.uuid4().hex), json.dumps(event, default=str).encode())


def audit_start(store: ObjectStore, manifest: Manifest) -> None:
    """The event of a manifest's writing. Its key follows from the manifest: written again, it is the same event."""
    event = {
        "at": manifest.created_at.isoformat(),
        "action": "start",
        "requested_by": manifest.requested_by,
        "backfill_id": manifest.backfill_id,
        "dry_run": False,
        "parameters": manifest.plan.summary(),
        "outcome": "accepted",
    }
    mark = hashlib.sha256(manifest.backfill_id.encode()).hexdigest()
    store.create(layout.audit_key(manifest.created_at, mark), json.dumps(event, default=str).encode())


def audit_events(store: ObjectStore, limit: int = 100) -> list[dict[str, Any]]:
    """The latest events, newest first."""
    keys = [o.key for o in store.list(layout.AUDIT)][-limit:][::-1]
    events = []
    for key, data in store.read_many(keys):
        if isinstance(data, WeatherError):
            raise data
        try:
            events.append(json.loads(data))
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"{store.uri(key)} is not an audit event: {error}") from error
    return events
