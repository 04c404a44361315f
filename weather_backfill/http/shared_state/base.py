"""The interface and the error of the stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from weather_backfill.model.errors import RetryableError

T = TypeVar("T")


Document = dict[str, Any]


Change = Callable[[Document, float], T]
"""A function of the scope's document and the time now (seconds since 1970) that may change the document. It may run
twice.
"""


CLOCKS_SECONDS = 5.0
"""Clocks of two hosts differ by less: a stored time that is further ahead than its rule's longest wait and this was
written by a clock that was wrong, and is void.
"""


class SharedStateError(RetryableError):
    """The store of rate limits and circuit breakers did not answer; no request was sent to the upstream."""


class SharedState(Protocol):
    """A store of documents by scope, of which no change is lost."""

    def change(self, scope: str, change: Change[T]) -> T:
        """Run `change` on the scope's document (empty at first), store the document, return the result.

        Of changes at the same moment none is lost. Raises `SharedStateError`, as all methods, if the store cannot be
        used.
        """
        ...

    def read(self, scope: str) -> tuple[Document, float]:
        """Read the scope's document (empty if there is none) and the time now, without a lock."""
        ...

    def scopes(self) -> list[str]:
        """List the scopes that have a document."""
        ...
