"""Cache of raw days' footers in this process: an unchanged object is not read again.

A file of the lake is never changed, only replaced, and then has another ETag. The cache is therefore no state of ours:
another process reads the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import date

from weather_backfill.backfill.coverage import HeldDay, held_days
from weather_backfill.storage.object_store import ObjectStore, StoredObject

MOST = 200_000
"""Footers in the cache; the least recently used ones go first."""
_ObjectVersion = tuple[str, str, str | None]  # lake, key, ETag
_footers: OrderedDict[_ObjectVersion, HeldDay] = OrderedDict()


def unread(store: ObjectStore, objects: Mapping[date, StoredObject]) -> list[date]:
    """The days whose footers would have to be read."""
    return sorted(day for day, stored in objects.items() if _version(store, stored) not in _footers)


def remembered(
    store: ObjectStore, service: str, tenant: str, objects: Mapping[date, StoredObject]
) -> dict[date, HeldDay]:
    """The held days of a tenant's listed raw objects; only footers that are not in the cache are read."""
    new = unread(store, objects)
    read = held_days(store, service, tenant, only=set(new)) if new else {}
    days: dict[date, HeldDay] = {}
    for day, stored in objects.items():
        held = read.get(day) or _footers.get(_version(store, stored))
        if held:  # else it has gone since the listing
            _footers.pop(_version(store, stored), None)  # to the end
            days[day] = _footers[_version(store, stored)] = held
    while len(_footers) > MOST:
        _footers.popitem(last=False)
    return days


def _version(store: ObjectStore, stored: StoredObject) -> _ObjectVersion:
    return store.url, stored.key, stored.etag
