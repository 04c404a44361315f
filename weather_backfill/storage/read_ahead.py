"""Reads objects ahead of their consumer on threads: listed sizes bound what is in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from weather_backfill.storage.objects import StoredObject

READ_THREADS = 8  # measured best for small objects on two cores; more only adds contention
BATCH_OBJECTS = 256
BATCH_BYTES = 8 << 20  # of one batch, unless its one object alone is larger
BYTES_IN_FLIGHT = 64 << 20  # of all batches being read or waiting for the consumer, unless one batch alone is larger

Read = TypeVar("Read")
Batch = tuple[list[str], int]


def batches(objects: Iterable[str | StoredObject], most_objects: int, most_bytes: int) -> Iterator[Batch]:
    """Cut objects, given by key or as listed, into batches of keys, each with its listed bytes.

    A key alone says nothing of its size and counts as nothing; an object beyond `most_bytes` is a batch of its own.
    """
    keys: list[str] = []
    total = 0
    for each in objects:
        key, size = (each, 0) if isinstance(each, str) else (each.key, each.size)
        if keys and (len(keys) == most_objects or total + size > most_bytes):
            yield keys, total
            keys, total = [], 0
        keys.append(key)
        total += size
    if keys:
        yield keys, total


def read_ahead(objects: Iterable[str | StoredObject], read: Callable[[list[str]], Sequence[Read]]) -> Iterator[Read]:
    """Yield what `read` makes of each batch, in order, while the next batches are read on threads.

    At most `READ_THREADS` + 2 batches are under way, and of more than one at most `BYTES_IN_FLIGHT` listed bytes.
    """
    coming = batches(objects, BATCH_OBJECTS, BATCH_BYTES)
    waiting = next(coming, None)
    under_way: deque[tuple[Future[Sequence[Read]], int]] = deque()
    in_flight = 0
    with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read") as pool:
        while waiting or under_way:
            while waiting and len(under_way) < READ_THREADS + 2:
                keys, size = waiting
                if under_way and in_flight + size > BYTES_IN_FLIGHT:
                    break
                under_way.append((pool.submit(read, keys), size))
                in_flight += size
                waiting = next(coming, None)
            future, size = under_way.popleft()
            yield from future.result()
            del future  # and what it holds, before more is read
            in_flight -= size
