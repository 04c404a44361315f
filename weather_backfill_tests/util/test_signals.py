"""A cancellation comes between days, never inside the writing of one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError, raise_execution_interrupts

from weather_backfill.lake.journal import Journal
from weather_backfill.model.partitions import days_between
from weather_backfill.util.signals import interrupts_later
from weather_backfill_tests.platform import START, Platform


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_and_is_not_lost(number: signal.Signals) -> None:
    done = []

    def work() -> None:
        with interrupts_later():
            signal.raise_signal(number)
            done.append("to the end")

    with raise_execution_interrupts():
        with pytest.raises(DagsterExecutionInterruptedError):
            work()
        with pytest.raises(DagsterExecutionInterruptedError):
            signal.raise_signal(number)  # handled as before
    assert done == ["to the end"]


def test_a_day_that_is_being_written_when_the_run_is_cancelled_is_recorded(
    local_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes when the third day is in the lake and in the journal, and nowhere else yet."""
    platform = local_platform
    platform.add_tempest("acme", 6)
    add, seen = Journal.add, []

    def add_and_interrupt(self: Journal, record: Any) -> None:
        add(self, record)
        seen.append(record.key.date)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Journal, "add", add_and_interrupt)
    days = days_between(START, START + timedelta(days=5))
    with platform.instance as instance:
        result = platform.load(instance, days[0], days[-1], assets=["raw_observations"])
    assert not result.success
    assert seen == days[:3]
    assert platform.dates("raw_observations", "acme") == set(seen)
    assert platform.materialized("raw_observations", "acme") == set(seen)
    assert not platform.lake.list("_journal")
