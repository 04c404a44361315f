"""When the sensors look at a connection's upstream, so that none that is slow, down or empty holds up the others.

    _looks/<kind>/<tenant>-<service>.json    the last look: when, of what, how often in vain, how long it took

A look plans: it lists an upstream and reads footers. One that failed or found nothing is put off for 1, 5 and 30
minutes, then an hour at a time; one that has seen to a night's work is not repeated that night. Either ends at once
when the tenant's file changes, or the defaults: a marker speaks of one version of them. A tick begins no look once
`BUDGET_SECONDS` are used up, and goes by how long the last looks took, slow ones last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

from weather_backfill.lake import layout
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 60))
BUDGET_SECONDS = 15.0
"""With one look more, each bounded by the client's patience, a tick keeps to the minute that Dagster gives it."""


class PollOutcome(StrEnum):
    """What came of a look."""

    FOUND = "found"  # there is a manifest now, which says so from here on
    NOTHING = "nothing"  # look again later
    DONE = "done"  # there is nothing to look for until the night or the file is another


class Named(Protocol):
    """What is looked at: a connection."""

    @property
    def name(self) -> str:
        """`<tenant>-<service>`."""
        ...

    @property
    def version(self) -> str:
        """Another one whenever the tenant's file or the defaults change."""
        ...


@dataclass(frozen=True, slots=True)
class Poll:
    """The last look at a connection; `vain` counts those in a row that failed or found nothing."""

    at: datetime
    of: str
    outcome: str
    vain: int = 0
    seconds: float = 0.0

    def to_json(self) -> bytes:
        """As the marker object."""
        return json.dumps({**asdict(self), "at": self.at.isoformat()}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Poll:
        """From the marker object; raises `UnreadableObjectError` if it is none."""
        with json_documents.reading("this is no marker of a look", "delete it."):
            found = json_documents.parsed(data)
            at = json_documents.moment(found["at"])
            return cls(at, str(found["of"]), str(found["outcome"]), int(found["vain"]), float(found["seconds"]))

    def is_over(self, of: str, now: datetime) -> bool:
        """Whether it is time for another; a time that lies ahead is a clock that was set back."""
        if self.of != of or now < self.at:
            return True
        if self.outcome == PollOutcome.DONE:
            return False
        return now >= self.at + WAITS[max(min(self.vain, len(WAITS)), 1) - 1]


T = TypeVar("T", bound=Named)


class Polls:
    """The looks of one kind in one tick; `night` is what they are repeated for, if anything."""

    def __init__(self, store: ObjectStore, kind: str, now: datetime, night: str = "") -> None:
        self._store, self._kind, self._now, self._night = store, kind, now, night
        self._begun = time.monotonic()
        self._last: dict[str, Poll] = {}
        self._there: set[str] = set()

    def due(self, wanted: Iterable[T]) -> list[T]:
        """Those whose time has come: never looked at first, then by how long the last look took."""
        asked = {layout.look_key(self._kind, one.name): one for one in wanted}
        for key, data in self._store.read_many(asked):
            if isinstance(data, bytes):
                self._there.add(key)
                try:
                    self._last[asked[key].name] = Poll.from_json(data)
                except UnreadableObjectError:
                    continue  # it only says when: look
        found = [one for one in asked.values() if self._is_due(one)]
        return sorted(found, key=lambda one: self._last[one.name].seconds if one.name in self._last else 0.0)

    def _is_due(self, one: Named) -> bool:
        last = self._last.get(one.name)
        return last is None or last.is_over(self._of(one), self._now)

    def _of(self, one: Named) -> str:
        return f"{self._night}/{one.version}"

    def each(self, due: Iterable[T], look: Callable[[T], tuple[PollOutcome, str | None]], notes: list[str]) -> int:
        """Look at one after the other while there is time; how many have found something. A look that raises is
        noted, and was in vain.
        """
        found, left = 0, 0
        for one in due:
            if time.monotonic() - self._begun > BUDGET_SECONDS:
                left += 1
                continue
            started = time.monotonic()
            try:
                outcome, note = look(one)
            except Exception as error:  # a tenant's trouble stays the tenant's
                outcome, note = PollOutcome.NOTHING, note_of(one.name, error)
            notes += [note] if note else []
            found += outcome is PollOutcome.FOUND
            self._remember(one, outcome, time.monotonic() - started)
        if left:
            notes.append(f"{left} connections are looked at in the next tick: this one's time is used up")
        return found

    def _remember(self, one: Named, outcome: PollOutcome, seconds: float) -> None:
        key, last = layout.look_key(self._kind, one.name), self._last.get(one.name)
        if outcome is PollOutcome.FOUND:
            if key in self._there:  # a file that comes back as it was is looked at anew
                self._store.delete(key)
            return
        again = last.vain if last and last.of == self._of(one) else 0
        vain = again + 1 if outcome is PollOutcome.NOTHING else 0
        self._store.put(key, Poll(self._now, self._of(one), outcome, vain, round(seconds, 3)).to_json())


def note_of(name: str, error: Exception) -> str:
    """What a tick says of a connection's or backfill's trouble."""
    return f"{name}: {type(error).__name__}: {error}"
