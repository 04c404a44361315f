"""Downloaded station files, kept in the lake's object store so that an unchanged file is fetched only once.

    _cache/dwd/<hash of URL>/<hash of body>.zip     the bytes
    _cache/dwd/<hash of URL>/version.json           URL, ETag, Last-Modified and the body's hash

The body is written before the version that names it, so a crash leaves a body nobody refers to and never a
version without its body. Bytes are checked against their hash when read: a damaged cache is a miss.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from weather_backfill.errors import NotFoundError, SourceUnavailableError
from weather_backfill.lake.storage import ObjectStore
from weather_backfill.sources.dwd.remote import Fetched, NotModified, Remote

PREFIX = "_cache/dwd"
_VERSION = "version.json"


@dataclass(frozen=True, slots=True)
class Download:
    """A file's bytes; `digest` is their SHA-256 (hex), `transferred` how many came over the network."""

    body: bytes
    digest: str
    transferred: int


@dataclass(frozen=True, slots=True)
class _Version:
    url: str
    digest: str
    etag: str | None
    last_modified: str | None


class FileCache:
    """Fetches through a cache. Safe for several runs at once: the last complete write wins."""

    def __init__(self, store: ObjectStore | None, remote: Remote) -> None:
        self._store = store
        self._remote = remote

    def fetch(self, path: str, check: Callable[[bytes], object] = lambda body: None) -> Download:
        """The current bytes of a path. `check` raises for what must not be cached (an error page, say)."""
        if self._store is None or self._remote.local_file(path) is not None:
            return self._plain(path)
        store, folder = self._store, self._folder(path)
        version = _read_version(store, folder, self._remote.url(path))
        cached = _read_body(store, folder, version) if version else None
        if version is None or cached is None:
            return self._renew(path, self._whole(path), check)
        answer = self._remote.fetch(path, version.etag, version.last_modified)
        if isinstance(answer, NotModified):
            return Download(cached, version.digest, 0)
        return self._renew(path, answer, check)

    def digest(self, path: str, check: Callable[[bytes], object] = lambda body: None) -> str:
        """The hash of the current bytes, transferred and read only if they are not the cached version."""
        if self._store is None or self._remote.local_file(path) is not None:
            return self._plain(path).digest
        version = _read_version(self._store, self._folder(path), self._remote.url(path))
        if version is None:
            return self.fetch(path, check).digest
        answer = self._remote.fetch(path, version.etag, version.last_modified)
        return version.digest if isinstance(answer, NotModified) else self._renew(path, answer, check).digest

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

    def _renew(self, path: str, answer: Fetched, check: Callable[[bytes], object]) -> Download:
        check(answer.body)
        assert self._store is not None
        folder, digest = self._folder(path), _digest(answer.body)
        version = _Version(self._remote.url(path), digest, answer.etag, answer.last_modified)
        if version.etag or version.last_modified:  # without either nothing could ever be asked about it
            self._store.put(f"{folder}/{digest}.zip", answer.body)
            text = {s: getattr(version, s) for s in _Version.__slots__}
            self._store.put(f"{folder}/{_VERSION}", json.dumps(text, sort_keys=True).encode())
            keep = {f"{folder}/{digest}.zip", f"{folder}/{_VERSION}"}
            self._store.delete([o.key for o in self._store.list(folder) if o.key not in keep])
        return Download(answer.body, digest, len(answer.body))

    def _folder(self, path: str) -> str:
        return f"{PREFIX}/{hashlib.sha256(self._remote.url(path).encode()).hexdigest()[:32]}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _read_version(store: ObjectStore, folder: str, url: str) -> _Version | None:
    try:
        version = _Version(**json.loads(store.get(f"{folder}/{_VERSION}")))
    except (NotFoundError, ValueError, TypeError):
        return None  # never fetched, or written by another version of this module
    return version if version.url == url else None


def _read_body(store: ObjectStore, folder: str, version: _Version) -> bytes | None:
    try:
        body = store.get(f"{folder}/{version.digest}.zip")
    except NotFoundError:
        return None
    return body if _digest(body) == version.digest else None
