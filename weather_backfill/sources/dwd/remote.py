"""Where the files come from: one narrow interface over HTTP and over a folder that mirrors the server.

Thin on purpose: what it takes to ask politely (pace, retries) belongs to the HTTP client, not to DWD.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from weather_backfill.http.circuit_breaker import BreakerRules
from weather_backfill.http.client import Policy, PoliteClient, hurried
from weather_backfill.http.rate_limit import Rate
from weather_backfill.http.shared_state.base import SharedState
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill.model.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotFoundError,
    PermanentError,
    SourceUnavailableError,
    refuse_user,
    shown,
)
from weather_backfill.security.tenant_policy import leads_out
from weather_backfill.sources.dwd import REQUESTS_PER_MINUTE
from weather_backfill.sources.dwd.directory_index import DirectoryEntry, parse_directory

MAX_BODY_BYTES = 512 << 20
MAX_PAGE_BYTES = 32 << 20
ANYTHING = {"Accept": "*/*"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file's bytes and what identifies this version of it."""

    body: bytes
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class NotModified:
    """The version asked about is still the current one."""


class Remote(Protocol):
    """The server's tree, below the base URL. Errors come out as our taxonomy."""

    def url(self, path: str) -> str:
        """The full address of a path."""
        ...

    def folder(self, path: str) -> list[DirectoryEntry]:
        """The files of a folder; `NotFoundError` if there is no such folder, never empty."""
        ...

    def fetch(self, path: str, etag: str | None = None, last_modified: str | None = None) -> Fetched | NotModified:
        """A file's bytes, or `NotModified` if it is still the version with that ETag or Last-Modified."""
        ...

    def local_file(self, path: str) -> Path | None:
        """The file's path if it lies on this machine: then it needs no cache."""
        ...

    def close(self) -> None:
        """End waits and requests under way; nothing is fetched any more."""
        ...


def open_remote(base_url: str, client: Callable[[], PoliteClient] | None = None, *, inside: bool = False) -> Remote:
    """The remote of an `https://` or `http://` URL (over `client`) or a `file://` one.

    With `inside`, links that lead out of the folder are not followed.

    Raises `ConfigurationError` for others.
    """
    refuse_user(base_url, "base_url")
    parts = urlsplit(base_url)
    if parts.scheme in ("http", "https") and parts.netloc:
        return HttpRemote(base_url, client() if client else None)
    if parts.scheme == "file":
        return FolderRemote(Path(unquote(parts.path)), inside)
    raise ConfigurationError(
        f"base_url {shown(base_url)!r}: expected https://, http:// or file:///folder, "
        "for example https://opendata.dwd.de/climate_environment/CDC/observations_germany/climate."
    )


class FolderRemote:
    """A folder laid out like the server."""

    def __init__(self, root: Path, inside: bool = False) -> None:
        """With `inside`, a link that leads out of the root is refused with `AccessDeniedError`."""
        self._root, self._inside = root, inside

    def _path(self, path: str) -> Path:
        found = self._root / path
        if self._inside and leads_out(self._root, found):
            raise AccessDeniedError(f"{self.url(path)} leads out of its folder.")
        return found

    def url(self, path: str) -> str:
        """The `file://` URL of a path."""
        return (self._root / path).absolute().as_uri()

    def folder(self, path: str) -> list[DirectoryEntry]:
        """The files of a folder by `os.scandir`."""
        place = self._path(path)
        try:
            with os.scandir(place) as found:
                entries = [_scanned(e) for e in found if e.is_file() and not e.name.startswith("_")]
                empty = not entries and not any(e.is_dir() for e in os.scandir(place))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"{self.url(path)}: there is no such folder.") from error
        except OSError as error:
            raise SourceUnavailableError(f"{self.url(path)} cannot be listed: {error}.") from error
        if empty:
            raise NotFoundError(f"{self.url(path)} is empty: expected station files. Check the base URL.")
        return sorted(entries, key=lambda e: e.name)

    def fetch(self, path: str, etag: str | None = None, last_modified: str | None = None) -> Fetched | NotModified:
        """The file's bytes; its ETag is made of its time and size."""
        file = self._path(path)
        try:
            status = file.stat()
            tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            return NotModified() if etag == tag else Fetched(file.read_bytes(), tag)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"{self.url(path)}: there is no such file.") from error
        except PermissionError as error:
            raise AccessDeniedError(f"{self.url(path)} may not be read: {error}.") from error
        except OSError as error:
            raise SourceUnavailableError(f"{self.url(path)} cannot be read: {error}.") from error

    def local_file(self, path: str) -> Path | None:
        """The path itself."""
        return self._path(path)

    def close(self) -> None:
        """Nothing waits."""


class HttpRemote:
    """A server that lists its folders as HTML pages, asked through the polite client."""

    def __init__(self, base_url: str, client: PoliteClient | None = None, wait: float = 1.0) -> None:
        """`client` shares pace and breaker with other runs; `wait` scales the waits of a client of our own."""
        self._base = base_url.rstrip("/")
        self._client = client or polite(base_url, MemoryState(), wait=wait)

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"{self._base}/{quote(path)}"

    def folder(self, path: str) -> list[DirectoryEntry]:
        """The files of a folder by its index page."""
        page = self._client.get(f"/{quote(path)}/", headers=ANYTHING)
        if len(page.body) > MAX_PAGE_BYTES:
            raise PermanentError(
                f"{self.url(path)}/ is larger than {MAX_PAGE_BYTES} bytes: refused. Check the base URL."
            )
        return parse_directory(page.body.decode("utf-8", errors="replace"), self.url(path) + "/")

    def fetch(self, path: str, etag: str | None = None, last_modified: str | None = None) -> Fetched | NotModified:
        """A conditional GET."""
        asked = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        headers = ANYTHING | {name: value for name, value in asked.items() if value}
        answer = self._client.get(f"/{quote(path)}", headers=headers)
        if answer.status == 304:
            return NotModified()
        return Fetched(answer.body, answer.headers.get("etag"), answer.headers.get("last-modified"))

    def local_file(self, path: str) -> Path | None:
        """None: it lies elsewhere."""
        return None

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def polite(
    base_url: str,
    state: SharedState,
    *,
    per_minute: int = REQUESTS_PER_MINUTE,
    tenant: str | None = None,
    patience: float = 0.0,
    wait: float = 1.0,
    private: bool = True,
    hurry: bool = False,
) -> PoliteClient:
    """A client whose pace and breaker are shared through `state`; the pace is a tenant's own where one is named.

    `patience` is how long an outage is waited out; with `hurry` nothing is.
    """
    policy = Policy(
        total_timeout=900,
        retry_waits=(2 * wait, 4 * wait, 8 * wait),
        pause_without_retry_after=30 * wait,
        most_pauses=1,
        max_body=MAX_BODY_BYTES,
        breaker=BreakerRules(patience=patience),
    )
    return PoliteClient(
        "dwd", base_url, state=state, tenant=tenant, rate=Rate(per_minute),
        policy=hurried(policy) if hurry else policy,
        private=private,
    )  # fmt: skip


def _scanned(entry: os.DirEntry[str]) -> DirectoryEntry:
    status = entry.stat()
    return DirectoryEntry(entry.name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
