"""DWD's server, over HTTP or as a folder that mirrors it: files, and the folders they are listed in."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from weather_backfill.http.client import PoliteClient
from weather_backfill.http.shared_state.base import SharedState
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill.model.errors import NotFoundError, PermanentError, SourceUnavailableError
from weather_backfill.sources import remote
from weather_backfill.sources.dwd import REQUESTS_PER_MINUTE
from weather_backfill.sources.dwd.directory_index import DirectoryEntry, parse_directory
from weather_backfill.sources.remote import ANYTHING

MAX_PAGE_BYTES = 32 << 20


class Remote(remote.Remote, Protocol):
    """The server's tree, below the base URL. Errors come out as our taxonomy."""

    def folder(self, path: str) -> list[DirectoryEntry]:
        """The files of a folder; `NotFoundError` if there is no such folder, never empty."""
        ...


def open_remote(base_url: str, client: Callable[[], PoliteClient] | None = None, *, inside: bool = False) -> Remote:
    """The remote of an `https://` or `http://` URL (over `client`) or a `file://` one.

    With `inside`, links that lead out of the folder are not followed.

    Raises `ConfigurationError` for others.
    """

    def over_http() -> Remote:
        return HttpRemote(base_url, client() if client else None)

    def folder(root: Path) -> Remote:
        return FolderRemote(root, inside)

    example = "https://opendata.dwd.de/climate_environment/CDC/observations_germany/climate"
    return remote.opened(base_url, over_http, folder, example)


class FolderRemote(remote.FolderRemote):
    """A folder laid out like the server."""

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


class HttpRemote(remote.HttpRemote):
    """A server that lists its folders as HTML pages."""

    def __init__(self, base_url: str, client: PoliteClient | None = None, wait: float = 1.0) -> None:
        """`wait` scales the waits of a client of our own."""
        super().__init__(base_url, client or polite(base_url, MemoryState(), wait=wait))

    def folder(self, path: str) -> list[DirectoryEntry]:
        """The files of a folder by its index page."""
        page = self._client.get(f"/{quote(path)}/", headers=ANYTHING)
        if len(page.body) > MAX_PAGE_BYTES:
            raise PermanentError(
                f"{self.url(path)}/ is larger than {MAX_PAGE_BYTES} bytes: refused. Check the base URL."
            )
        return parse_directory(page.body.decode("utf-8", errors="replace"), self.url(path) + "/")


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
    """DWD's client; see `sources/remote.py`."""
    return remote.polite(
        "dwd", base_url, state, per_minute=per_minute, tenant=tenant, patience=patience, wait=wait, private=private,
        hurry=hurry,
    )  # fmt: skip


def _scanned(entry: os.DirEntry[str]) -> DirectoryEntry:
    status = entry.stat()
    return DirectoryEntry(entry.name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
