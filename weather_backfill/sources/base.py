"""The interface of a source: it knows which days an upstream holds, and reads days as a stream.

A *day* is the unit that flows: either its table (`RawDay`) or its failure (`DayFailure`). A source never
raises for one bad day; it yields the failure and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from types import TracebackType
from typing import Protocol, Self, TypeVar, cast

from weather_backfill.model.days import DayFailure, DayInventory, RawDay
from weather_backfill.util.retries import retrying


class Source(Protocol):
    """One connection's upstream, opened; a context manager, so that every caller closes it."""

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """The days between start and end (both included) that hold data; absent days hold none."""
        ...

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Read days in order, each as its table or its failure; memory bounded by a few days."""
        ...

    def close(self) -> None:
        """End requests under way and waits, and close connections. Safe to call again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosingSource:
    """The part that all sources share: leaving the `with` closes. A source that holds nothing open inherits `close`."""

    __slots__ = ()

    def close(self) -> None:
        """Close nothing: nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


R = TypeVar("R")


@contextmanager
def pool_ahead(workers: int, name: str, stop: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """Threads that read ahead of a consumer. Where that one stops early (a cancel, an error), nobody waits for what is
    under way: `stop` ends its waits, and what has not begun never does.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        try:
            yield pool
        except BaseException:
            stop()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def each_day(
    dates: Iterable[date], read: Callable[[date], R], stop: Callable[[], None] = lambda: None
) -> Generator[R | DayFailure]:
    """Read day after day with `read`, one day ahead of the consumer, trying retryable errors again.

    The one-day read-ahead overlaps fetching with the consumer's computing and writing; memory holds two days. `stop` is
    called where the consumer stops early: it should make a `read` under way end soon.
    """
    with pool_ahead(1, "day", stop) as pool:
        ahead: Future[R | DayFailure] | None = None
        for day in dates:
            coming = pool.submit(_with_retries, day, read)
            if ahead is not None:
                yield ahead.result()
            ahead = coming
        if ahead is not None:
            yield ahead.result()


def _with_retries(day: date, read: Callable[[date], R]) -> R | DayFailure:
    tries = retrying()
    try:
        made = tries(read, day)
    except Exception as error:
        return DayFailure(day, error)
    again = tries.statistics.get("attempt_number", 1) - 1
    if again and isinstance(made, RawDay):
        told = replace(made, facts={**made.facts, "retries": made.facts.get("retries", 0) + again})
        return cast("R", told)
    return made
