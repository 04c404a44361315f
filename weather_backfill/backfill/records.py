"""What is written down of a backfill: its manifest, its summary, and the append-only audit."""

from __future__ import annotations

import getpass
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from weather_backfill.backfill.launch import native_id
from weather_backfill.backfill.plan import Plan
from weather_backfill.errors import NotFoundError, WeatherError
from weather_backfill.lake import documents, layout
from weather_backfill.lake.storage import ObjectStore

ACTIVE, PAUSED, CANCELED = "active", "paused", "canceled"


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
        """From the manifest object; raises `UnreadableObjectError` if it is none."""
        with documents.reading("this is no manifest of a backfill", "restore it, or move it out of the lake."):
            document = documents.parsed(data)
            created = datetime.fromisoformat(document["created_at"])
            if created.tzinfo is None:
                raise ValueError("created_at has no time zone")
            return cls(
                document["backfill_id"],
                Plan.from_json(document["plan"]),
                [[date.fromisoformat(day) for day in part] for part in document["parts"]],
                document["requested_by"],
                created,
                document["state"],
                dict(document["labels"]),
            )


def save_manifest(store: ObjectStore, manifest: Manifest) -> None:
    """Write a manifest, replacing the one of the same id."""
    store.put(layout.manifest_key(manifest.backfill_id), manifest.to_json())


def load_manifest(store: ObjectStore, backfill_id: str) -> Manifest | None:
    """The manifest of an id; None for backfills that were launched elsewhere."""
    try:
        return Manifest.from_json(store.get(layout.manifest_key(backfill_id)))
    except NotFoundError:
        return None


def manifests(store: ObjectStore) -> list[Manifest]:
    """All manifests, oldest first."""
    keys = [o.key for o in store.list(layout.BACKFILLS) if o.key.endswith("/manifest.json")]
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
    key = f"{layout.AUDIT}/date={now:%Y-%m-%d}/{now:%H%M%S.%f}-{uuid.uuid4().hex[:8]}.json"
    store.put(key, json.dumps(event, default=str).encode())


def audit_events(store: ObjectStore, limit: int = 100) -> list[dict[str, Any]]:
    """The latest events, newest first."""
    keys = [o.key for o in store.list(layout.AUDIT)][-limit:][::-1]
    events = []
    for key, data in store.read_many(keys):
        if isinstance(data, WeatherError):
            raise data
        with documents.reading(f"{store.uri(key)} is not an audit event", "move it out of the audit."):
            events.append(documents.parsed(data))
    return events
