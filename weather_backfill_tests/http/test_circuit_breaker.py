from __future__ import annotations

from datetime import UTC, datetime

import pytest

from weather_backfill.http.circuit_breaker import Breaker, BreakerOpenError, BreakerRules, BreakerState
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill_tests.fakes import FakeTime

RULES = BreakerRules(threshold=3, cooldown=30, longest=100, patience=50, probe=20)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def breakers(time: FakeTime) -> list[Breaker]:
    state = MemoryState(time.clock)
    return [Breaker(state, "breaker:aceiot@host", RULES, time.sleep) for _ in range(2)]


def fail(breaker: Breaker, times: int = 3) -> None:
    for _ in range(times):
        breaker.failure("503 down")


def test_failures_in_a_row_open_it_for_every_process(breakers: list[Breaker], time: FakeTime) -> None:
    one, other = breakers
    fail(one, 2)
    assert one.status().state is BreakerState.CLOSED
    other.failure("503 down")
    status = one.status()
    assert (status.state, status.failures, status.last_error) == (BreakerState.OPEN, 3, "503 down")
    assert status.until
    assert status.since
    assert (status.until - status.since).total_seconds() == 30


def test_a_success_between_failures_keeps_it_closed(breakers: list[Breaker]) -> None:
    fail(breakers[0], 2)
    breakers[1].success()
    fail(breakers[0], 2)
    assert breakers[0].status().state is BreakerState.CLOSED


def test_after_the_cool_down_one_probe_goes_and_the_others_wait(breakers: list[Breaker], time: FakeTime) -> None:
    one, other = breakers
    fail(one)
    one.wait()  # waits out the cool-down and is the probe
    assert time.slept == [30]
    assert one.status().state is BreakerState.HALF_OPEN
    other.wait()  # the probe never reported: after its time another goes
    assert sum(time.slept) == pytest.approx(50, abs=0.5)


def test_a_probe_that_succeeds_closes_it(breakers: list[Breaker], time: FakeTime) -> None:
    fail(breakers[0])
    breakers[0].wait()
    breakers[0].success()
    slept = len(time.slept)
    breakers[1].wait()
    assert len(time.slept) == slept
    assert breakers[1].status().state is BreakerState.CLOSED


def test_a_probe_that_fails_opens_it_for_longer_and_then_nobody_waits(breakers: list[Breaker], time: FakeTime) -> None:
    one, other = breakers
    fail(one)
    one.wait()
    one.failure("503 still down")
    status = one.status()
    assert status.until
    assert status.until.timestamp() - time.now == 60
    with pytest.raises(BreakerOpenError, match=r"failing since 2027-01-15.*still down.*not asked"):
        other.check()
    with pytest.raises(BreakerOpenError):
        other.wait()
    time.now += 61
    other.check()
    other.wait()  # the next probe
    other.failure("x")
    assert other.status().until.timestamp() - time.now == 100  # type: ignore[union-attr]


def test_a_probe_without_news_lets_another_go(breakers: list[Breaker], time: FakeTime) -> None:
    fail(breakers[0])
    breakers[0].wait()
    breakers[0].release()
    slept = len(time.slept)
    breakers[1].wait()
    assert len(time.slept) == slept


def test_what_was_sent_before_it_opened_does_not_open_it_for_longer(breakers: list[Breaker]) -> None:
    fail(breakers[0], 10)
    status = breakers[0].status()
    assert status.failures == 3


YEAR = 365 * 86_400.0


def test_an_outage_of_a_clock_that_was_ahead_keeps_nobody_waiting(breakers: list[Breaker], time: FakeTime) -> None:
    one, other = breakers
    time.now += YEAR
    fail(one)
    time.now -= YEAR
    assert other.status().state is BreakerState.CLOSED
    other.check()
    other.wait()
    assert time.slept == []
    fail(other)
    assert other.status().state is BreakerState.OPEN, "what fails now is counted"
    assert other.status().since == datetime.fromtimestamp(time.now, UTC)


def test_a_failure_now_is_counted_over_an_outage_of_a_clock_that_was_ahead(
    breakers: list[Breaker], time: FakeTime
) -> None:
    time.now += YEAR
    fail(breakers[0])
    time.now -= YEAR
    fail(breakers[1])
    assert breakers[1].status().since == datetime.fromtimestamp(time.now, UTC)


def test_a_probe_of_a_clock_that_was_ahead_is_given_up(breakers: list[Breaker], time: FakeTime) -> None:
    one, other = breakers
    fail(one)
    time.now += YEAR
    one.wait()  # the probe, which dies
    time.now -= YEAR - 31
    other.wait()
    assert time.slept == []


def test_clocks_that_differ_a_little_forget_no_outage(breakers: list[Breaker], time: FakeTime) -> None:
    for _ in range(5):
        fail(breakers[0], 1 if time.slept else 3)
        time.sleep(RULES.longest)
    fail(breakers[0], 1)
    time.now -= 1
    assert breakers[1].status().state is BreakerState.OPEN
