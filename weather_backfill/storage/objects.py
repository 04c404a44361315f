"""Values of the object stores: an object as it is listed, an object as it was read, the names of internal folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

STAGING = "_staging"
LOCKS = "_locks"
INTERNAL = (STAGING, LOCKS)
"""Folders of a store that hold no data: nobody needs a copy of them."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's metadata from a listing or a head request; `key` is relative to the store's root.

    `size` in bytes; `last_modified` is the store's time, aware and in UTC.
    """

    key: str
    size: int
    etag: str | None
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was read: its bytes, and the ETag that it had then."""

    data: bytes = field(repr=False)
    etag: str | None
