"""Cache of days' footers in this process: an unchanged object is not read again.

A file of the lake is never changed, only replaced, and then has another ETag. The cache is therefore no state of ours:
another process reads the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import date
from typing import Generic, TypeVar

from weather_backfill.backfill.coverage import HeldDay, RefinedDay, held_day, refined_day
from weather_backfill.model.errors import NotFoundError
from weather_backfill.storage.object_store import ObjectStore, StoredObject

MOST = 200_000
"""Footers in each cache; the least recently used ones go first."""
_ObjectVersion = tuple[str, str, str | None]  # lake, key, ETag
T = TypeVar("T")


class _Footers(Generic[T]):
    """The footers of one dataset's objects, by version."""

    def __init__(self, read: Callable[[ObjectStore, StoredObject], T]) -> None:
        self._read = read
        self._cached: OrderedDict[_ObjectVersion, T] = OrderedDict()

    def unread(self, store: ObjectStore, objects: Mapping[date, StoredObject]) -> list[date]:
        return sorted(day for day, stored in objects.items() if _version(store, stored) not in self._cached)

    def of(self, store: ObjectStore, objects: Mapping[date, StoredObject]) -> dict[date, T]:
        new = self.unread(store, objects)
        read = dict(zip(new, store.each(lambda day: self._attempt(store, objects[day]), new), strict=True))
        days: dict[date, T] = {}
        for day, stored in objects.items():
            version = _version(store, stored)
            footer = read.get(day) or self._cached.get(version)
            if footer:  # else it has gone since the listing
                self._cached.pop(version, None)  # to the end
                days[day] = self._cached[version] = footer
        while len(self._cached) > MOST:
            self._cached.popitem(last=False)
        return days

    def _attempt(self, store: ObjectStore, stored: StoredObject) -> T | None:
        try:
            return self._read(store, stored)
        except NotFoundError:
            return None


_raw: _Footers[HeldDay] = _Footers(held_day)
_refined: _Footers[RefinedDay] = _Footers(refined_day)


def unread(store: ObjectStore, objects: Mapping[date, StoredObject]) -> list[date]:
    """The days whose raw footers would have to be read."""
    return _raw.unread(store, objects)


def remembered(store: ObjectStore, objects: Mapping[date, StoredObject]) -> dict[date, HeldDay]:
    """The held days of a tenant's listed raw objects; only footers that are not in the cache are read."""
    return _raw.of(store, objects)


def remembered_refined(store: ObjectStore, objects: Mapping[date, StoredObject]) -> dict[date, RefinedDay]:
    """The refined days of a tenant's listed refined objects; read as by `remembered`."""
    return _refined.of(store, objects)


def _version(store: ObjectStore, stored: StoredObject) -> _ObjectVersion:
    return store.url, stored.key, stored.etag
