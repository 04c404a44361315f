"""Reading ahead of a consumer that stops."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import FrameType

import pytest

from weather_backfill.model.days import DayFailure
from weather_backfill.util.day_stream import each_day

DAYS = [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)]


class CancelledError(BaseException):
    """As a run's signal raises it, wherever the run is."""


@contextmanager
def cancelled_in(seconds: float) -> Iterator[None]:
    def cancel(_number: int, _frame: FrameType | None) -> None:
        raise CancelledError

    before = signal.signal(signal.SIGALRM, cancel)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_days_come_in_order_and_a_failed_one_as_its_failure() -> None:
    def read(day: date) -> date:
        if day == DAYS[1]:
            raise ValueError("broken")
        return day

    first, second, third = each_day(DAYS, read)
    assert (first, third) == (DAYS[0], DAYS[2])
    assert isinstance(second, DayFailure)
    assert str(second.error) == "broken"


def test_a_cancel_does_not_wait_for_the_day_under_way() -> None:
    """The reader is in a long wait, which `stop` ends, as closing a client ends its pauses."""
    stopped, begun = threading.Event(), list[date]()

    def read(day: date) -> date:
        begun.append(day)
        assert day == DAYS[0] or stopped.wait(60), "nobody has ended the wait"
        return day

    started, seen = time.monotonic(), list[date | DayFailure]()
    with pytest.raises(CancelledError), cancelled_in(0.5):
        seen.extend(each_day(DAYS, read, stopped.set))
    assert time.monotonic() - started < 20
    assert begun == DAYS[:2], "the third day was not begun"
