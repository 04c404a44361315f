"""What a source is: it knows which days an upstream holds, and reads days as a stream.

A *day* is the unit that flows: either its table (`RawDay`) or its failure (`DayFailure`). A source never
raises for one bad day; it yields the failure and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Protocol, TypeVar, cast

import pyarrow as pa

from weather_backfill.retries import retrying
from weather_backfill.schemas import REJECTS


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds between the samples a complete day holds: the grid that coverage is counted on."""

    seconds: int
    by_metric: Mapping[str, int] = field(default_factory=dict)

    def of(self, metric: str) -> int:
        """The cadence of a metric."""
        return self.by_metric.get(metric, self.seconds)


@dataclass(frozen=True, slots=True)
class RawDay:
    """One day as read: observations, rejects, and the facts about how it was read.

    `expected_stations` names stations that should be there, so that one that is silent all day is noticed.
    `incomplete` says why the day is not whole: its good rows are written and the day itself fails, so that one
    damaged station file never costs the others.

    `table` has the columns of `schemas.RAW` (optionally `source_quality` at the end), sorted by station,
    metric and time, unique by those, with `quality` still to be judged (the caller flags). `facts` become
    materialization metadata; `lineage` follows from the data alone and goes into the file's footer.
    """

    date: date
    table: pa.Table
    cadence: Cadence
    rejects: pa.Table = field(default_factory=REJECTS.empty_table)
    facts: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    incomplete: str | None = None
    expected_stations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DayFailure:
    """One day that could not be made, and why."""

    date: date
    error: BaseException


@dataclass(frozen=True, slots=True)
class DayInventory:
    """What the upstream holds for a day, learned without reading it: what a plan counts with."""

    objects: int
    bytes: int
    requests: int = 0


class Source(Protocol):
    """One connection's upstream, opened."""

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """The days between start and end (both included) that hold data; absent days hold none."""
        ...

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Read days in order, each as its table or its failure; memory bounded by a few days."""
        ...


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
