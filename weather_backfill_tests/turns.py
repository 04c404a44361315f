"""Several actors on one store, one storage call at a time, in an order that a seed decides.

Each actor has a thread, and only one of them runs: before every call of its store it hands over to whoever the seed
names. So a race that takes a machine under load months to meet is a number here, and comes back with it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore

_current = threading.local()


class Killed(BaseException):
    """As if by kill -9: nothing of ours catches it."""


class Turns:
    """Hands the turn from actor to actor; `kill_share` of the actors die at one of their first `within` calls."""

    def __init__(self, seed: int, kill_share: float = 0.0, within: int = 30) -> None:
        self.random = random.Random(seed)
        self.killed: list[str] = []
        self._kill_share, self._within = kill_share, within
        self._waiting: dict[str, threading.Semaphore] = {}
        self._left: dict[str, int] = {}

    def run(self, actors: dict[str, Callable[[], Any]]) -> None:
        """Let all actors work to their ends; raises the first error of one."""
        errors: list[BaseException] = []
        for name in actors:
            self._waiting[name] = threading.Semaphore(0)
            dies = self.random.random() < self._kill_share
            self._left[name] = self.random.randrange(1, self._within) if dies else -1

        def work(name: str, act: Callable[[], Any]) -> None:
            self._waiting[name].acquire()
            _current.turns = (self, name)
            try:
                act()
            except Killed:
                self.killed.append(name)
            except BaseException as error:
                errors.append(error)
            finally:
                del self._waiting[name]
                self._hand_over()

        threads = [threading.Thread(target=work, args=item, name=item[0]) for item in actors.items()]
        for thread in threads:
            thread.start()
        self._hand_over()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _hand_over(self) -> None:
        if self._waiting:
            self._waiting[self.random.choice(sorted(self._waiting))].release()

    def step(self, name: str) -> None:
        """Hand over; returns when it is this actor's turn again."""
        waiting = self._waiting[name]
        self._hand_over()
        waiting.acquire()
        self._left[name] -= 1
        if self._left[name] == 0:
            raise Killed


def step(*_: Any) -> None:
    """Hand over, if this thread is an actor's."""
    if found := getattr(_current, "turns", None):
        found[0].step(found[1])


class Stepping(ObjectStore):
    """A store that hands over before each of its calls, and tells of each write that was done."""

    written: Callable[[str], None] = staticmethod(lambda key: None)

    def _call(self, verb: str, key: str, action: Any) -> Any:
        step()
        result = super()._call(verb, key, action)
        if verb == "write":
            self.written(key)
        return result


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a lock hands over instead."""
    monkeypatch.setattr(conditional, "_pause", step)
