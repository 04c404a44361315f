"""Which objects of an archive hold messages, by their names, and their bytes unpacked."""

from __future__ import annotations

from weather_backfill.storage.object_store import StoredObject
from weather_backfill.util.unpacking import gunzip

MOST_BYTES = 128 << 20  # of one object, unpacked: room for a day of hundreds of stations
_ENDINGS = (".json", ".jsonl", ".ndjson")
_GZIP, _TEXT = b"\x1f\x8b", (b"{", b"[", b"\x1e", b"\xef")


def messages_only(objects: list[StoredObject]) -> list[StoredObject]:
    """The objects that are read."""
    return [o for o in objects if holds_messages(o.key)]


def holds_messages(key: str) -> bool:
    """Return whether an object is read, by its name."""
    if is_marker(key):
        return False
    name = key[key.rfind("/") + 1 :].lower().removesuffix(".gz")
    return name.endswith(_ENDINGS) or (name != "" and "." not in name)


def left_out(objects: list[StoredObject]) -> list[str]:
    """The keys of what is not read; a key that ends in `/` is a folder's."""
    return [o.key for o in objects if not o.key.endswith("/") and not holds_messages(o.key)]


def is_marker(key: str) -> bool:
    """Return whether a name is that of something hidden, a marker or half written: it begins with `.` or `_`."""
    return "/." in key or "/_" in key


def unpack(packed: bytes) -> bytes:
    """Decompress a gzip file; raises `UnreadableObjectError` if it is damaged or exceeds `MOST_BYTES` unpacked."""
    return gunzip(packed, MOST_BYTES)


def unpacked(content: bytes, *, said_packed: bool) -> bytes:
    """An object's text, unpacked wherever it begins as gzip does, twice where it was packed on its way as well.

    One that is said to be packed and plainly is text is that. Raises as `unpack`.
    """
    for _ in range(2):
        if content[:2] != _GZIP:
            break
        content, said_packed = unpack(content), False
    return unpack(content) if said_packed and content.lstrip()[:1] not in _TEXT else content
