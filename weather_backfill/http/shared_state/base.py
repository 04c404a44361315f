"""The interface of the stores, and what goes wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from weather_backfill.model.errors import RetryableError

T = TypeVar("T")


Document = dict[str, Any]


Change = Callable[[Document, float], T]
"""Takes the scope's document and the time now, may change the document, returns anything. It may run
twice.
"""


class SharedStateError(RetryableError):
    """The store of limiter and breaker did not answer; nothing was asked of the upstream."""


class SharedState(Protocol):
    """A store of documents by scope, one writer at a time."""

    def change(self, scope: str, change: Change[T]) -> T:
        """Run `change` on the scope's document (empty at first) under a lock, and keep its changes."""
        ...

    def read(self, scope: str) -> tuple[Document, float]:
        """The scope's document (empty if there is none) and the time now, without a lock."""
        ...

    def scopes(self) -> list[str]:
        """The scopes that have a document."""
        ...
