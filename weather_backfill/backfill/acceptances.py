"""Acceptances: what a person has taken as lacking for good, or for a while, with who and why.

    _accepted/<service>/<tenant>.json     all of a connection's, written by compare-and-swap

An accepted lack stays a lack: checks say it, and the gap filler still looks once in a while. It counts as `accepted`
in plan, gaps, report and alerts, never as done. It ends by its date, when somebody withdraws it, or by itself: data
that has come lacks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from weather_backfill.lake import layout
from weather_backfill.model.expectation import Lack
from weather_backfill.storage.object_store import ObjectStore, Seen
from weather_backfill.util import json_documents


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An accepted lack of the UTC days from `first` to `last`; "" stands for every station, and every metric.

    `metric` may be a part too: a product of DWD.
    `until` is the last day (UTC, today's) on which it counts; None: for good. `accepted_at` is UTC.
    """

    first: date
    last: date
    station: str
    metric: str
    why: str
    accepted_by: str
    accepted_at: datetime
    until: date | None = None

    def counts(self, today: date) -> bool:
        """Whether it has not ended."""
        return self.until is None or today <= self.until

    def covers(self, day: date, lack: Lack) -> bool:
        """Whether it accepts this lack of a day."""
        within = self.first <= day <= self.last
        return within and self.station in ("", lack.station) and self.metric in ("", lack.metric, lack.part)

    def to_json(self) -> dict[str, Any]:
        """The document, dates and times as ISO text."""
        return {
            name: value if isinstance(value, str | None) else value.isoformat() for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Acceptance:
        """Decode what `to_json` wrote; raises what `json_documents.reading` turns into an error of ours."""
        until = document["until"]
        return cls(
            date.fromisoformat(document["first"]), date.fromisoformat(document["last"]), str(document["station"]),
            str(document["metric"]), str(document["why"]), str(document["accepted_by"]),
            json_documents.moment(document["accepted_at"]), date.fromisoformat(until) if until else None,
        )  # fmt: skip


class Accepted:
    """A connection's acceptances that count today."""

    def __init__(self, acceptances: Iterable[Acceptance] = (), today: date | None = None) -> None:
        now = today or datetime.now(UTC).date()
        self._counting = [one for one in acceptances if one.counts(now)]

    def whole(self, day: date) -> bool:
        """Whether all of a day is accepted as lacking."""
        return any(one.covers(day, Lack("")) for one in self._counting)

    def remaining(self, day: date, lacks: Sequence[Lack]) -> tuple[Lack, ...]:
        """The lacks of a day that nobody has accepted."""
        if not self._counting:
            return tuple(lacks)
        return tuple(lack for lack in lacks if not any(one.covers(day, lack) for one in self._counting))


def acceptances(store: ObjectStore, service: str, tenant: str) -> list[Acceptance]:
    """All of a connection's acceptances, ended ones too; raises `UnreadableObjectError` for a damaged document."""
    return parsed(store, store.look(layout.accepted_key(service, tenant)), service, tenant)


def accepted_now(store: ObjectStore, service: str, tenant: str) -> Accepted:
    """A connection's acceptances as they count today (UTC)."""
    return Accepted(acceptances(store, service, tenant))


def parsed(store: ObjectStore, seen: Seen | None, service: str, tenant: str) -> list[Acceptance]:
    if seen is None:
        return []
    where = store.uri(layout.accepted_key(service, tenant))
    with json_documents.reading(f"{where} is no list of acceptances", "restore it from a backup, or remove it."):
        return [Acceptance.from_json(one) for one in json_documents.parsed(seen.data)]
