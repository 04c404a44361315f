from __future__ import annotations

import gzip
import logging
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat
from time import monotonic
from typing import Any

import httpx
import pytest

from weather_backfill.http.auth import BearerAuth
from weather_backfill.http.circuit_breaker import BreakerOpenError, BreakerRules, BreakerState
from weather_backfill.http.client import Policy, PoliteClient, hurried
from weather_backfill.http.rate_limit import LongPauseError, Rate
from weather_backfill.http.retry_after import parse_retry_after
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill.model.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotFoundError,
    PermanentError,
    SourceUnavailableError,
)
from weather_backfill_tests.fakes import FakeTime

SECRET = "s3cr3t-Value-77"
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_TEST_KEY", SECRET)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def answers(*responses: Any) -> Handler:
    """The responses in turn, the last one for ever; exceptions are raised."""
    coming = chain(responses, repeat(responses[-1]))

    def handle(request: httpx.Request) -> httpx.Response:
        response = next(coming)
        if isinstance(response, Exception):
            raise response
        if isinstance(response, int):
            return httpx.Response(response, json={"message": f"answer {response}"})
        return response

    return handle


def client(handler: Handler | None, time: FakeTime, **options: Any) -> PoliteClient:
    settings: dict[str, Any] = {
        "state": MemoryState(time.clock),
        "rate": Rate(1000),
        "auth": BearerAuth("${HTTP_TEST_KEY}"),
        "policy": Policy(jitter=0, breaker=BreakerRules(threshold=100)),
        "clock": time.clock,
        "sleep": time.sleep,
        "transport": httpx.MockTransport(handler) if handler else None,
    }
    base_url = options.pop("base_url", "http://api.example/base")
    return PoliteClient("test", base_url, **(settings | options))


def test_a_good_answer_comes_whole_with_the_key_in_its_header(time: FakeTime) -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"a": 1})

    answer = client(handle, time).get("/x%2Fy", {"q": "1+2"})
    assert answer.body == b'{"a":1}'
    assert str(seen[0].url) == "http://api.example/base/x%2Fy?q=1%2B2"
    assert seen[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    "failure",
    [
        408,
        500,
        502,
        503,
        504,
        httpx.ConnectError("refused"),
        httpx.ReadError("cut"),
        httpx.ReadTimeout("slow"),
    ],
)
def test_what_may_pass_is_tried_again_after_2_4_and_8_seconds(failure: Any, time: FakeTime) -> None:
    assert client(answers(failure, failure, failure, 200), time).get("/x").status == 200
    assert time.slept == [2, 4, 8]


def test_jitter_only_lengthens(time: FakeTime) -> None:
    policy = Policy(jitter=0.5, breaker=BreakerRules(threshold=100))
    client(answers(500, 500, 500, 200), time, policy=policy).get("/x")
    assert all(base <= wait <= base * 1.5 for base, wait in zip([2, 4, 8], time.slept, strict=True))


def test_after_four_tries_the_error_says_what_came(time: FakeTime) -> None:
    with pytest.raises(SourceUnavailableError, match=r"GET http://api.example/base/x: 503 .*answer 503.*retry"):
        client(answers(503), time).get("/x")
    assert time.slept == [2, 4, 8]


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, AccessDeniedError, r"check the key in \$\{HTTP_TEST_KEY\}"),
        (403, AccessDeniedError, "allowed to read"),
        (404, NotFoundError, "Check the names"),
        (400, PermanentError, "does not accept"),
        (422, PermanentError, "does not accept"),
        (302, PermanentError, "redirect"),
    ],
)
def test_what_will_not_pass_is_said_at_once(status: int, kind: type[Exception], says: str, time: FakeTime) -> None:
    with pytest.raises(kind, match=says):
        client(answers(status), time).get("/x")
    assert time.slept == []


def test_a_500_that_may_mean_a_wrong_key_is_reported_as_one_until_the_key_was_accepted(
    time: FakeTime,
) -> None:
    def blames(status: int, body: bytes) -> bool:
        return status == 500

    wrong = client(answers(500), time, blames_key=blames)
    with pytest.raises(AccessDeniedError, match=r"4 tries.*Check the key in \$\{HTTP_TEST_KEY\}"):
        wrong.get("/x")
    assert wrong.breaker.status().failures == 0
    good = client(answers(200, 500), time, blames_key=blames)
    good.get("/x")
    with pytest.raises(SourceUnavailableError, match="500"):
        good.get("/x")


def test_retry_after_makes_every_process_wait(time: FakeTime) -> None:
    state = MemoryState(time.clock)
    told = client(answers(httpx.Response(429, headers={"Retry-After": "33"}), 200), time, state=state)
    other = client(answers(200), time, state=state)
    started = time.now
    told.limiter.pause(0)
    assert told.get("/x").status == 200
    assert 33 <= time.now - started < 34
    told.limiter.pause(20)
    started = time.now
    assert other.get("/y").status == 200
    assert 20 <= time.now - started < 21


def test_retry_after_as_a_date_is_measured_from_the_servers_clock(time: FakeTime) -> None:
    server = datetime(2020, 1, 1, tzinfo=UTC)
    headers = {
        "Date": format_datetime(server, usegmt=True),
        "Retry-After": format_datetime(server + timedelta(seconds=40), usegmt=True),
    }
    started = time.now
    client(answers(httpx.Response(429, headers=headers), 200), time).get("/x")
    assert 40 <= time.now - started < 42


def test_an_absurd_retry_after_fails_the_request_and_pauses_the_service(time: FakeTime) -> None:
    one = client(answers(httpx.Response(429, headers={"Retry-After": "86400"})), time)
    with pytest.raises(SourceUnavailableError, match=r"24\.0 hours"):
        one.get("/x")
    assert one.limiter.status().paused_for == 3600


def test_who_wants_to_be_left_alone_for_hours_is_and_nobody_waits(time: FakeTime) -> None:
    shared, asked = MemoryState(time.clock), list[str]()

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(429, headers={"Retry-After": "86400"}) if len(asked) == 1 else httpx.Response(200)

    one, started = client(handle, time, state=shared), time.now
    for _ in range(3):
        with pytest.raises(LongPauseError):
            one.get("/x")
    assert (len(asked), time.now - started) == (1, 0)
    elsewhere = client(handle, time, state=shared, base_url="http://other.example")
    assert elsewhere.get("/x").status == 200, "another server's word is no reason to wait"
    time.now += 3601
    assert one.get("/x").status == 200


def test_429_for_ever_ends_with_an_error(time: FakeTime) -> None:
    with pytest.raises(SourceUnavailableError, match="requests_per_minute"):
        client(answers(429), time, policy=Policy(retry_waits=())).get("/x")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        (None, None),
    ],
)
def test_parse_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds


def test_a_retry_after_in_the_past_is_no_wait() -> None:
    assert parse_retry_after("Wed, 01 Jan 2020 00:00:00 GMT", "Wed, 01 Jan 2020 01:00:00 GMT") == 1.0
    assert parse_retry_after("Wed, 99 Foo 2020", None) is None


def test_the_breaker_opens_shows_and_closes_again(time: FakeTime) -> None:
    policy = Policy(jitter=0, breaker=BreakerRules(threshold=4, cooldown=30, patience=20))
    one = client(answers(503, 503, 503, 503, 200), time, policy=policy)
    with pytest.raises(SourceUnavailableError):
        one.get("/x")
    assert one.breaker.status().state is BreakerState.OPEN
    with pytest.raises(BreakerOpenError, match=r"breaker:test@api\.example is open"):
        one.get("/x")
    assert one.limiter.status().taken == 4  # a refused request takes no slot
    time.now += 31
    assert one.get("/x").status == 200
    assert one.breaker.status().state is BreakerState.CLOSED


def test_an_answer_that_is_too_large_is_refused(time: FakeTime) -> None:
    big = httpx.Response(200, content=b"x" * (2 << 20))
    with pytest.raises(PermanentError, match="larger than 1 MB"):
        client(answers(big), time, policy=Policy(max_body=1 << 20)).get("/x")


def packed_answer(body: bytes, encoding: str = "gzip", status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


SMALL = Policy(retry_waits=(), jitter=0, max_body=50_000)


@pytest.mark.parametrize("policy", [SMALL, hurried(SMALL)], ids=["patient", "hurried"])
def test_an_answer_that_unpacks_beyond_the_limit_is_refused_before_it_grows(policy: Policy, time: FakeTime) -> None:
    bomb = gzip.compress(bytes(8 << 20), 9)
    assert len(bomb) < policy.max_body, "small enough on the wire"
    with raw_server(packed_answer(bomb)) as url:
        one = client(None, time, base_url=url, policy=policy)
        tracemalloc.start()
        with pytest.raises(PermanentError, match="larger than 50000 bytes"):
            one.get("/x")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 4 << 20
        one.close()


def test_one_encoding_is_asked_for_and_unpacked(time: FakeTime) -> None:
    seen: list[httpx.Request] = []
    body = gzip.compress(b"[1,") + gzip.compress(b"2]")

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(body))

    assert client(handle, time).get("/x").body == b"[1,2]"
    assert seen[0].headers["accept-encoding"] == "gzip"


def test_an_encoding_that_was_not_asked_for_is_refused(time: FakeTime) -> None:
    for encoding in ("deflate", "gzip, gzip"):
        with raw_server(packed_answer(zlib.compress(b"{}"), encoding)) as url:
            one = client(None, time, base_url=url, policy=SMALL)
            with pytest.raises(PermanentError, match=f"Content-Encoding '{encoding}'.*expected gzip or none"):
                one.get("/x")
            one.close()
    with raw_server(packed_answer(b"?", "deflate", 503)) as url:
        one = client(None, time, base_url=url, policy=SMALL)
        with pytest.raises(SourceUnavailableError, match="503"):  # a failure that may pass stays one
            one.get("/x")
        one.close()


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:20] + b"????" + b[24:], lambda b: b + b"junk"])
def test_a_damaged_encoding_is_never_taken_for_a_whole_answer(damage: Any, time: FakeTime) -> None:
    with raw_server(packed_answer(damage(gzip.compress(bytes(range(256)))))) as url:
        one = client(None, time, base_url=url, policy=SMALL)
        with pytest.raises(SourceUnavailableError, match="gzip"):
            one.get("/x")
        one.close()


def test_an_answer_that_drips_ends_with_the_whole_limit(time: FakeTime) -> None:
    class Drip(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                time.now += 30
                yield b"x"

    with pytest.raises(SourceUnavailableError, match="not complete after 300 s"):
        client(lambda r: httpx.Response(200, stream=Drip()), time, policy=Policy(retry_waits=())).get("/x")


@contextmanager
def raw_server(answer: bytes, drip: bytes = b"") -> Iterator[str]:
    """A server that sends these bytes and closes; with `drip`, sends that over and over until the other end has had
    enough."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                with suppress(OSError):
                    while drip and not over.wait(0.05):
                        connection.sendall(drip)

    over = threading.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"",
        b"junk",
    ],
)
def test_a_cut_answer_is_never_taken_for_a_whole_one(cut: bytes, time: FakeTime) -> None:
    with raw_server(cut) as url:
        options = {"transport": None, "policy": Policy(retry_waits=(1.0,), jitter=0)}
        one = client(None, time, **options)
        one.base_url = url
        with pytest.raises(SourceUnavailableError, match="did not answer properly"):
            one.get("/x")
    assert time.slept == [1]


def test_headers_that_trickle_in_end_with_the_time_of_the_whole_answer(time: FakeTime) -> None:
    policy = Policy(read_timeout=10, total_timeout=1, retry_waits=())
    with raw_server(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x") as url:
        one = client(None, time, policy=policy, clock=monotonic, base_url=url)
        started = monotonic()
        with pytest.raises(SourceUnavailableError, match="ReadTimeout"):
            one.get("/x")
        assert 0.9 < monotonic() - started < 8


def test_an_api_that_is_down_is_said_so(time: FakeTime) -> None:
    with raw_server(b"") as url:
        pass
    one = client(None, time, policy=Policy(retry_waits=()))
    one.base_url = url
    with pytest.raises(SourceUnavailableError, match=r"ConnectError.*check base_url"):
        one.get("/x")


def test_a_key_no_header_can_carry_is_named_and_not_shown(time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_TEST_KEY", SECRET + "\n")
    with pytest.raises(ConfigurationError, match=r"behind \$\{HTTP_TEST_KEY\}.*line break") as error:
        client(answers(200), time).get("/x")
    assert SECRET not in str(error.value)
    monkeypatch.delenv("HTTP_TEST_KEY")
    with pytest.raises(ConfigurationError, match="HTTP_TEST_KEY is not set"):
        client(answers(200), time).get("/x")


def test_the_secret_is_in_no_error_log_or_repr(time: FakeTime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    echo = httpx.Response(401, text=f"bad key {SECRET}")
    for failure in (
        echo,
        httpx.Response(500, text=f"x {SECRET} y"),
        httpx.LocalProtocolError(f"Illegal {SECRET!r}"),
    ):
        one = client(answers(failure), time, policy=Policy(retry_waits=()))
        try:
            one.get("/x")
        except Exception as error:
            chained: BaseException | None = error
            while chained:
                texts += [str(chained), repr(chained)]
                chained = chained.__cause__
        texts += [repr(one), repr(one.breaker.status()), repr(one._auth), repr(vars(one))]
    assert len(texts) > 6
    assert not [t for t in [*texts, caplog.text] if SECRET in t]


def test_closing_ends_a_wait(time: FakeTime) -> None:
    one = client(answers(200), time, sleep=None, rate=Rate(1))
    one.limiter.acquire()
    timer = threading.Timer(0.05, one.close)
    timer.start()
    with pytest.raises(SourceUnavailableError, match="cancelled"):
        one.get("/x")
    timer.join()


def hasty(handler: Handler, time: FakeTime, **options: Any) -> PoliteClient:
    return client(handler, time, policy=hurried(Policy(jitter=0)), **options)


def test_somebody_in_a_hurry_tries_once_and_waits_for_nothing_long(time: FakeTime) -> None:
    with pytest.raises(SourceUnavailableError, match="500"):
        hasty(answers(500, 200), time).get("/x")
    told = httpx.Response(429, headers={"retry-after": "600"})
    chosen = hasty(answers(told, 200), time)
    with pytest.raises(SourceUnavailableError, match="429"):
        chosen.get("/x")
    with pytest.raises(SourceUnavailableError, match="longer than the 20 s that one poll may take"):
        chosen.get("/x")  # everybody was told to wait
    assert time.slept == []


def test_somebody_in_a_hurry_waits_for_a_slot_that_comes_soon_only(time: FakeTime) -> None:
    rate = Rate(1, window=15.0)
    chosen = hasty(answers(200), time, rate=rate)
    assert chosen.get("/x").status == 200
    assert chosen.get("/x").status == 200, "after 15 s"
    with pytest.raises(SourceUnavailableError, match="longer than the 20 s"):
        chosen.get("/x")
    assert 15 <= sum(time.slept) < 16
