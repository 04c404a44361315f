"""Footers of raw days as this process has read them: an object that is as it was is not asked again.

A file of the lake is never changed, only replaced, and then has another ETag. What is remembered is therefore no
state: another process reads the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import date

from weather_backfill.backfill.coverage import HeldDay, held_days
from weather_backfill.storage.object_store import ObjectStore, StoredObject

MOST = 200_000
"""Footers that are remembered; the ones asked for longest ago go first."""
_Known = tuple[str, str, str | None]
_footers: OrderedDict[_Known, HeldDay] = OrderedDict()


def unread(store: ObjectStore, objects: Mapping[date, StoredObject]) -> list[date]:
    """The days whose footers would have to be read."""
    return sorted(day for day, stored in objects.items() if _known(store, stored) not in _footers)


def remembered(
    store: ObjectStore, service: str, tenant: str, objects: Mapping[date, StoredObject]
) -> dict[date, HeldDay]:
    """The held days behind a listing's raw objects of a tenant; only what is new is read."""
    new = unread(store, objects)
    read = held_days(store, service, tenant, only=set(new)) if new else {}
    found: dict[date, HeldDay] = {}
    for day, stored in objects.items():
        held = read.get(day) or _footers.get(_known(store, stored))
        if held:  # else it has gone since the listing
            _footers.pop(_known(store, stored), None)  # to the end
            found[day] = _footers[_known(store, stored)] = held
    while len(_footers) > MOST:
        _footers.popitem(last=False)
    return found


def _known(store: ObjectStore, stored: StoredObject) -> _Known:
    return store.url, stored.key, stored.etag
