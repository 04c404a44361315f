"""Where a service's files come from: one narrow interface over HTTP and over a folder that mirrors the server.

Thin on purpose: what it takes to ask politely (pace, retries) belongs to the HTTP client, not to a service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

from weather_backfill.http.circuit_breaker import BreakerRules
from weather_backfill.http.client import Policy, PoliteClient, hurried
from weather_backfill.http.rate_limit import Rate
from weather_backfill.http.shared_state.base import SharedState
from weather_backfill.model.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotFoundError,
    SourceUnavailableError,
    refuse_user,
    shown,
)
from weather_backfill.security.tenant_policy import leads_out

MAX_BODY_BYTES = 512 << 20
ANYTHING = {"Accept": "*/*"}
R = TypeVar("R")


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

    def fetch(self, path: str, etag: str | None = None, last_modified: str | None = None) -> Fetched | NotModified:
        """A file's bytes, or `NotModified` if it is still the version with that ETag or Last-Modified."""
        ...

    def local_file(self, path: str) -> Path | None:
        """The file's path if it lies on this machine: then it needs no cache."""
        ...

    def close(self) -> None:
        """End waits and requests under way; nothing is fetched any more."""
        ...


def opened(base_url: str, over_http: Callable[[], R], folder: Callable[[Path], R], example: str) -> R:
    """What one of the two makes of an `https://` or `http://` URL, or of a `file://` one.

    Raises `ConfigurationError` for others, naming the `example`.
    """
    refuse_user(base_url, "base_url")
    parts = urlsplit(base_url)
    if parts.scheme in ("http", "https") and parts.netloc:
        return over_http()
    if parts.scheme == "file":
        return folder(Path(unquote(parts.path)))
    raise ConfigurationError(
        f"base_url {shown(base_url)!r}: expected https://, http:// or file:///folder, for example {example}."
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
    """A server of files, asked through the polite client."""

    def __init__(self, base_url: str, client: PoliteClient) -> None:
        """`client` shares pace and breaker with other runs."""
        self._base = base_url.rstrip("/")
        self._client = client

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"{self._base}/{quote(path)}"

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
    service: str,
    base_url: str,
    state: SharedState,
    *,
    per_minute: int,
    tenant: str | None = None,
    patience: float = 0.0,
    wait: float = 1.0,
    private: bool = True,
    hurry: bool = False,
) -> PoliteClient:
    """A client whose pace and breaker are shared through `state`; the pace is a tenant's own where one is named.

    `patience` is how long an outage is waited out; with `hurry` nothing is. `wait` scales all waits.
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
        service, base_url, state=state, tenant=tenant, rate=Rate(per_minute),
        policy=hurried(policy) if hurry else policy,
        private=private,
    )  # fmt: skip
