"""Deferral of SIGINT and SIGTERM during short sections that must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the block ends; the first is then raised again, for the previous handlers.

    Dagster cancels a run by a signal that raises wherever the main thread happens to be. Other threads receive no
    signals: there the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deferred: list[int] = []

    def defer(number: int, _frame: FrameType | None) -> None:
        deferred.append(number)

    previous = {number: signal.signal(number, defer) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if deferred:
            signal.raise_signal(deferred[0])
