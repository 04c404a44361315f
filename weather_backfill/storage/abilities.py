"""Which conditional writes a store really has: tried out once per process and bucket, not believed.

Servers that speak S3 differ here, and some take a condition they do not know for no condition at all: then the write
that was to lose replaces the other one, in silence.
"""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from weather_backfill.model.errors import MissingFeatureError
from weather_backfill.storage.errors import translated

if TYPE_CHECKING:
    from weather_backfill.storage.object_store import ObjectStore

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_known: dict[tuple[str, str], Abilities] = {}


@dataclass(frozen=True, slots=True)
class Abilities:
    """The conditional writes of a store: create-only (If-None-Match: *), and replace-only-if-unchanged (If-Match)."""

    create_only: bool
    if_match: bool


def abilities_of(store: ObjectStore) -> Abilities:
    """The abilities of an S3 store; tried out with two small objects at the first call of this process.

    Raises `MissingFeatureError` where the server refuses checksums, and the store's error where it cannot be written.
    """
    with _lock:
        if store.server not in _known:
            _known[store.server] = found = _probe(store)
            creates = "work" if found.create_only else "do not work"
            matches = "works" if found.if_match else "does not work"
            _log.info("%s: create-only writes %s, If-Match %s", store.url, creates, matches)
        return _known[store.server]


def _probe(store: ObjectStore) -> Abilities:
    probe = uuid.uuid4().hex
    plain, guarded = f"_staging/probe-{probe}-a", f"_staging/probe-{probe}-b"
    store.put(plain, b"probe")  # what else this server may lack is told by its own name
    try:
        create_only = _written(store, guarded, b"1", "create") and not _written(store, guarded, b"2", "create")
        first = store.put(guarded, b"3").etag
        if_match = _written(store, guarded, b"4", {"e_tag": first}) and not _written(
            store, guarded, b"5", {"e_tag": first}
        )
    finally:
        store.delete([plain, guarded])
    return Abilities(create_only, if_match)


def _written(store: ObjectStore, key: str, data: bytes, mode: Any) -> bool:
    """Write under a condition; False where it was refused, or the server does not know the condition."""
    try:
        obstore.put(store.backend, key, data, mode=mode)
    except (AlreadyExistsError, PreconditionError):
        return False
    except (OSError, BaseError) as error:
        told = translated(error, f"could not create {store.uri(key)}")
        if isinstance(told, MissingFeatureError):
            return False
        raise told from error
    return True
