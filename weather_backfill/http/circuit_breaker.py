"""The circuit breaker of a service, shared by all processes of its runs.

*Closed*: requests pass. After `threshold` failures in a row it is *open*: no request is sent for `cooldown` seconds.
Then it is *half-open*: one request goes through as a probe; its success closes the breaker, its failure opens
it for twice as long (up to `longest`).

A request that meets an open breaker waits while the outage is younger than `patience`, so that a hiccup does not
cost a day; after that it fails at once, so that thirty days of an API that is down fail in seconds, not
hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from weather_backfill.http.shared_state.base import CLOCKS_SECONDS, Document, SharedState
from weather_backfill.model.errors import NotAskedError
from weather_backfill.model.partitions import UTC

BREAKERS = "breaker:"
"""The prefix of circuit breakers' scopes."""
_POLL_SECONDS = 0.25


class BreakerOpenError(NotAskedError):
    """The circuit breaker is open after too many failures; no request was sent."""


class BreakerState(StrEnum):
    """The state of a circuit breaker: it passes, refuses or probes with the next request."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """The limits of a circuit breaker.

    It opens after `threshold` failures in a row. In seconds: `cooldown` is how long it is open at first, `longest` how
    long at most; requests wait for it while the outage is younger than `patience`; a probe has `probe` to end.
    """

    threshold: int = 8
    cooldown: float = 30.0
    longest: float = 300.0
    patience: float = 120.0
    probe: float = 600.0


_USUAL = BreakerRules()


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A circuit breaker's status: state, failures in a row, start of the outage and next try (UTC), last failure."""

    scope: str
    state: BreakerState
    failures: int
    since: datetime | None
    until: datetime | None
    last_error: str | None


def breaker_scope(service: str, host: str) -> str:
    """The scope of a service's breaker, one per host: a tenant's own server that is down does not stop the others."""
    return f"{BREAKERS}{service}@{host}"


def admit(document: Document, now: float, rules: BreakerRules) -> float | None:
    """Admit a request (0, perhaps as the probe), or return the seconds to wait, or `None` to give up."""
    forget_false_times(document, now, rules)
    since = document.get("since")
    if since is None:
        return 0.0
    if (until := document.get("until", 0.0)) > now:
        return until - now if until - since <= rules.patience else None
    if document.get("probe_until", 0.0) > now:
        return _POLL_SECONDS if now - since <= rules.patience else None
    document["probe_until"] = now + rules.probe
    return 0.0


def forget_false_times(document: Document, now: float, rules: BreakerRules) -> None:
    """Forget an outage, or a probe, that a clock which was ahead has put further ahead than the rules ever do."""
    if document.get("until", 0.0) > now + rules.longest + CLOCKS_SECONDS:
        document.clear()
    elif document.get("probe_until", 0.0) > now + rules.probe + CLOCKS_SECONDS:
        del document["probe_until"]


def forget_probe(document: Document, now: float) -> None:
    """Free the probe's place: it ended without showing whether the service is up."""
    document.pop("probe_until", None)


def succeeded(document: Document, now: float) -> None:
    """Close the breaker: the service answered."""
    document.clear()


def failed(document: Document, now: float, rules: BreakerRules, error: str) -> None:
    """Count a failure of the service, and open the breaker at the threshold or after a failed probe."""
    forget_false_times(document, now, rules)
    if document.get("since") is not None and document.get("until", 0.0) > now:
        return  # sent before the breaker opened: it adds nothing
    document["failures"] = document.get("failures", 0) + 1
    document["last_error"] = error[:300]
    document.pop("probe_until", None)
    if document.get("since") is None:
        if document["failures"] < rules.threshold:
            return
        document["since"], document["trips"] = now, 0
    else:
        document["trips"] = min(document.get("trips", 0) + 1, 20)
    document["until"] = now + min(rules.cooldown * 2 ** document["trips"], rules.longest)


def status_of(document: Document, now: float, scope: str, rules: BreakerRules = _USUAL) -> BreakerStatus:
    """The status in a breaker's document."""
    forget_false_times(document := dict(document), now, rules)
    since, until = document.get("since"), document.get("until")
    state = BreakerState.CLOSED
    if since is not None:
        state = BreakerState.OPEN if until and until > now else BreakerState.HALF_OPEN
    return BreakerStatus(
        scope, state, document.get("failures", 0), _time(since), _time(until), document.get("last_error")
    )


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


class Breaker:
    """One circuit breaker in a shared store. `sleep` waits; it may raise to end the wait."""

    def __init__(self, state: SharedState, scope: str, rules: BreakerRules, sleep: Callable[[float], None]) -> None:
        self._state, self.scope, self._rules, self._sleep = state, scope, rules, sleep

    def wait(self) -> None:
        """Wait until a request may be sent; raises `BreakerOpenError` if that would take too long."""
        while True:
            if self._state.read(self.scope)[0].get("since") is None:
                return  # the usual case takes no lock
            seconds = self._state.change(self.scope, lambda d, now: admit(d, now, self._rules))
            if seconds is None:
                raise BreakerOpenError(self._refusal())
            if not seconds:
                return
            self._sleep(seconds)

    def check(self) -> None:
        """Raise `BreakerOpenError` if `wait` would raise now; does not become the probe."""
        document, now = self._state.read(self.scope)
        if admit(document, now, self._rules) is None:
            raise BreakerOpenError(self._refusal())

    def release(self) -> None:
        """Record a request that ended without showing whether the service is up: a missing key, a cancelled run."""
        if self._state.read(self.scope)[0].get("probe_until"):
            self._state.change(self.scope, forget_probe)

    def success(self) -> None:
        """Record that the service answered."""
        if self._state.read(self.scope)[0]:
            self._state.change(self.scope, succeeded)

    def failure(self, error: str) -> None:
        """Record that the service failed; `error` must hold no secret."""
        self._state.change(self.scope, lambda d, now: failed(d, now, self._rules, error))

    def status(self) -> BreakerStatus:
        """The breaker's status, read without a lock."""
        return status_of(*self._state.read(self.scope), self.scope, self._rules)

    def _refusal(self) -> str:
        status = self.status()
        since = f"{status.since:%Y-%m-%d %H:%M:%S} UTC" if status.since else "just now"
        until = f"{status.until:%H:%M:%S} UTC" if status.until else "soon"
        return (
            f"{self.scope} is open: the service has been failing since {since} (last: {status.last_error}). "
            f"It was not asked again; the next try is at {until}. Retry the failed days when it is back."
        )
