"""The rate limit of a service, shared by all processes of its runs.

A request holds a slot from the moment it is allowed until one window (a minute) after its answer came. The
server counted it before it answered, so in no window can the server count more requests than there are slots,
however long a request was under way. A sliding window over send times cannot promise that: a slow request and
a quick one sent 60 s later may arrive 59 s apart.

`Retry-After` is kept beside the slots: who is told to wait tells everyone. Up to an hour is waited; who is told to
wait longer tells everyone to give up at once, for a run that waits for hours holds a place that others want.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weather_backfill.http.shared_state.base import Document, SharedState
from weather_backfill.model.errors import ConfigurationError, NotAskedError

WINDOW_SECONDS = 60.0
SLACK_SECONDS = 0.1  # clocks of two hosts drift apart by up to 30 ms a minute while they are being corrected
LONGEST_PAUSE_SECONDS = 3600.0
POLL_SECONDS = 0.2  # all slots are taken by requests under way: nobody knows when one comes free


@dataclass(frozen=True, slots=True)
class Rate:
    """`requests` in any `window` seconds; a process that dies frees its slots after `hold` seconds more."""

    requests: int
    window: float = WINDOW_SECONDS
    hold: float = 600.0

    def __post_init__(self) -> None:
        if self.requests < 1 or self.window <= 0:
            raise ConfigurationError(
                f"a rate of {self.requests} requests in {self.window} s is not possible: expected at least 1."
            )


class LongPauseError(NotAskedError):
    """The service has asked to be left alone for longer than anybody waits."""


def limit_scope(service: str, host: str, tenant: str | None = None) -> str:
    """Who shares a limit: all tenants of a service's host, or one tenant that has its own allowance there."""
    return f"limit:{service}:{tenant}@{host}" if tenant else f"limit:{service}@{host}"


def whose(scope: str) -> tuple[str, str]:
    """The service and the tenant (or "") of a scope."""
    service, _, tenant = scope.removeprefix("limit:").partition("@")[0].partition(":")
    return service, tenant


def counting(document: Document, now: float, rate: Rate) -> list[Any]:
    """The slots that count now, `[id, taken, answered]`."""
    slots = [
        # A clock that was set back must not keep a slot for hours: what lies ahead counts from now.
        [key, min(taken, now), min(answered, now) if answered is not None else None]
        for key, taken, answered in document.get("slots", [])
    ]
    length = rate.window + SLACK_SECONDS
    return [s for s in slots if (s[2] + length > now if s[2] is not None else s[1] + rate.hold + length > now)]


def take_slot(document: Document, now: float, rate: Rate, slot: str) -> float:
    """Take a slot if one is free: 0, or the seconds after which to ask again."""
    document["slots"] = slots = counting(document, now, rate)
    pause = paused_for(document, now)
    if pause > 0:
        return pause
    if len(slots) < rate.requests:
        slots.append([slot, now, None])
        return 0.0
    answered = sorted(s[2] for s in slots if s[2] is not None)
    must_go = len(slots) - rate.requests
    if must_go >= len(answered):
        return POLL_SECONDS
    return max(answered[must_go] + rate.window + SLACK_SECONDS - now, 0.001)


def give_answer(document: Document, now: float, slot: str) -> None:
    """The slot's answer came (or its connection broke): from here it counts for one window more."""
    for entry in document.get("slots", []):
        if entry[0] == slot:
            entry[2] = now


def give_back(document: Document, now: float, slot: str) -> None:
    """The slot was not used."""
    document["slots"] = [entry for entry in document.get("slots", []) if entry[0] != slot]


def pause_all(document: Document, now: float, seconds: float, refuse: bool = False) -> None:
    """Nobody asks before `seconds` have passed; a longer pause stands. With `refuse` nobody waits for it either."""
    until = now + min(max(seconds, 0.0), LONGEST_PAUSE_SECONDS)
    document["paused_until"] = max(until, now + paused_for(document, now))
    if refuse:
        document["refused_until"] = until


def paused_for(document: Document, now: float) -> float:
    """Seconds until the pause ends, 0 if there is none."""
    return _left(document, now, "paused_until")


def refused_for(document: Document, now: float) -> float:
    """Seconds for which nobody need wait for a slot, 0 if there is no such pause."""
    return _left(document, now, "refused_until")


def _left(document: Document, now: float, what: str) -> float:
    return min(max(document.get(what, 0.0) - now, 0.0), LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """What an operator sees of a limit: slots taken of `requests`, and the seconds of a pause."""

    scope: str
    taken: int
    requests: int
    paused_for: float


class Limiter:
    """One limit in a shared store. `sleep` waits; it may raise to end the wait."""

    def __init__(self, state: SharedState, scope: str, rate: Rate, sleep: Callable[[float], None]) -> None:
        self._state, self.scope, self.rate, self._sleep = state, scope, rate, sleep

    def acquire(self) -> str:
        """Wait for a slot; returns its id, to be given to `answered`. Raises `LongPauseError` where nobody waits."""
        slot = uuid.uuid4().hex[:16]
        while True:
            wait, refused = self._state.change(
                self.scope, lambda d, now: (take_slot(d, now, self.rate, slot), refused_for(d, now))
            )
            if refused:
                raise LongPauseError(
                    f"{self.scope}: the service has asked to be left alone for hours; it is asked again "
                    f"in {refused / 60:.0f} minutes. Retry failed days later; a lower requests_per_minute may avoid it."
                )
            if not wait:
                return slot
            # Jitter keeps the processes that wait for one slot from waking in step.
            self._sleep(wait + random.uniform(0, 0.02))  # noqa: S311 - no secret

    def answered(self, slot: str) -> None:
        """The answer's head came, or the request failed."""
        self._state.change(self.scope, lambda d, now: give_answer(d, now, slot))

    def cancel(self, slot: str) -> None:
        """Nothing was sent."""
        self._state.change(self.scope, lambda d, now: give_back(d, now, slot))

    def pause(self, seconds: float, *, refuse: bool = False) -> None:
        """Make every process wait, or with `refuse` give up."""
        self._state.change(self.scope, lambda d, now: pause_all(d, now, seconds, refuse))

    def status(self) -> LimitStatus:
        """How full the limit is."""
        document, now = self._state.read(self.scope)
        taken = len(counting(document, now, self.rate))
        return LimitStatus(self.scope, taken, self.rate.requests, paused_for(document, now))
