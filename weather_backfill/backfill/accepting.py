"""Accept what days lack, and withdraw that again: the CLI, the form and programs call these."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime

from weather_backfill.backfill.acceptances import Acceptance, parsed
from weather_backfill.backfill.audit import audit, person
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore

MOST = 10_000
"""Acceptances of one connection."""
_LONGEST_WHY = 500
_Change = Callable[[list[Acceptance]], list[Acceptance]]


def accept(
    context: BackfillContext, service: str, tenant: str, first: date, last: date, *,
    why: str, station: str = "", metric: str = "", until: date | None = None, by: str | None = None,
) -> Acceptance:  # fmt: skip
    """Accept what days from `first` to `last` (both included) lack, and audit it; the same again changes nothing.

    Raises `ConfigurationError` for a range that is backwards, without a reason, and for an end that has passed.
    """
    context.claim()
    now = datetime.now(UTC)
    why = why.strip()
    if first > last:
        raise ConfigurationError(f"the first day {first} is after the last day {last}: swap them.")
    if not why or len(why) > _LONGEST_WHY or not why.isprintable():
        raise ConfigurationError(f"an acceptance needs its reason, 1 to {_LONGEST_WHY} printable characters.")
    if until is not None and until < now.date():
        raise ConfigurationError(f"{until} has passed (today is {now.date()} UTC): the acceptance would not count.")
    for name in (station, metric):
        if len(name) > 300 or (name and not name.isprintable()):
            raise ConfigurationError("expected a station's and a metric's name in at most 300 printable characters.")
    given = Acceptance(first, last, station, metric, why, by or person(), now, until)

    def add(known: list[Acceptance]) -> list[Acceptance]:
        others = [one for one in known if _place(one) != _place(given)]
        if len(others) >= MOST:
            raise ConfigurationError(f"{tenant} has {MOST} acceptances for {service}: withdraw some, or accept ranges.")
        return [*others, given]

    _change(context.store, service, tenant, add)
    audit(
        context.store,
        "accept",
        parameters={"service": service, "tenant": tenant, **given.to_json()},
        outcome="accepted",
    )
    return given


def withdraw(
    context: BackfillContext, service: str, tenant: str, first: date, last: date, station: str = "", metric: str = ""
) -> int:
    """Withdraw the acceptances of exactly these days, station and metric; returns how many there were."""
    context.claim()
    place = (first, last, station, metric)
    gone: list[int] = []

    def remove(known: list[Acceptance]) -> list[Acceptance]:
        kept = [one for one in known if _place(one) != place]
        gone[:] = [len(known) - len(kept)]
        return kept

    _change(context.store, service, tenant, remove)
    asked = {"service": service, "tenant": tenant, "first": first, "last": last, "station": station, "metric": metric}
    audit(context.store, "withdraw acceptance", parameters=asked, outcome=f"{gone[0]} withdrawn")
    return gone[0]


def _place(one: Acceptance) -> tuple[date, date, str, str]:
    return one.first, one.last, one.station, one.metric


def _change(store: ObjectStore, service: str, tenant: str, change: _Change) -> None:
    key = layout.accepted_key(service, tenant)

    def write() -> None:
        seen = store.look(key)
        changed = change(parsed(store, seen, service, tenant))
        text = json.dumps([one.to_json() for one in sorted(changed, key=_place)], indent=1).encode()
        conditional.put_if(store, key, text, seen.etag if seen else None)

    conditional.started_over(write)
