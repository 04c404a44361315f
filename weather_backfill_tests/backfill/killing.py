"""Work on a context that is killed at its first write, at its second, and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any

import dagster as dg
import pytest

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.storage.object_store import ObjectStore

STORE_WRITES = ("put", "create", "delete")
INSTANCE_WRITES = ("add_backfill", "update_backfill", "add_dynamic_partitions")


class Killed(BaseException):
    """As if by kill -9: nothing of ours catches it."""


def _nothing(_: str) -> None: ...


@contextmanager
def on_every_write(before: Callable[[str], None] = _nothing, after: Callable[[str], None] = _nothing) -> Iterator[None]:
    """Call these around every write to the lake and to Dagster, with the name of what is written."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in ((ObjectStore, STORE_WRITES), (dg.DagsterInstance, INSTANCE_WRITES)):
            for name in names:
                patch.setattr(owner, name, _around(getattr(owner, name), before, after))
        yield


def killed_at_every_write(
    moment: str,
    open_context: Callable[[int], AbstractContextManager[BackfillContext]],
    work: Callable[[BackfillContext], object],
) -> Iterator[BackfillContext]:
    """One context for each write of `work`, which died there `before` or `after` it.

    `open_context` opens the context for the write with that number. Ends when the work ends before its killer.
    """
    for number in count(1):
        with open_context(number) as context:
            try:
                with on_every_write(**{moment: _killer(number)}):
                    work(context)
                return
            except Killed:
                yield context


def _around(write: Any, before: Callable[[str], None], after: Callable[[str], None]) -> Any:
    def around(self: Any, target: Any, *rest: Any, **more: Any) -> Any:
        before(str(target))
        answer = write(self, target, *rest, **more)
        after(str(target))
        return answer

    return around


def _killer(number: int) -> Callable[[str], None]:
    left = iter(range(number - 1, -1, -1))

    def killer(_: str) -> None:
        if next(left, None) == 0:
            raise Killed

    return killer
