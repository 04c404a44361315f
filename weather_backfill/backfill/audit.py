"""The append-only audit log: who requested which action, when (UTC), with which outcome."""

from __future__ import annotations

import getpass
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from weather_backfill.backfill.manifests import Manifest
from weather_backfill.lake import compaction, layout, listing
from weather_backfill.model.errors import NotFoundError, WeatherError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

_requester: ContextVar[str | None] = ContextVar("requester", default=None)


@contextmanager
def asking_as(name: str) -> Iterator[None]:
    """Make `name` (a sensor, where no person asks) the requester of all that is audited within the `with` block."""
    token = _requester.set(name)
    try:
        yield
    finally:
        _requester.reset(token)


def person() -> str:
    """The requester: the sensor that `asking_as` names, else the user of this process, else `unknown`."""
    if name := _requester.get():
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def audit(store: ObjectStore, action: str, **facts: Any) -> None:
    """Append one event: `at` (UTC), `action`, `requested_by` and the given facts. Events are never rewritten."""
    now = datetime.now(UTC)
    event = {"at": now.isoformat(), "action": action, "requested_by": person(), **facts}
    store.put(layout.audit_key(now, uuid.uuid4().hex), json.dumps(event, default=str).encode())


def audit_start(store: ObjectStore, manifest: Manifest) -> None:
    """Append the `start` event of a manifest. Its key follows from the manifest, so a second call adds no event."""
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
    """Return the latest events, newest first, archived ones included.

    Raises `UnreadableObjectError` for a damaged event.
    """
    events: dict[str, dict[str, Any]] = {}
    archived_meanwhile = False
    for key, data in store.read_many([o.key for o in listing.records(store, layout.AUDIT)][-limit:]):
        if isinstance(data, NotFoundError):
            archived_meanwhile = True  # since the listing
            continue
        if isinstance(data, WeatherError):
            raise data
        with json_documents.reading(f"{store.uri(key)} is not an audit event", "move it out of the audit."):
            events[key] = json_documents.parsed(data)
    for month in compaction.months(store, layout.AUDIT) if archived_meanwhile or len(events) < limit else ():
        events = {key: line.body for key, line in compaction.read(store, layout.AUDIT, month).items()} | events
        if len(events) >= limit and not archived_meanwhile:
            break
    return [events[key] for key in sorted(events, reverse=True)[:limit]]
