"""The order of a run's days, and what a later try of the run makes of days at which the process died."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import pytest

from weather_backfill.dagster.assets.streaming import skip_finished
from weather_backfill.lake.journal import BEGUN, Journal
from weather_backfill.model.days import Day, DayFailure, DayTable
from weather_backfill.model.errors import ProcessDiedError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util.day_stream import each_day
from weather_backfill_tests.lake.test_journal import journal, written
from weather_backfill_tests.refine.test_windows import raw_table

DAYS = [date(2024, 1, day) for day in range(1, 6)]


class DiedError(BaseException):
    """The process is gone: nothing of it runs on."""


class Run:
    """The tries of one run; `deadly` days end the try as they are read, and nothing is told of it."""

    def __init__(self, store: ObjectStore, *deadly: date) -> None:
        self.journal, self.deadly = journal(store), deadly
        self.read: list[tuple[date, ...]] = []
        """The days that each opened source was asked for."""

    def _days(self, tenant: str, days: Sequence[date]) -> Iterator[Day]:
        self.read.append(tuple(days))

        def made(day: date) -> Day:
            if day in self.deadly:
                raise DiedError(day)
            return DayTable(PartitionKey(day, tenant), raw_table([(0, "ST-1", "air_temperature", 1.0, 1)]))

        for day in each_day(days, made):
            assert not isinstance(day, DayFailure)
            yield day

    def attempt(self, *tenants: str, until: date | None = None) -> list[Day] | None:
        """The days that came and were written; None if the process died of one, or at writing `until`."""
        came = []
        try:
            for day in skip_finished(dict.fromkeys(tenants or ("acme",), DAYS), self.journal, self._days):
                if isinstance(day, DayTable):
                    if day.key.date == until:
                        return None
                    self.journal.add(written(self.journal.store, day.key.date.day, day.key.tenant))
                came.append(day)
        except DiedError:
            return None
        return came


def dates(days: list[Day] | None) -> list[int]:
    assert days is not None
    return [day.key.date.day for day in days]


def test_a_day_that_kills_the_process_fails_in_the_third_try(local: ObjectStore) -> None:
    run = Run(local, DAYS[2])
    assert run.attempt() is None
    assert run.attempt() is None
    done = run.attempt()
    assert dates(done) == [1, 2, 5, 3, 4]
    assert done
    failed = done[-2]
    assert isinstance(failed, DayFailure)
    assert isinstance(failed.error, ProcessDiedError)
    assert not failed.error.retryable
    assert "the process died 2 times while at this day: out of memory or killed" in str(failed.error)
    assert run.read[1:] == [(DAYS[4],), (DAYS[2],), (DAYS[3],)], "each suspect alone, after the others"


def test_the_innocent_neighbour_is_written(local: ObjectStore) -> None:
    """The process dies while a day is written and the next is read: nobody knows which it was."""
    run = Run(local)
    assert run.attempt(until=DAYS[1]) is None
    assert dates(run.attempt()) == [1, 4, 5, 2, 3]
    assert run.read[1:] == [(DAYS[3], DAYS[4]), (DAYS[1],), (DAYS[2],)]


def test_days_are_suspected_for_their_own_tenant_alone(local: ObjectStore) -> None:
    run = Run(local)
    assert run.attempt("acme", "borealis", until=DAYS[0]) is None
    done = run.attempt("acme", "borealis")
    assert done
    assert [str(day.key) for day in done[-2:]] == ["2024-01-01|acme", "2024-01-02|acme"]
    assert [day.key.tenant for day in done[3:8]] == ["borealis"] * 5


def test_reading_a_whole_range_is_no_day_s_fault(local: ObjectStore) -> None:
    noted: list[bytes | None] = []

    def begun() -> bytes | None:
        key = f"{own.prefix}/{BEGUN}"
        return local.get(key) if local.exists(key) else None

    def read(tenant: str, days: list[date]) -> Iterator[Day]:
        noted.append(begun())
        for day in days:
            yield DayTable(PartitionKey(day, tenant), raw_table([]))
            noted.append(begun())

    own = journal(local)
    list(skip_finished({"acme": DAYS[:3]}, own, read, ranges=True))
    assert noted[0] is None
    assert [str(text).count("|acme") for text in noted[1:]] == [1, 1, 1]


def test_a_note_that_cannot_be_written_or_read_costs_nothing(
    local: ObjectStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(local)
    local.put(f"{run.journal.prefix}/{BEGUN}", b'{"begun": ["nonsense')
    assert dates(run.attempt()) == [1, 2, 3, 4, 5]
    assert "does not say which days had begun" in caplog.text

    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Journal, "begin", fail)
    run.journal.clear()
    assert dates(run.attempt()) == [1, 2, 3, 4, 5]
    assert "no room" in caplog.text


def test_the_note_is_no_record_of_a_day_and_goes_with_the_journal(
    local: ObjectStore,
) -> None:
    run = Run(local, DAYS[2])
    run.journal.add(written(local, 1))
    assert run.attempt() is None
    keys = [stored.key for stored in local.list(run.journal.prefix)]
    assert [key for key in keys if not key.endswith(".json")] == [f"{run.journal.prefix}/{BEGUN}"]
    assert {key.date.day for key in run.journal.finished()} == {1, 2}
    run.journal.clear()
    assert local.list(run.journal.prefix) == []


@pytest.fixture
def local(tmp_path: object) -> ObjectStore:
    return ObjectStore(f"{tmp_path}/lake")
