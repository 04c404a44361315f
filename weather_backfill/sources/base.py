"""The interface of a source: it knows which days an upstream holds, and reads days as a stream.

A *day* is the unit that flows: either its table (`RawDay`) or its failure (`DayFailure`). A source never
raises for one bad day; it yields the failure and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from types import TracebackType
from typing import Protocol, Self

from weather_backfill.model.days import DayFailure, DayInventory, RawDay


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
