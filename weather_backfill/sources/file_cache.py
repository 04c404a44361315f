"""Downloaded files of a service, kept in the lake's object store so that an unchanged file is fetched only once.

    _cache/<service>/<hash of URL>/<hash of body>.zip     the bytes; .zst: of text, which is packed
    _cache/<service>/<hash of URL>/version.json           URL, ETag, Last-Modified and the body's hash

The body is written before the version that names it, so a crash leaves a body nobody refers to and never a
version without its body. Bytes are checked against their hash when read: a damaged cache is a miss.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from weather_backfill.lake.listing import own_objects
from weather_backfill.model.errors import NotFoundError, SourceUnavailableError
from weather_backfill.sources.remote import Fetched, NotModified, Remote
from weather_backfill.storage.object_store import ObjectStore, StoredObject

PREFIX = "_cache"
_VERSION = "version.json"
_OURS = re.compile(rf"{PREFIX}/[a-z_]+/[0-9a-f]{{32}}/({re.escape(_VERSION)}|[0-9a-f]{{64}}\.(zip|zst))")
_USED_DAYS = 7
UNUSED_DAYS = 30
"""Days after which housekeeping deletes a file that nobody has used."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file's bytes; `digest` is their SHA-256 (hex), `transferred` how many came over the network."""

    body: bytes
    digest: str
    transferred: int
    note: Mapping[str, Any] = field(default_factory=dict)
    """What `keep_note` kept of an earlier version."""


@dataclass(frozen=True, slots=True)
class _Version:
    url: str
    digest: str
    etag: str | None
    last_modified: str | None
    used: str | None = None
    """The UTC day of the last use, to within `_USED_DAYS`: what nobody uses is cleaned up."""
    note: dict[str, Any] | None = None


class FileCache:
    """Fetches through a cache. Safe for several runs at once: the last complete write wins."""

    def __init__(self, store: ObjectStore | None, remote: Remote, service: str, *, packed: bool = False) -> None:
        """`packed` for files of text: their bytes are kept as Zstandard."""
        self._store = store
        self._remote = remote
        self._service = service
        self._codec = pa.Codec("zstd", compression_level=3) if packed else None

    def fetch(self, path: str, check: Callable[[bytes], object] = lambda body: None) -> Download:
        """The current bytes of a path. `check` raises for what must not be cached (an error page, say)."""
        if self._store is None or self._remote.local_file(path) is not None:
            return self._plain(path)
        store, folder = self._store, self._folder(path)
        version = _read_version(store, folder, self._remote.url(path))
        cached = self._read_body(store, folder, version) if version else None
        if version is None or cached is None:
            return self._renew(path, self._whole(path), check, version)
        answer = self._remote.fetch(path, version.etag, version.last_modified)
        if isinstance(answer, NotModified):
            self._note_use(folder, version)
            return Download(cached, version.digest, 0, version.note or {})
        return self._renew(path, answer, check, version)

    def digest(self, path: str, check: Callable[[bytes], object] = lambda body: None) -> str:
        """The hash of the current bytes, transferred and read only if they are not the cached version."""
        if self._store is None or self._remote.local_file(path) is not None:
            return self._plain(path).digest
        version = _read_version(self._store, self._folder(path), self._remote.url(path))
        if version is None:
            return self.fetch(path, check).digest
        answer = self._remote.fetch(path, version.etag, version.last_modified)
        if isinstance(answer, NotModified):
            self._note_use(self._folder(path), version)
            return version.digest
        return self._renew(path, answer, check, version).digest

    def keep_note(self, path: str, note: Mapping[str, Any]) -> None:
        """Keep what is known of a path beside its version, whatever versions follow; nothing without a cache."""
        if self._store is None or self._remote.local_file(path) is not None:
            return
        folder = self._folder(path)
        version = _read_version(self._store, folder, self._remote.url(path))
        if version is not None and version.note != note:
            self._save(folder, replace(version, note=dict(note)))

    def _plain(self, path: str) -> Download:
        answer = self._whole(path)
        return Download(answer.body, _digest(answer.body), len(answer.body))

    def _whole(self, path: str) -> Fetched:
        answer = self._remote.fetch(path)
        if isinstance(answer, NotModified):
            raise SourceUnavailableError(
                f"{self._remote.url(path)} answered 'not modified' to a plain request: expected the file. "
                "A proxy in between may be at fault."
            )
        return answer

    def _renew(self, path: str, answer: Fetched, check: Callable[[bytes], object], before: _Version | None) -> Download:
        check(answer.body)
        assert self._store is not None
        folder, digest = self._folder(path), _digest(answer.body)
        note = before.note if before else None
        version = _Version(
            self._remote.url(path), digest, answer.etag, answer.last_modified, _today().isoformat(), note
        )
        if version.etag or version.last_modified:  # without either nothing could ever be asked about it
            self._store.put(self._body(folder, digest), self._packed(answer.body))
            self._save(folder, version)
            keep = {self._body(folder, digest), f"{folder}/{_VERSION}"}
            self._store.delete(
                [o.key for o in self._store.list(folder) if _OURS.fullmatch(o.key) and o.key not in keep]
            )
        return Download(answer.body, digest, len(answer.body), note or {})

    def _body(self, folder: str, digest: str) -> str:
        return f"{folder}/{digest}.{'zst' if self._codec else 'zip'}"

    def _packed(self, body: bytes) -> bytes:
        """The bytes as they are kept; packed ones have their length in front."""
        if self._codec is None:
            return body
        return len(body).to_bytes(8, "big") + self._codec.compress(body, asbytes=True)

    def _unpacked(self, kept: bytes) -> bytes:
        if self._codec is None:
            return kept
        try:
            return bytes(self._codec.decompress(kept[8:], int.from_bytes(kept[:8], "big"), asbytes=True))
        except (pa.ArrowException, OSError, ValueError, MemoryError):
            return b""  # damaged: its hash will tell

    def _read_body(self, store: ObjectStore, folder: str, version: _Version) -> bytes | None:
        try:
            body = self._unpacked(store.get(self._body(folder, version.digest)))
        except NotFoundError:
            return None
        return body if _digest(body) == version.digest else None

    def _save(self, folder: str, version: _Version) -> None:
        assert self._store is not None
        self._store.put(f"{folder}/{_VERSION}", json.dumps(asdict(version), sort_keys=True).encode())

    def _note_use(self, folder: str, version: _Version) -> None:
        if (version.used or "") < (_today() - timedelta(days=_USED_DAYS)).isoformat():
            self._save(folder, replace(version, used=_today().isoformat()))

    def _folder(self, path: str) -> str:
        return f"{PREFIX}/{self._service}/{hashlib.sha256(self._remote.url(path).encode()).hexdigest()[:32]}"


def unused(store: ObjectStore, now: datetime) -> list[str]:
    """The objects of cached files that nobody has used for `UNUSED_DAYS`, or that the upstream no longer has."""
    files: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in _listed(store, PREFIX):
        files[stored.key.rsplit("/", 1)[0]].append(stored)
    before = now - timedelta(days=UNUSED_DAYS)
    old = [objects for objects in files.values() if max(o.last_modified for o in objects) < before]
    return [stored.key for objects in old for stored in objects]


def _listed(store: ObjectStore, folder: str) -> list[StoredObject]:
    return own_objects(store, folder, lambda key: _OURS.fullmatch(key) is not None)


def _today() -> date:
    return datetime.now(UTC).date()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _read_version(store: ObjectStore, folder: str, url: str) -> _Version | None:
    try:
        version = _Version(**json.loads(store.get(f"{folder}/{_VERSION}")))
    except (NotFoundError, ValueError, TypeError):
        return None  # never fetched, or written by another version of this module
    return version if version.url == url else None
