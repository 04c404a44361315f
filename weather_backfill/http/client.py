"""The polite HTTP client of all HTTP sources.

A request passes the circuit breaker, takes a slot of the shared rate limit, and is sent with limits on the time to
connect, to read and in total, and on the size of the answer. Transient failures (408, 5xx, broken connections) are
retried after 2, 4 and 8 s; 429 makes every process wait for as long as the server asks; permanent ones (401, 403,
404, any other 4xx) are raised at once, with what to check.

The secret exists only in the header of the request in flight: it is resolved from its reference for each request and
redacted from every message that could carry it.
"""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import httpx
import tenacity

from weather_backfill.http.auth import BearerAuth
from weather_backfill.http.body import ASKED_ENCODING, read_body
from weather_backfill.http.circuit_breaker import Breaker, BreakerRules, breaker_scope
from weather_backfill.http.rate_limit import LONGEST_PAUSE_SECONDS, Limiter, LongPauseError, Rate, limit_scope
from weather_backfill.http.retry_after import parse_retry_after
from weather_backfill.http.shared_state.base import SharedState
from weather_backfill.model.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotAskedError,
    NotFoundError,
    PermanentError,
    SourceUnavailableError,
)
from weather_backfill.security.secrets import resolve_secret
from weather_backfill.security.tenant_policy import check_address, check_url

if TYPE_CHECKING:
    import httpcore  # the transport below httpx

_RETRIED = frozenset({408, 425, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529, 598, 599})
_QUOTED = 300  # characters of an answer's body that an error quotes


@dataclass(frozen=True, slots=True)
class Policy:
    """Time-outs, retries and limits of a client. Times in seconds, sizes in bytes."""

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    total_timeout: float = 300.0
    retry_waits: tuple[float, ...] = (2.0, 4.0, 8.0)
    jitter: float = 0.5  # a wait is prolonged by up to this share
    pause_without_retry_after: float = 30.0
    most_pauses: int = 20  # answers 429 to one request before it fails
    max_body: int = 256 << 20  # as sent, and unpacked
    connections: int = 8
    lifetime: float | None = None  # after this the client starts no request and no wait
    breaker: BreakerRules = field(default_factory=BreakerRules)


def hurried(policy: Policy) -> Policy:
    """The same policy for callers that must not block: one attempt, short time-outs, a deadline after 20 s."""
    breaker = replace(policy.breaker, patience=0.0)
    return replace(
        policy, connect_timeout=3.0, read_timeout=5.0, total_timeout=20.0, lifetime=20.0, retry_waits=(),
        most_pauses=1, breaker=breaker,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status, headers with lower-case names, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Request:
    """The query parameters and headers of a request."""

    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Usage:
    """Counters of a client: requests tried again, and seconds that all its threads waited for the rate limit."""

    retries: int = 0
    limiter_wait: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _reported: tuple[int, float] = (0, 0.0)

    def add(self, retries: int = 0, limiter_wait: float = 0.0) -> None:
        """Add to the counters."""
        with self._lock:
            self.retries += retries
            self.limiter_wait += limiter_wait

    def since_last(self) -> tuple[int, float]:
        """Retries and seconds since the last call: those of the day that was just read."""
        with self._lock:
            now, before = (self.retries, self.limiter_wait), self._reported
            self._reported = now
        return now[0] - before[0], now[1] - before[1]


class PoliteClient:
    """An HTTP client for one service at one base URL, safe to use from several threads.

    `blames_key(status, body)` tells whether an answer may mean an unknown key; such answers are taken for that until
    the key has been accepted once, because some services answer 500 to a wrong key. `private`: loopback and private
    addresses may be connected to; link-local ones, where metadata endpoints are, never. Raises `ConfigurationError`
    for a `base_url` that is invalid or not allowed.
    """

    def __init__(
        self,
        service: str,
        base_url: str,
        *,
        state: SharedState,
        tenant: str | None = None,
        rate: Rate,
        auth: BearerAuth | None = None,
        policy: Policy | None = None,
        blames_key: Callable[[int, bytes], bool] = lambda status, body: False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        transport: httpx.BaseTransport | None = None,
        private: bool = True,
    ) -> None:
        check_url(base_url, private=private)
        self._private = private
        self.service, self.base_url = service, base_url.rstrip("/")
        self._policy, self._auth, self._blames_key, self._clock = (
            policy or Policy(), auth, blames_key, clock
        )  # fmt: skip
        self._ends = self._clock() + self._policy.lifetime if self._policy.lifetime else float("inf")
        self._closed = threading.Event()
        self._deadline = threading.local()  # `at`: the time by which the current answer must be complete
        self._key_accepted = False
        self.usage = Usage()
        self._nap: Callable[[float], object] = sleep or self._closed.wait
        host = urlsplit(self.base_url).netloc
        self.limiter = Limiter(state, limit_scope(service, host, tenant), rate, self._wait)
        self.breaker = Breaker(state, breaker_scope(service, host), self._policy.breaker, self._wait)
        p = self._policy
        self._http = httpx.Client(
            timeout=httpx.Timeout(p.read_timeout, connect=p.connect_timeout, pool=p.total_timeout),
            limits=httpx.Limits(max_connections=p.connections, max_keepalive_connections=p.connections),
            transport=transport,
            headers={"User-Agent": "weather-backfill", "Accept": "application/json", **ASKED_ENCODING},
            follow_redirects=False,  # a redirect would carry the key to another host
            # A proxy of the environment would resolve names where `_guard` does not see it.
            trust_env=False,
            verify=httpx.create_ssl_context(),  # with SSL_CERT_FILE and SSL_CERT_DIR, for a company's own authority
        )

    def __repr__(self) -> str:
        return f"PoliteClient({self.service!r}, {self.base_url!r})"

    def close(self) -> None:
        """End every wait and every connection; requests in flight fail."""
        self._closed.set()
        self._http.close()

    def get(
        self, path: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """GET `path` (quoted, below the base URL) and return its whole answer (2xx, or 304 to a condition).

        Raises `SourceUnavailableError` after the last attempt, `NotAskedError` if no (further) request was sent, and
        `AccessDeniedError`, `NotFoundError` or `PermanentError` for permanent failures.
        """
        waits = self._policy.retry_waits
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda e: isinstance(e, SourceUnavailableError) and not isinstance(e, NotAskedError)
            ),
            stop=tenacity.stop_after_attempt(len(waits) + 1),
            # tenacity also computes a wait after the last attempt, where it stops
            wait=lambda retry: self._jittered((*waits, 0.0)[retry.attempt_number - 1]),
            sleep=self._wait,
            before_sleep=lambda _: self.usage.add(retries=1),
            reraise=True,
        )
        try:
            return retrying(self._attempt, path, _Request(dict(params or {}), dict(headers or {})))
        except _SuspectKeyError as error:
            raise AccessDeniedError(
                f"{self._name(path)}: {error} to each of {len(waits) + 1} tries, and no request with this "
                f"key has succeeded: {self.service} answers so to an unknown key. Check "
                f"{self._key_name()}; if the key is right, the service itself fails."
            ) from None

    def _attempt(self, path: str, request: _Request) -> Answer:
        for _ in range(self._policy.most_pauses):
            answer = self._send(path, request)
            if answer.status != 429:
                return self._checked(path, answer)
            self.limiter.pause(self._pause_of(path, answer))
        raise SourceUnavailableError(
            f"{self._name(path)}: 429 Too Many Requests {self._policy.most_pauses} times in a row, although "
            "every wait it asked for was kept. Lower requests_per_minute, and see what else uses this key."
        )

    def _send(self, path: str, request: _Request) -> Answer:
        self._check_time(0.0)
        self.breaker.check()
        started = self._clock()
        slot = self.limiter.acquire()
        self.usage.add(limiter_wait=max(self._clock() - started, 0.0))
        try:
            self.breaker.wait()
        except BaseException:
            self.limiter.cancel(slot)
            raise
        counted = False

        def answered() -> None:
            nonlocal counted
            if not counted:
                counted = True
                self.limiter.answered(slot)

        try:
            answer = self._exchange(path, request, answered)
        except httpx.HTTPError as error:
            self._fail(path, f"{type(error).__name__}: {error}")
        except BaseException:
            self.breaker.release()
            raise
        finally:
            answered()
        return self._report(path, answer)

    def _exchange(self, path: str, request: _Request, answered: Callable[[], None]) -> Answer:
        started = self._clock()
        limit = min(self._policy.total_timeout, self._ends - started)
        self._deadline.at = started + limit
        auth = self._auth or httpx.USE_CLIENT_DEFAULT
        with self._http.stream(
            "GET",
            f"{self.base_url}{path}",
            params=request.params or None,
            headers=request.headers,
            auth=auth,
            extensions={"trace": self._guard},
        ) as response:
            answered()

            def in_time(size: int) -> None:
                if self._clock() - started > limit:
                    raise httpx.ReadTimeout(f"not complete after {limit:.3g} s ({size} bytes came)")

            body = read_body(response, self._policy.max_body, in_time, self._name(path))
            return Answer(response.status_code, dict(response.headers), body)

    def _guard(self, event: str, info: Mapping[str, Any]) -> None:
        """Check the address of each new connection before anything is sent: the name may resolve anew by then."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._limit_reads(info["return_value"])
        if event == "connection.connect_tcp.complete":
            host = str(info["return_value"].get_extra_info("server_addr")[0]).split("%")[0]
            check_address(ipaddress.ip_address(host), self.base_url, private=self._private)

    def _limit_reads(self, stream: httpcore.NetworkStream) -> None:
        """End a connection's reads at the answer's deadline: headers that trickle in restart the read time-out."""
        read = stream.read

        def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
            left = max(self._deadline.at - self._clock(), 0.001)
            return read(max_bytes, left if timeout is None else min(timeout, left))

        stream.read = read_in_time  # type: ignore[method-assign]

    def _report(self, path: str, answer: Answer) -> Answer:
        """Report an answer to the circuit breaker, and return it."""
        if answer.status not in _RETRIED:
            self.breaker.success()
            self._key_accepted |= answer.status < 300
        elif self._suspects_key(answer):
            self.breaker.release()  # one tenant's wrong key is no outage of the service
        else:
            self.breaker.failure(f"{answer.status} {self._quote(answer)}")
            if answer.status == 503 and "retry-after" in answer.headers:
                self.limiter.pause(self._pause_of(path, answer))
        return answer

    def _checked(self, path: str, answer: Answer) -> Answer:
        """Return a successful answer; raises the error that any other stands for."""
        status = answer.status
        if 200 <= status < 300 or status == 304:
            return answer
        message = f"{status} {self._quote(answer)}"
        request = self._name(path)
        if self._suspects_key(answer):
            raise _SuspectKeyError(message)
        if status in _RETRIED:
            raise SourceUnavailableError(f"{request}: {message}. The service failed; retry the failed days later.")
        if status == 401:
            raise AccessDeniedError(f"{request}: {message}. The key was not accepted: check {self._key_name()}.")
        if status == 403:
            raise AccessDeniedError(
                f"{request}: {message}. The key does not reach this: check the name in the address, and what "
                f"{self._key_name()} is allowed to read."
            )
        if status == 404:
            raise NotFoundError(f"{request}: {message}. Check the names in the address and base_url.")
        if 300 <= status < 400:
            raise PermanentError(
                f"{request}: {status}, a redirect to {self.redact(answer.headers.get('location', '?'))[:200]}. "
                "Redirects are not followed, as they would carry the key elsewhere: set base_url to the "
                "final address."
            )
        raise PermanentError(f"{request}: {message}. The service does not accept this request.")

    def _suspects_key(self, answer: Answer) -> bool:
        return not self._key_accepted and answer.status >= 400 and self._blames_key(answer.status, answer.body)

    def _fail(self, path: str, text: str) -> NoReturn:
        if self._closed.is_set():
            self.breaker.release()
            raise SourceUnavailableError(f"{self._name(path)}: cancelled.") from None
        message = self.redact(" ".join(text.split()))[:_QUOTED]
        self.breaker.failure(message)
        # Without the cause: httpx and h11 quote headers in some errors, and tracebacks print causes.
        raise SourceUnavailableError(
            f"{self._name(path)}: {message}. The service did not answer properly; check base_url and the "
            "network, or retry the failed days later."
        ) from None

    def _pause_of(self, path: str, answer: Answer) -> float:
        """The pause in seconds that an answer asks for; raises `LongPauseError` if it is longer than the longest."""
        seconds = parse_retry_after(answer.headers.get("retry-after"), answer.headers.get("date"))
        if seconds is not None and seconds > LONGEST_PAUSE_SECONDS:
            self.limiter.pause(LONGEST_PAUSE_SECONDS, refuse=True)
            raise LongPauseError(
                f"{self._name(path)}: {answer.status}, and it asks to wait {seconds / 3600:.1f} hours. Retry "
                "the failed days after that; a lower requests_per_minute may avoid it."
            )
        return self._policy.pause_without_retry_after if seconds is None else seconds

    def redact(self, text: str) -> str:
        """Replace the secret in a text by `***`."""
        if self._auth is None:
            return text
        try:
            secret = resolve_secret(self._auth.reference).get_secret_value()
        except ConfigurationError:
            return text
        for form in {secret, secret.strip(), repr(secret)[1:-1], repr(secret.encode())[2:-1]}:
            if form:
                text = text.replace(form, "***")
        return text

    def _quote(self, answer: Answer) -> str:
        text = " ".join(answer.body[: _QUOTED * 4].decode("utf-8", "replace").split())
        return self.redact(text)[:_QUOTED] or "(no text)"

    def _name(self, path: str) -> str:
        return f"GET {self.base_url}{path}"

    def _key_name(self) -> str:
        return f"the key in {self._auth.reference}" if self._auth else "whether a key is needed"

    def _jittered(self, wait: float) -> float:
        return wait * (1 + random.uniform(0, self._policy.jitter))  # noqa: S311 - no secret

    def _check_time(self, seconds: float) -> None:
        if self._clock() + seconds > self._ends:
            raise SourceUnavailableError(
                f"{self.service}: it takes longer than the {self._policy.lifetime:g} s that one poll may take."
            )

    def _wait(self, seconds: float) -> None:
        self._check_time(seconds)
        if self._nap(seconds):  # True: the client was closed
            raise SourceUnavailableError(f"{self.service}: cancelled while waiting.")


class _SuspectKeyError(SourceUnavailableError):
    """An answer that may mean a wrong key: retried like a 5xx, reported as a wrong key after the last attempt."""
