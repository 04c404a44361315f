"""The append-only audit: who asked for what, when, with what outcome."""

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
from weather_backfill.lake import compaction, layout
from weather_backfill.model.errors import NotFoundError, WeatherError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

_asker: ContextVar[str | None] = ContextVar("asker", default=None)


@contextmanager
def asking_as(name: str) -> Iterator[None]:
    """Within this, `name` is asking: a sensor, where nobody is."""
    token = _asker.set(name)
    try:
        yield
    finally:
        _asker.reset(token)


def person() -> str:
    """Who is asking: a sensor, or the user as far as the machine knows."""
    if name := _asker.get():
        return name
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
    """The latest events, newest first, those that were archived too."""
    events: dict[str, dict[str, Any]] = {}
    gone = False
    for key, data in store.read_many([o.key for o in store.list(layout.AUDIT)][-limit:]):
        if isinstance(data, NotFoundError):
            gone = True  # archived since the listing
            continue
        if isinstance(data, WeatherError):
            raise data
        with json_documents.reading(f"{store.uri(key)} is not an audit event", "move it out of the audit."):
            events[key] = json_documents.parsed(data)
    for month in compaction.months(store, layout.AUDIT) if gone or len(events) < limit else ():
        events = {key: line.body for key, line in compaction.read(store, layout.AUDIT, month).items()} | events
        if len(events) >= limit and not gone:
            break
    return [events[key] for key in sorted(events, reverse=True)[:limit]]
