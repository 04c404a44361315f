"""Where the files come from: one narrow interface over HTTP and over a folder that mirrors the server.

Thin on purpose: what it takes to ask politely (pace, retries) belongs to the HTTP client, not to DWD.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

import httpx
import tenacity

from weather_backfill.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotFoundError,
    PermanentError,
    SourceUnavailableError,
    WeatherError,
)
from weather_backfill.sources.dwd.listing import Entry, parse_directory

MAX_BODY_BYTES = 512 << 20
MAX_PAGE_BYTES = 32 << 20
TRIES = 4
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_RETRYABLE = {408, 425, 429, 500, 502, 503, 504}

T = TypeVar("T")


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

    def folder(self, path: str) -> list[Entry]:
        """The files of a folder; `NotFoundError` if there is no such folder, never empty."""
        ...

    def fetch(self, path: str, etag: str | None = None, last_modified: str | None = None) -> Fetched | NotModified:
        """A file's bytes, or `NotModified` if it is still the version with that ETag or Last-Modified."""
        ...

    def local_file(self, path: str) -> Path | None:
        """The file's path if it lies on this machine: then it needs no cache."""
        ...


def open_remote(base_url: str) -> Remote:
    """The remote of an `https://`, `http://` or `file://` URL; raises `ConfigurationError` for others."""
    parts = urlsplit(base_url)
    if parts.scheme in ("http", "https") and parts.netloc:
        return HttpRemote(base_url)
    if parts.scheme == "file":
        return FolderRemote(Path(unquote(parts.path)))
    raise ConfigurationError(
        f"base_url {base_url!r}: expected https://, http:// or file:///folder, "
        "for example https://opendata.dwd.de/climate_environment/CDC/observations_germany/climate."
    )


class FolderRemote:
    """A folder laid out like the server."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def url(self, path: str) -> str:
        """The `file://` URL of a path."""
        return (self._root / path).absolute().as_uri()

    def folder(self, path: str) -> list[Entry]:
        """The files of a folder by `os.scandir`."""
        try:
            with os.scandir(self._root / path) as found:
                entries = [_scanned(e) for e in found if e.is_file() and not e.name.startswith("_")]
                empty = not entries and not any(e.is_dir() for e in os.scandir(self._root / path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"{self.url(path)}: there is no such folder.") from error
        except OSError as error:
            raise SourceUnavailableError(f"{self.url(path)} cannot be listed: {error}.") from error
        if empty:
            raise NotFoundError(f"{self.url(path)} is empty: expected station files. Check the base URL.")
        return sorted(entries, key=lambda e: e.name)

    def fetch(self, path: str, etag: str | None = None, last_modified: str | None = None) -> Fetched | NotModified:
        """The file's bytes; its ETag is made of its time and size."""
        file = self._root / path
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
        return self._root / path


class HttpRemote:
    """A server that lists its folders as HTML pages."""

    def __init__(self, base_url: str, client: httpx.Client | None = None, wait: float = 1.0) -> None:
        self._base = base_url.rstrip("/")
        self._client = client or httpx.Client(
            timeout=_TIMEOUT, follow_redirects=True, headers={"User-Agent": "weather-backfill"}
        )
        self._wait = wait

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"{self._base}/{quote(path)}"

    def folder(self, path: str) -> list[Entry]:
        """The files of a folder by its index page."""
        url = self.url(path) + "/"
        response, body = self._get(url, {}, MAX_PAGE_BYTES)
        return parse_directory(body.decode(response.encoding or "utf-8", errors="replace"), url)

    def fetch(self, path: str, etag: str | None = None, last_modified: str | None = None) -> Fetched | NotModified:
        """A conditional GET."""
        asked = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        headers = {name: value for name, value in asked.items() if value}
        response, body = self._get(self.url(path), headers, MAX_BODY_BYTES)
        if response.status_code == 304:
            return NotModified()
        return Fetched(body, response.headers.get("ETag"), response.headers.get("Last-Modified"))

    def local_file(self, path: str) -> Path | None:
        """None: it lies elsewhere."""
        return None

    def _get(self, url: str, headers: dict[str, str], most: int) -> tuple[httpx.Response, bytes]:
        return _with_retries(lambda: self._get_once(url, headers, most), self._wait)

    def _get_once(self, url: str, headers: dict[str, str], most: int) -> tuple[httpx.Response, bytes]:
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                _raise_for_status(response, url)
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > most:
                        raise PermanentError(f"{url} is larger than {most} bytes: refused. Check the base URL.")
                return response, bytes(body)
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            raise SourceUnavailableError(
                f"{url} did not answer whole ({type(error).__name__}: {error}). Worth another try; if it "
                "stays, check the network and the base URL."
            ) from error
        except httpx.DecodingError as error:
            raise SourceUnavailableError(f"{url} answered what cannot be decoded: {error}.") from error


def _raise_for_status(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status < 300 or status == 304:
        return
    if status in _RETRYABLE or status >= 500:
        raise SourceUnavailableError(f"{url} answered {status}: the server is busy or down. Try again later.")
    if status in (401, 403):
        raise AccessDeniedError(f"{url} answered {status}: access denied. DWD's open data needs no login; "
                                "check the base URL and any proxy.")  # fmt: skip
    if status in (404, 410):
        raise NotFoundError(f"{url} answered {status}: it is not there. Check base URL, product and station.")
    raise PermanentError(f"{url} answered {status}: expected 200. Check the base URL.")


def _with_retries(action: Callable[[], T], wait: float) -> T:
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_exponential(multiplier=wait, max=20 * wait) + tenacity.wait_random(0, wait),
        retry=tenacity.retry_if_exception(lambda e: isinstance(e, WeatherError) and e.retryable),
        reraise=True,
    )
    return retrying(action)


def _scanned(entry: os.DirEntry[str]) -> Entry:
    status = entry.stat()
    return Entry(entry.name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
