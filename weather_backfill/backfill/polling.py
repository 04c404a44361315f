"""Schedules and backs off the sensors' polling, so that one slow or failing connection cannot delay the others.

    _looks/<kind>/<tenant>-<service>.json    the last poll: its time, version, outcome, failures in a row, duration

A poll makes a plan: it lists an upstream and reads footers. After one that failed or found nothing the connection is
not polled for 1, 5 and 30 minutes, then for an hour at a time; after one that had nothing left to do for a night, not
until the next night. Either wait ends at once when the tenant's file or the defaults change: a marker holds for one
version of them. A tick begins no poll once `BUDGET_SECONDS` are used up, and polls the connections whose last poll
was slow last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

from pydantic import AwareDatetime, FiniteFloat, TypeAdapter

from weather_backfill.lake import layout
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 60))
BUDGET_SECONDS = 15.0
"""Even with one more poll, bounded by the client's deadline, a tick stays within Dagster's minute."""


class PollOutcome(StrEnum):
    """The outcome of a poll."""

    FOUND = "found"  # a manifest was written: it is the record from here on
    NOTHING = "nothing"  # poll again later
    DONE = "done"  # nothing to do until the next night or another version of the file


class Named(Protocol):
    """A connection that can be polled."""

    @property
    def name(self) -> str:
        """`<tenant>-<service>`."""
        ...

    @property
    def version(self) -> str:
        """Changes with the tenant's file and the defaults."""
        ...


@dataclass(frozen=True, slots=True)
class Poll:
    """The last poll of a connection, `at` a UTC time; `vain` counts polls in a row that failed or found nothing.

    `of` is the night and the version of the file that it holds for.
    """

    at: AwareDatetime
    of: str
    outcome: PollOutcome
    vain: int = 0
    seconds: FiniteFloat = 0.0

    def to_json(self) -> bytes:
        """Encode as the marker object."""
        return json.dumps({**asdict(self), "at": self.at.isoformat()}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Poll:
        """Decode a marker object; raises `UnreadableObjectError` if it is none."""
        return json_documents.read(_POLL, data, "this is no marker of a poll", "delete it.")

    def is_over(self, of: str, now: datetime) -> bool:
        """Return whether the connection is due again; a poll in the future means that a clock was set back."""
        if self.of != of or now < self.at:
            return True
        if self.outcome == PollOutcome.DONE:
            return False
        return now >= self.at + WAITS[max(min(self.vain, len(WAITS)), 1) - 1]


_POLL = TypeAdapter(Poll)
T = TypeVar("T", bound=Named)


class Polls:
    """The polls of one kind in one tick; with `night` each is repeated for every other night."""

    def __init__(self, store: ObjectStore, kind: str, now: datetime, night: str = "") -> None:
        self._store, self._kind, self._now, self._night = store, kind, now, night
        self._begun = time.monotonic()
        self._last: dict[str, Poll] = {}
        self._markers: set[str] = set()

    def due(self, candidates: Iterable[T]) -> list[T]:
        """The connections that are due: those never polled first, then by how long their last poll took."""
        by_key = {layout.look_key(self._kind, connection.name): connection for connection in candidates}
        for key, data in self._store.read_many(by_key):
            if isinstance(data, bytes):
                self._markers.add(key)
                try:
                    self._last[by_key[key].name] = Poll.from_json(data)
                except UnreadableObjectError:
                    continue  # only the wait is lost: poll now
        due = [connection for connection in by_key.values() if self._is_due(connection)]
        return sorted(due, key=lambda connection: last.seconds if (last := self._last.get(connection.name)) else 0.0)

    def _is_due(self, connection: Named) -> bool:
        last = self._last.get(connection.name)
        return last is None or last.is_over(self._of(connection), self._now)

    def _of(self, connection: Named) -> str:
        return f"{self._night}/{connection.version}"

    def each(self, due: Iterable[T], poll: Callable[[T], tuple[PollOutcome, str | None]], notes: list[str]) -> int:
        """Poll one connection after the other within the tick's time; returns how many outcomes were FOUND.

        A poll that raises is reported in `notes` and counts as NOTHING.
        """
        found, postponed = 0, 0
        for connection in due:
            if time.monotonic() - self._begun > BUDGET_SECONDS:
                postponed += 1
                continue
            started = time.monotonic()
            try:
                outcome, note = poll(connection)
            except Exception as error:  # one tenant's error must not stop the others
                outcome, note = PollOutcome.NOTHING, note_of(connection.name, error)
            notes += [note] if note else []
            found += outcome is PollOutcome.FOUND
            self._remember(connection, outcome, time.monotonic() - started)
        if postponed:
            notes.append(f"{postponed} connections are polled in the next tick: this one's time is used up")
        return found

    def _remember(self, connection: Named, outcome: PollOutcome, seconds: float) -> None:
        key, last = layout.look_key(self._kind, connection.name), self._last.get(connection.name)
        if outcome is PollOutcome.FOUND:
            if key in self._markers:  # a file that is changed back is polled at once
                self._store.delete(key)
            return
        vain_before = last.vain if last and last.of == self._of(connection) else 0
        vain = vain_before + 1 if outcome is PollOutcome.NOTHING else 0
        self._store.put(key, Poll(self._now, self._of(connection), outcome, vain, round(seconds, 3)).to_json())


def note_of(name: str, error: Exception) -> str:
    """The line of a tick's notes for an error of a connection or backfill."""
    return f"{name}: {type(error).__name__}: {error}"
