"""A stream of days: each read one ahead of the consumer, tried again where that helps, a failure among the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import TypeVar, cast

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.util.retries import retrying

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
