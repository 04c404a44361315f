"""The rate limit of a service, shared by all processes of its runs.

A request holds a slot from the moment it is allowed until one window (a minute) after its answer came. The
server counted it before it answered, so in no window can the server count more requests than there are slots,
however long a request was in flight. A sliding window over send times cannot promise that: a slow request and
a quick one sent 60 s later may arrive 59 s apart.

`Retry-After` is stored beside the slots, so that all processes wait. They wait up to an hour; if the server asks for a
longer pause, all give up at once, as a run that waits for hours occupies a place that other runs need.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weather_backfill.http.shared_state.base import CLOCKS_SECONDS, Document, SharedState
from weather_backfill.model.errors import ConfigurationError, NotAskedError

WINDOW_SECONDS = 60.0
SLACK_SECONDS = 0.1  # clocks of two hosts drift apart by up to 30 ms a minute while they are being corrected
LONGEST_PAUSE_SECONDS = 3600.0
POLL_SECONDS = 0.2  # all slots are taken by requests in flight: when one comes free is unknown


@dataclass(frozen=True, slots=True)
class Rate:
    """`requests` in any `window` seconds; the slots of a process that died come free after `hold` seconds more.

    Raises `ConfigurationError` for less than one request or a window of no length.
    """

    requests: int
    window: float = WINDOW_SECONDS
    hold: float = 600.0

    def __post_init__(self) -> None:
        if self.requests < 1 or self.window <= 0:
            raise ConfigurationError(
                f"a rate of {self.requests} requests in {self.window} s is not possible: expected at least 1."
            )


class LongPauseError(NotAskedError):
    """The service asked for a pause longer than `LONGEST_PAUSE_SECONDS`."""


def limit_scope(service: str, host: str, tenant: str | None = None) -> str:
    """The scope of a limit: all tenants of a service's host, or one tenant with its own allowance there."""
    return f"limit:{service}:{tenant}@{host}" if tenant else f"limit:{service}@{host}"


def whose(scope: str) -> tuple[str, str]:
    """Parse a scope into its service and its tenant ("" for one shared by all tenants)."""
    service, _, tenant = scope.removeprefix("limit:").partition("@")[0].partition(":")
    return service, tenant


def counting(document: Document, now: float, rate: Rate) -> list[Any]:
    """The slots that are in use now, `[id, taken, answered]`, times in seconds since 1970."""
    slots = [
        # After a clock was set back, a time in the future counts as now: else it would hold its slot for hours.
        [key, min(taken, now), min(answered, now) if answered is not None else None]
        for key, taken, answered in document.get("slots", [])
    ]
    length = rate.window + SLACK_SECONDS
    return [s for s in slots if (s[2] + length > now if s[2] is not None else s[1] + rate.hold + length > now)]


def take_slot(document: Document, now: float, rate: Rate, slot: str) -> float:
    """Take a slot if one is free: returns 0 then, else the seconds after which to try again."""
    document["slots"] = slots = counting(document, now, rate)
    pause = paused_for(document, now)
    if pause > 0:
        return pause
    if len(slots) < rate.requests:
        slots.append([slot, now, None])
        return 0.0
    answered = sorted(s[2] for s in slots if s[2] is not None)
    excess = len(slots) - rate.requests
    if excess >= len(answered):
        return POLL_SECONDS
    return max(answered[excess] + rate.window + SLACK_SECONDS - now, 0.001)


def give_answer(document: Document, now: float, slot: str) -> None:
    """Record that a slot's answer came (or its connection broke): it is in use for one window more."""
    for entry in document.get("slots", []):
        if entry[0] == slot:
            entry[2] = now


def give_back(document: Document, now: float, slot: str) -> None:
    """Free a slot that was not used."""
    document["slots"] = [entry for entry in document.get("slots", []) if entry[0] != slot]


def pause_all(document: Document, now: float, seconds: float, refuse: bool = False) -> None:
    """Pause all requests for `seconds`; a longer pause stands. With `refuse`, requests fail instead of waiting."""
    until = now + min(max(seconds, 0.0), LONGEST_PAUSE_SECONDS)
    document["paused_until"] = max(until, now + paused_for(document, now))
    if refuse:
        document["refused_until"] = until


def paused_for(document: Document, now: float) -> float:
    """Seconds until the pause ends; 0 if there is none."""
    return _left(document, now, "paused_until")


def refused_for(document: Document, now: float) -> float:
    """Seconds for which requests fail instead of waiting for a slot; 0 if there is no such pause."""
    return _left(document, now, "refused_until")


def _left(document: Document, now: float, name: str) -> float:
    left = document.get(name, 0.0) - now
    if left > LONGEST_PAUSE_SECONDS + CLOCKS_SECONDS:
        return 0.0  # set by a clock that was ahead: no pause is so long
    return min(max(left, 0.0), LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """A limit's status: slots taken of `requests`, and seconds until a pause ends."""

    scope: str
    taken: int
    requests: int
    paused_for: float


class Limiter:
    """One limit in a shared store. `sleep` waits; it may raise to end the wait."""

    def __init__(self, state: SharedState, scope: str, rate: Rate, sleep: Callable[[float], None]) -> None:
        self._state, self.scope, self.rate, self._sleep = state, scope, rate, sleep

    def acquire(self) -> str:
        """Wait for a slot and return its id, for `answered` or `cancel`; raises `LongPauseError` in a long pause."""
        slot = uuid.uuid4().hex[:16]
        while True:
            wait, refused = self._state.change(
                self.scope, lambda d, now: (take_slot(d, now, self.rate, slot), refused_for(d, now))
            )
            if refused:
                raise LongPauseError(
                    f"{self.scope}: the service has asked for a pause of hours; the next request is sent "
                    f"in {refused / 60:.0f} minutes. Retry failed days later; a lower requests_per_minute may avoid it."
                )
            if not wait:
                return slot
            # Jitter keeps the processes that wait for one slot from waking in step.
            self._sleep(wait + random.uniform(0, 0.02))  # noqa: S311 - no secret

    def answered(self, slot: str) -> None:
        """Record that a slot's answer began to arrive, or that its request failed."""
        self._state.change(self.scope, lambda d, now: give_answer(d, now, slot))

    def cancel(self, slot: str) -> None:
        """Give back a slot whose request was not sent."""
        self._state.change(self.scope, lambda d, now: give_back(d, now, slot))

    def pause(self, seconds: float, *, refuse: bool = False) -> None:
        """Make the requests of all processes wait for `seconds`, or with `refuse` fail."""
        self._state.change(self.scope, lambda d, now: pause_all(d, now, seconds, refuse))

    def status(self) -> LimitStatus:
        """The limit's status, read without a lock."""
        document, now = self._state.read(self.scope)
        taken = len(counting(document, now, self.rate))
        return LimitStatus(self.scope, taken, self.rate.requests, paused_for(document, now))
