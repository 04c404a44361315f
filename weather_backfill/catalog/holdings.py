"""Finds the partitions to register in folder names: the days of the lake, the hours of an archive.

Folders are listed level by level and not object by object: a year of an archive takes some 400 listings, while it
holds hundreds of thousands of objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta

from weather_backfill.catalog.partitions import Values
from weather_backfill.catalog.tables import HOUR_KEYS, LAKE_KEYS
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import validate_tenant_id
from weather_backfill.storage.object_store import ObjectStore

_LIST_THREADS = 8
_SERVICE = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Holdings:
    """Partitions by their values, sorted, and the folders (`strangers`) that are not named like a partition."""

    values: list[Values]
    strangers: list[str] = field(default_factory=list)


def lake_days(lake: ObjectStore, dataset: str, keys: tuple[str, ...] = LAKE_KEYS) -> Holdings:
    """The partitions `(service, tenant, date)` of a dataset; without the date for one that is not kept by day."""
    return _walk(lake, dataset, keys, None, None)


def archive_hours(archive: ObjectStore, start: date | None = None, end: date | None = None) -> Holdings:
    """The UTC partitions `(year, month, day, hour)` of an archive, from `start` to `end` (both included; None: all)."""
    return _walk(archive, "", HOUR_KEYS, start, end)


def _walk(store: ObjectStore, root: str, keys: tuple[str, ...], start: date | None, end: date | None) -> Holdings:
    level: list[Values] = [()]
    strangers: list[str] = []
    with ThreadPoolExecutor(_LIST_THREADS, thread_name_prefix="list") as pool:
        for depth in range(len(keys)):
            parents = level
            level = []
            prefixes = [_prefix(root, keys, values) for values in parents]
            for values, prefix, folders in zip(parents, prefixes, pool.map(store.folders, prefixes), strict=True):
                for folder in folders:
                    child = _child(keys[: depth + 1], values, folder)
                    if child is None:
                        strangers.append(f"{prefix}/{folder}".lstrip("/"))
                    elif _overlaps(keys, child, start, end):
                        level.append(child)
    return Holdings(sorted(level), sorted(name for name in strangers if not name.rsplit("/", 1)[-1].startswith("_")))


def _prefix(root: str, keys: tuple[str, ...], values: Values) -> str:
    return "/".join([*([root] if root else []), *_names(keys, values)])


def _names(keys: tuple[str, ...], values: Values) -> Iterator[str]:
    return (f"{key}={value}" for key, value in zip(keys, values, strict=False))


def _child(keys: tuple[str, ...], values: Values, folder: str) -> Values | None:
    """The values with the folder's value added; None if it is not `key=value` with a valid value for the key."""
    key, _, value = folder.partition("=")
    child = (*values, value)
    return child if key == keys[-1] and _fits(keys, child) else None


def _fits(keys: tuple[str, ...], values: Values) -> bool:
    key, value = keys[-1], values[-1]
    try:
        if key == "tenant":
            return bool(validate_tenant_id(value))
        if key == "date":
            return str(date.fromisoformat(value)) == value
        if key == "hour":
            return len(value) == 2 and value.isdecimal() and value.isascii() and int(value) < 24
        if key in HOUR_KEYS:
            return _span(values)[0].strftime("%Y-%m-%d").split("-")[: len(values)] == list(values)
        return _SERVICE.fullmatch(value) is not None
    except (ValueError, ConfigurationError):
        return False


def _span(values: Values) -> tuple[date, date]:
    """The first and last day of a year, a month or a day."""
    year, month, day = (*map(int, values[:3]), 0, 0)[:3]
    first = date(year, month or 1, day or 1)
    if day:
        return first, first
    if month:
        return first, date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return first, date(year, 12, 31)


def _overlaps(keys: tuple[str, ...], values: Values, start: date | None, end: date | None) -> bool:
    if keys != HOUR_KEYS or (start is None and end is None):
        return True
    first, last = _span(values)
    return (start is None or last >= start) and (end is None or first <= end)
