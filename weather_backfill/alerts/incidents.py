"""Incidents in the lake: one small object each, and a log of the notifications that were sent.

    _alerts/open/<id>.json                               an open incident
    _alerts/ending/<stamp>.<id>.json                     one that is over, until every channel was notified
    _alerts/told/<stamp>.<id>/<event>.<channel>.<n>.json  a notification: `opened` or `resolved`, by channel

Notifications are delivered *at least once*: a sender creates the entry (of several senders one wins), sends, and
marks the entry as sent. A sender that dies in between leaves an entry that is not marked; after `LEASE` the next
sender takes the next number and sends again, so that nothing is lost. A failed notification withdraws its entry and
is tried again at the next tick. Sent entries stay, so a slow sender with an outdated view sends nothing twice.
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

from pydantic import AwareDatetime, ConfigDict, TypeAdapter

from weather_backfill.lake import layout, listing
from weather_backfill.model.errors import NotFoundError, UnreadableObjectError, WeatherError
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
OPENED, RESOLVED = "opened", "resolved"
LEASE = timedelta(minutes=5)
"""No tick of a sensor lasts longer: an older entry that is not marked as sent is a dead sender's."""
_OPEN, _ENDING, _TOLD = f"{layout.ALERTS}/open", f"{layout.ALERTS}/ending", layout.TOLD


@dataclass(frozen=True, slots=True)
class Explanation:
    """The details of a condition's message: days with their reasons, and the commands that fix them."""

    days: Mapping[str, str]
    command: str


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. `kind` and `subject` are its identity; `explain` is called once per incident."""

    kind: str
    subject: str
    summary: str
    explain: Callable[[], Explanation]
    tenant: str | None = None
    service: str | None = None

    @property
    def incident_id(self) -> str:
        """The id of the condition's incident, part of object keys: readable, and unambiguous by its hash."""
        text = f"{self.kind}.{self.subject}"
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', text)[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Incident:
    """A recorded condition, from the tick that found it first. Times are UTC."""

    id: str
    kind: str
    summary: str
    opened_at: AwareDatetime
    tenant: str | None = None
    service: str | None = None
    days: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    ended_at: AwareDatetime | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def name(self) -> str:
        """The name of this occurrence: the same condition may come again."""
        return f"{self.opened_at:%Y%m%dT%H%M%S.%fZ}.{self.id}"

    def to_json(self) -> dict[str, Any]:
        """Every field, times (UTC) as ISO text."""
        times = {"opened_at": self.opened_at.isoformat()}
        return asdict(self) | times | {"ended_at": self.ended_at.isoformat() if self.ended_at else None}

    @classmethod
    def from_json(cls, data: bytes) -> Incident:
        """Decode an incident's object; raises `UnreadableObjectError` if it is none."""
        return json_documents.read(_INCIDENT, data, "this is no incident", "delete it: if it lasts, another is opened.")


_INCIDENT = TypeAdapter(Incident)


@dataclass(frozen=True, slots=True)
class _Notification:
    """A channel's notification of an incident's opening or end: claimed or sent `at` a UTC time."""

    at: AwareDatetime
    sent: bool


_NOTIFICATION = TypeAdapter(_Notification)


class Register:
    """The incidents of one lake."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def open_incidents(self) -> list[Incident]:
        """The open incidents, oldest first."""
        return self._read(_OPEN)

    def ending(self) -> list[Incident]:
        """The incidents that are over, until every channel has been notified."""
        return self._read(_ENDING)

    def _read(self, folder: str) -> list[Incident]:
        """The readable incidents: a damaged one silences no other, and is opened anew if its condition still holds."""
        incidents = []
        for key, data in self._store.read_many([o.key for o in _listed(self._store, folder)]):
            if isinstance(data, bytes):
                try:
                    incidents.append(Incident.from_json(data))
                except UnreadableObjectError as error:
                    _log.error("%s is passed over: %s", self._store.uri(key), error)
            elif isinstance(data, WeatherError) and data.retryable:
                raise data  # else it was deleted since the listing
        return sorted(incidents, key=lambda incident: incident.opened_at)

    def open(self, incident: Incident) -> bool:
        """Record a new incident, also over a damaged object; False if another sender has done so just now."""
        key, data = f"{_OPEN}/{incident.id}.json", _dumps(incident.to_json())
        if self._store.create(key, data):
            return True
        try:
            Incident.from_json(self._store.get(key))
        except UnreadableObjectError:
            self._store.put(key, data)
            return True
        except NotFoundError:
            pass  # it has ended just now: the next tick opens it
        return False

    def end(self, incident: Incident) -> None:
        """Move an incident to the ending ones: its end is still to be sent, and its id is free for the next."""
        self._store.create(f"{_ENDING}/{incident.name}.json", _dumps(incident.to_json()))
        self._store.delete(f"{_OPEN}/{incident.id}.json")

    def forget(self, incident: Incident) -> None:
        """Delete an incident whose end every channel knows; the log of notifications stays."""
        self._store.delete(f"{_ENDING}/{incident.name}.json")

    def told(self, incident: Incident, event: str, channel: str) -> bool:
        """Return whether a channel was notified."""
        return any(notification.sent for _, notification in self._entries(incident, event, channel))

    def claim(self, incident: Incident, event: str, channel: str, now: datetime) -> str | None:
        """Claim a notification; returns its key, or None if another sender has claimed or sent it."""
        entries = self._entries(incident, event, channel)
        # Further ahead than a lease, a claim is of a clock that was wrong: its sender is gone, too.
        if any(notification.sent or abs(now - notification.at) < LEASE for _, notification in entries):
            return None
        number = 1 + max((int(key.split(".")[-2]) for key, _ in entries), default=0)
        key = f"{_TOLD}/{incident.name}/{event}.{channel}.{number}.json"
        return key if self._store.create(key, _dumps({"at": now.isoformat(), "sent": False})) else None

    def sent(self, key: str, text: str) -> None:
        """Mark a notification as sent, with its text."""
        self._store.put(key, _dumps({"at": datetime.now(UTC).isoformat(), "sent": True, "text": text}))

    def withdraw(self, key: str) -> None:
        """Withdraw a notification that could not be sent: the next tick tries again."""
        self._store.delete(key)

    def _entries(self, incident: Incident, event: str, channel: str) -> list[tuple[str, _Notification]]:
        keys = [
            stored.key
            for stored in _listed(self._store, f"{_TOLD}/{incident.name}")
            if stored.key.rsplit("/", 1)[-1].startswith(f"{event}.{channel}.")
        ]
        return [(key, _notification(data)) for key, data in self._store.read_many(keys) if isinstance(data, bytes)]


def _listed(store: ObjectStore, folder: str) -> list[StoredObject]:
    return listing.records(store, layout.ALERTS, folder.removeprefix(f"{layout.ALERTS}/"))


def _notification(data: bytes) -> _Notification:
    """Decode a notification; a damaged one counts as a dead sender's, so that it is sent again."""
    try:
        return json_documents.read(_NOTIFICATION, data, "this is no notification of an incident", "delete it.")
    except UnreadableObjectError as error:
        _log.error("sent again: %s", error)
        return _Notification(datetime.fromtimestamp(0, UTC), sent=False)


def _dumps(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()
