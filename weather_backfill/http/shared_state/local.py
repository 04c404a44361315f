"""Stores for one process (memory) and for one host (a folder)."""

from __future__ import annotations

import copy
import hashlib
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from weather_backfill.http.shared_state.base import Change, Document, SharedStateError, T
from weather_backfill.util.files import make_folder, make_private


def default_path() -> Path:
    """The folder `weather_limits` in `DAGSTER_HOME`, else in the user's cache folder."""
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder.expanduser() / "weather_limits"


_TRIES = 100
_GROUP_WRITES = 0o020


class MemoryState:
    """Documents in this process's memory: for tests, and for tools that run once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._documents: dict[str, Document] = {}

    def change(self, scope: str, change: Change[T]) -> T:
        with self._lock:
            return change(self._documents.setdefault(scope, {}), self._clock())

    def read(self, scope: str) -> tuple[Document, float]:
        with self._lock:
            return copy.deepcopy(self._documents.get(scope, {})), self._clock()

    def scopes(self) -> list[str]:
        with self._lock:
            return list(self._documents)


class FolderState:
    """Documents below a folder of a local disk, for all processes of one host. There is no lock to be held.

        <hash of the scope>/<number>    each version of the scope's document; the highest number is the document
        <hash of the scope>/new-<id>    a version that is being written

    A change reads the highest version and links its own under the next number, which only one of several can: who was
    late reads again. A process that is stopped, wherever it is, therefore keeps nobody waiting, neither in its own
    scope nor in another. A version stays for `KEPT_SECONDS` after it was replaced, and a process that was held up for
    `LATE_SECONDS` reads again: it never takes a number that is free again for the next one.

    Not for network file systems: use Redis or Postgres across hosts.
    """

    KEPT_SECONDS = 20.0
    LATE_SECONDS = 5.0
    PATIENCE_SECONDS = 30.0
    _TIDY_EVERY = 16

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        # Up to 0.1.0 the state was an SQLite file; what it held is over after a minute, and it stays where it is.
        self._path, self._clock = (path.with_name(f"{path.name}.d") if path.is_file() else Path(path)), clock

    def change(self, scope: str, change: Change[T]) -> T:
        return self._guard(lambda: self._change(scope, change))

    def read(self, scope: str) -> tuple[Document, float]:
        return self._guard(lambda: (self._latest(self._folder(scope))[1], self._clock()))

    def scopes(self) -> list[str]:
        def collect() -> list[str]:
            if not self._path.is_dir():
                return []
            stored = (self._stored(folder)[1] for folder in self._path.iterdir() if folder.is_dir())
            return [str(content["scope"]) for content in stored if "scope" in content]

        return self._guard(collect)

    def _change(self, scope: str, change: Change[T]) -> T:
        folder, deadline = self._folder(scope), time.monotonic() + self.PATIENCE_SECONDS
        make_folder(folder)
        if self._group_writes() and not folder.stat().st_mode & _GROUP_WRITES:
            folder.chmod(folder.stat().st_mode | 0o070)
        while time.monotonic() < deadline:
            begun = time.monotonic()
            number, document = self._latest(folder)
            before = orjson.dumps(document)
            result = change(document, self._clock())
            after = orjson.dumps(document)
            if after == before or self._linked(folder, number + 1, scope, document, begun + self.LATE_SECONDS):
                return result
            time.sleep(random.uniform(0, 0.002))  # noqa: S311 - spreads the tries, guards nothing
        raise SharedStateError(
            f"{folder} was changed by others at every try for {self.PATIENCE_SECONDS:.0f} s. Worth another try."
        )

    def _linked(self, folder: Path, number: int, scope: str, document: Document, late: float) -> bool:
        """Link a version under its number; False where another one has it, or this process was held up."""
        fresh = folder / f"new-{uuid.uuid4().hex}"
        try:
            make_private(fresh)
            if self._group_writes():
                fresh.chmod(0o660)
            fresh.write_bytes(orjson.dumps({"scope": scope, "document": document}))
            if time.monotonic() > late:
                return False
            os.link(fresh, folder / str(number))
        except (FileExistsError, FileNotFoundError):  # another's number; or tidied away while this process was stopped
            return False
        finally:
            fresh.unlink(missing_ok=True)
        if number > 1 and not (folder / str(number - 1)).exists():
            # Stopped just before the link, for so long that the number was in use and is free again.
            (folder / str(number)).unlink(missing_ok=True)
            return False
        if number % self._TIDY_EVERY == 0:
            self._tidy(folder)
        return True

    def _latest(self, folder: Path) -> tuple[int, Document]:
        number, content = self._stored(folder)
        return number, content.get("document", {})

    def _stored(self, folder: Path) -> tuple[int, dict[str, Any]]:
        """The highest version and its content; 0 and nothing where there is none yet.

        One that a power cut has damaged counts as empty: what it held is over after a minute.
        """
        for _ in range(_TRIES):
            try:
                number = max((int(name) for name in os.listdir(folder) if name.isdecimal()), default=0)
                return number, _load((folder / str(number)).read_bytes() if number else None)
            except FileNotFoundError:
                if not folder.is_dir():
                    return 0, {}
        raise SharedStateError(f"{folder} is being changed faster than it can be read. Worth another try.")

    def _tidy(self, folder: Path) -> None:
        """Delete versions that were replaced long ago, the oldest first, and what killed processes have left.

        The first one stays: its number is never free again.
        """
        before, names = time.time() - self.KEPT_SECONDS, os.listdir(folder)
        numbers = sorted(int(name) for name in names if name.isdecimal())
        replaced = [(folder / str(old), folder / str(new)) for old, new in pairwise(numbers) if old > 1]
        for path, judged in [*replaced, *((folder / name, folder / name) for name in names if name.startswith("new-"))]:
            with suppress(FileNotFoundError):
                if judged.stat().st_mtime < before:
                    path.unlink()

    def _group_writes(self) -> bool:
        """Return whether somebody shares the folder with a group that writes: its files are then the group's too."""
        return bool(self._path.stat().st_mode & _GROUP_WRITES)

    def _folder(self, scope: str) -> Path:
        return self._path / hashlib.sha256(scope.encode()).hexdigest()[:32]

    def _guard(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            raise SharedStateError(
                f"the rate limiter's folder {self._path} cannot be used: {error}. Expected a writable folder on "
                "a local disk; set WEATHER_LIMITS_URL to another path, or to Redis or Postgres."
            ) from error


def _load(stored: bytes | None) -> dict[str, Any]:
    try:
        content = orjson.loads(stored) if stored else {}
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
