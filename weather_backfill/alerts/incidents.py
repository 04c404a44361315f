"""Incidents in the lake: one small object each, and a ledger of who was told.

    _alerts/open/<id>.json                               an incident that lasts
    _alerts/ending/<stamp>.<id>.json                     one that is over, until every channel knows
    _alerts/told/<stamp>.<id>/<event>.<channel>.<n>.json  who was told: `opened` and `resolved`, by channel

Telling is *at least once*: a sender creates its ledger entry (of many, one wins), tells, and marks the entry as
sent. A sender that dies in between leaves an entry that nobody finishes; after `LEASE` the next sender takes the
next number and tells again, so that nothing is ever lost. A failed telling withdraws its entry and is tried
again at the next tick. The ledger is never taken back, so a slow sender with an old view tells nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from weather_backfill.lake import layout
from weather_backfill.model.errors import NotFoundError, UnreadableObjectError, WeatherError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
OPENED, RESOLVED = "opened", "resolved"
LEASE = timedelta(minutes=5)
"""No tick of a sensor lasts longer: an older entry that is not sent is a dead sender's."""
_OPEN, _ENDING, _TOLD = f"{layout.ALERTS}/open", f"{layout.ALERTS}/ending", layout.TOLD


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a condition's message needs beyond its summary: days with their reasons, the command that fixes them."""

    days: Mapping[str, str]
    command: str


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. `kind` and `subject` are its identity; `explain` is asked once an incident."""

    kind: str
    subject: str
    summary: str
    explain: Callable[[], Explanation]
    tenant: str | None = None
    service: str | None = None

    @property
    def incident_id(self) -> str:
        """A name for an object: readable, and unambiguous by its hash."""
        text = f"{self.kind}.{self.subject}"
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', text)[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Incident:
    """A condition that was found, from its first tick on. Times are UTC."""

    id: str
    kind: str
    summary: str
    opened_at: datetime
    tenant: str | None = None
    service: str | None = None
    days: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    ended_at: datetime | None = None

    @property
    def name(self) -> str:
        """Unique to this occurrence: the same condition may come again."""
        return f"{self.opened_at:%Y%m%dT%H%M%S.%fZ}.{self.id}"

    def to_json(self) -> dict[str, Any]:
        """Every field, times as ISO text."""
        times = {"opened_at": self.opened_at.isoformat()}
        return asdict(self) | times | {"ended_at": self.ended_at.isoformat() if self.ended_at else None}

    @classmethod
    def from_json(cls, data: bytes) -> Incident:
        """From an incident's object; raises `UnreadableObjectError` if it is none."""
        with json_documents.reading("this is no incident", "delete it: what is still wrong is told again."):
            document = json_documents.parsed(data)
            incident = cls(
                **{
                    **document,
                    "opened_at": json_documents.moment(document["opened_at"]),
                    "days": dict(document["days"]),
                }
                | {"ended_at": json_documents.moment(document["ended_at"]) if document["ended_at"] else None}
            )
            if not all(isinstance(text, str) for text in (incident.id, incident.kind, incident.summary)):
                raise ValueError("id, kind or summary is no text")
            return incident


class Register:
    """The incidents of one lake."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def open_incidents(self) -> list[Incident]:
        """Those that last, oldest first."""
        return self._read(_OPEN)

    def ending(self) -> list[Incident]:
        """Those that are over and whose end not every channel knows."""
        return self._read(_ENDING)

    def _read(self, folder: str) -> list[Incident]:
        """What can be read: a damaged incident silences no other, and is opened anew if it is still wrong."""
        found = []
        for key, data in self._store.read_many([o.key for o in self._store.list(folder)]):
            if isinstance(data, bytes):
                try:
                    found.append(Incident.from_json(data))
                except UnreadableObjectError as error:
                    _log.error("%s is passed over: %s", self._store.uri(key), error)
            elif isinstance(data, WeatherError) and data.retryable:
                raise data  # else it has gone since the listing
        return sorted(found, key=lambda incident: incident.opened_at)

    def open(self, incident: Incident) -> bool:
        """Remember a new incident, also over a damaged object; False if another sender did so just now."""
        key, data = f"{_OPEN}/{incident.id}.json", _dumps(incident.to_json())
        if self._store.create(key, data):
            return True
        try:
            Incident.from_json(self._store.get(key))
        except UnreadableObjectError:
            self._store.put(key, data)
            return True
        except NotFoundError:
            pass  # it has ended this moment: the next tick opens it
        return False

    def end(self, incident: Incident) -> None:
        """An incident is over: from here it is only told, and its id is free for the next."""
        self._store.create(f"{_ENDING}/{incident.name}.json", _dumps(incident.to_json()))
        self._store.delete(f"{_OPEN}/{incident.id}.json")

    def forget(self, incident: Incident) -> None:
        """Every channel knows the end; the ledger stays."""
        self._store.delete(f"{_ENDING}/{incident.name}.json")

    def told(self, incident: Incident, event: str, channel: str) -> bool:
        """Whether a channel was told."""
        return any(document["sent"] for _, document in self._entries(incident, event, channel))

    def claim(self, incident: Incident, event: str, channel: str, now: datetime) -> str | None:
        """The right to tell a channel, as the key of a ledger entry; None if another sender has it or has told."""
        entries = self._entries(incident, event, channel)
        if any(document["sent"] for _, document in entries):
            return None
        if any(now - datetime.fromisoformat(document["at"]) < LEASE for _, document in entries):
            return None
        number = 1 + max((int(key.split(".")[-2]) for key, _ in entries), default=0)
        key = f"{_TOLD}/{incident.name}/{event}.{channel}.{number}.json"
        return key if self._store.create(key, _dumps({"at": now.isoformat(), "sent": False})) else None

    def sent(self, key: str, text: str) -> None:
        """The channel was told."""
        self._store.put(key, _dumps({"at": datetime.now(UTC).isoformat(), "sent": True, "text": text}))

    def withdraw(self, key: str) -> None:
        """The channel could not be told: the next tick tries again."""
        self._store.delete(key)

    def _entries(self, incident: Incident, event: str, channel: str) -> list[tuple[str, dict[str, Any]]]:
        keys = [
            stored.key
            for stored in self._store.list(f"{_TOLD}/{incident.name}")
            if stored.key.rsplit("/", 1)[-1].startswith(f"{event}.{channel}.")
        ]
        return [(key, _told(data)) for key, data in self._store.read_many(keys) if isinstance(data, bytes)]


def _told(data: bytes) -> dict[str, Any]:
    """An entry of the ledger; a damaged one is a dead sender's, so that its channel is told again."""
    try:
        with json_documents.reading("this is no entry of who was told", "delete it."):
            document = json_documents.parsed(data)
            return {"at": json_documents.moment(document["at"]).isoformat(), "sent": document["sent"] is True}
    except UnreadableObjectError as error:
        _log.error("told again: %s", error)
        return {"at": datetime.fromtimestamp(0, UTC).isoformat(), "sent": False}


def _dumps(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()
