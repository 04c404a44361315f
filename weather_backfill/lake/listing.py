"""Listings of the lake that hold our own names alone: foreign ones are passed over, and each is named in the log once.

File managers (`.DS_Store`), network file systems (`.nfs…`), editors (`x~`) and people leave files in every folder. None
of them may stop a tenant, count as a day, or be deleted or archived as a record.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from datetime import date

from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import TENANT_ID
from weather_backfill.storage.object_store import ObjectStore, StoredObject

_log = logging.getLogger(__name__)
_MOST_NAMED = 10_000  # network file systems make new names for ever
_named: set[str] = set()

_TENANT, _DAY = f"tenant={TENANT_ID.pattern}", r"date=\d{4}-\d{2}-\d{2}"
_WORD = r"[^/.][^/]*(?<!~)"  # no dot in front, no tilde behind
_VERSION = r"\d{8}T\d{6}(\.\d{6})?Z-[0-9a-f]{16}"
_INCIDENT = rf"{_WORD}\.json"
_RECORDS = {
    layout.OPEN: rf"{layout.BACKFILL_ID.pattern}|{re.escape(layout.MARKED)}",
    layout.HELD: layout.BACKFILL_ID.pattern,
    layout.BACKFILLS: rf"{layout.BACKFILL_ID.pattern}/(manifest|summary)\.json",
    layout.AUDIT: rf"{_DAY}/{_WORD}\.json",
    layout.LEDGER: rf"{_DAY}/{_WORD}\.json",
    layout.VERSIONS: rf"[a-z][a-z0-9_]*/service={_WORD}/{_TENANT}/{_DAY}/{_VERSION}\.parquet",
    layout.JOURNAL: rf"{_WORD}/{_WORD}/(begun|{_TENANT}/\d{{4}}-\d{{2}}-\d{{2}}[A-Za-z0-9._-]*)",
    layout.LOOKS: rf"{_WORD}/{_WORD}\.json",
    layout.ALERTS: rf"(open|ending)/{_INCIDENT}|told/{_WORD}/{_WORD}\.{_WORD}\.\d+\.json",
    layout.ARCHIVE: rf"{_WORD}/\d{{4}}-\d{{2}}/{_WORD}\.jsonl",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _RECORDS.items()}
_DAY_FILE = re.compile(rf"{_DAY}/{re.escape(layout.FILE)}")


def records(store: ObjectStore, kind: str, below: str = "") -> list[StoredObject]:
    """List the records of a kind (a folder: `layout.OPEN`, `layout.AUDIT`, …) or of a folder below it, by key."""
    pattern = _PATTERNS[kind]
    return own_objects(
        store, f"{kind}/{below}".rstrip("/"), lambda key: pattern.fullmatch(key.removeprefix(f"{kind}/")) is not None
    )


def own_objects(store: ObjectStore, prefix: str, ours: Callable[[str], bool]) -> list[StoredObject]:
    """List the objects below a prefix whose keys are `ours`, sorted by key."""
    listed = store.list(prefix)
    own = set(own_names(store, (stored.key for stored in listed), ours))
    return [stored for stored in listed if stored.key in own]


def own_names(store: ObjectStore, names: Iterable[str], ours: Callable[[str], bool]) -> list[str]:
    """The keys or names that are `ours`; every other one is named in the log, once in this process."""
    own = []
    for name in names:
        if ours(name):
            own.append(name)
        elif not name.rsplit("/", 1)[-1].startswith(layout.NOTHING):
            _pass_over(store.uri(name))
    return own


def _pass_over(uri: str) -> None:
    if uri in _named:
        return
    if len(_named) >= _MOST_NAMED:
        _named.clear()
    _named.add(uri)
    _log.warning("%s has no name of ours and is passed over: move it out of this folder.", uri)


def day_objects(store: ObjectStore, dataset: str, service: str, tenant: str) -> dict[date, StoredObject]:
    """A tenant's objects of a dataset by day (UTC; of features: the quarter's first day)."""
    prefix = layout.tenant_prefix(dataset, service, tenant)

    def is_day(key: str) -> bool:
        return _DAY_FILE.fullmatch(key.removeprefix(f"{prefix}/")) is not None and _has_date(key)

    return {layout.date_of(stored.key): stored for stored in own_objects(store, prefix, is_day)}


def days(store: ObjectStore, dataset: str, service: str, tenant: str) -> list[date]:
    """The days (UTC) that a tenant has a folder of in a dataset, sorted, from one listing of folders."""
    prefix = layout.tenant_prefix(dataset, service, tenant)
    folders = (f"{prefix}/{name}" for name in store.folders(prefix))
    return sorted(layout.date_of(key) for key in own_names(store, folders, _has_date))


def tenants(store: ObjectStore, dataset: str, service: str) -> list[str]:
    """The tenants that have a folder in a dataset of a service, sorted."""
    prefix = f"{dataset}/service={service}"
    pattern = re.compile(rf"{re.escape(prefix)}/{_TENANT}")
    folders = (f"{prefix}/{name}" for name in store.folders(prefix))
    own = own_names(store, folders, lambda key: pattern.fullmatch(key) is not None)
    return [key.rsplit("=", 1)[-1] for key in own]


def _has_date(key: str) -> bool:
    try:
        layout.date_of(key)
    except ConfigurationError:
        return False
    return True
