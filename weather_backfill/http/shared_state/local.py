"""Stores for one process (memory) and for one host (a folder)."""

from __future__ import annotations

import copy
import hashlib
import os
import random
import threading
import time
import uuid
from collections import defaultdict
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
_NEAR = 64
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
        <hash of the scope>/new/<id>    a version that is being written

    A change reads the highest version and links its own under the next number, which only one of several can: who was
    late reads again. A process that is stopped, wherever it is, therefore keeps nobody waiting, neither in its own
    scope nor in another. A version stays for `KEPT_SECONDS` after it was replaced, and a process that was held up for
    `LATE_SECONDS` reads again: it never takes a number that is free again for the next one.

    Not for network file systems: use Redis or Postgres across hosts.
    """

    KEPT_SECONDS = 10.0
    LATE_SECONDS = 5.0
    PATIENCE_SECONDS = 30.0
    _TIDY_EVERY = 32

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        # Up to 0.1.0 the state was an SQLite file; what it held is over after a minute, and it stays where it is.
        self._path, self._clock = (path.with_name(f"{path.name}.d") if path.is_file() else Path(path)), clock
        self._made: dict[str, str] = {}  # the folders by scope that are there
        self._seen: dict[str, int] = {}  # the highest number seen so far, by folder
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def change(self, scope: str, change: Change[T]) -> T:
        with self._turns[scope]:  # threads of a process stop together: one at a time, they need not try again
            return self._guard(lambda: self._change(scope, change))

    def read(self, scope: str) -> tuple[Document, float]:
        return self._guard(lambda: (self._latest(self._folder(scope))[1].get("document", {}), self._clock()))

    def scopes(self) -> list[str]:
        def collect() -> list[str]:
            folders = [str(folder) for folder in self._path.iterdir()] if self._path.is_dir() else []
            stored = (self._latest(folder)[1] for folder in folders if os.path.isdir(folder))
            return [str(content["scope"]) for content in stored if "scope" in content]

        return self._guard(collect)

    def _change(self, scope: str, change: Change[T]) -> T:
        folder, deadline = self._made.get(scope) or self._make(scope), time.monotonic() + self.PATIENCE_SECONDS
        while time.monotonic() < deadline:
            begun = time.monotonic()
            number, content = self._latest(folder)
            document = content.get("document", {})
            before = orjson.dumps(document)
            result = change(document, self._clock())
            if orjson.dumps(document) == before:
                return result
            version = orjson.dumps({"scope": scope, "document": document})
            if self._linked(folder, number + 1, version, begun + self.LATE_SECONDS):
                return result
            if not os.path.isdir(f"{folder}/new"):
                self._make(scope)  # somebody has deleted the state while this process runs
            time.sleep(random.uniform(0, 0.0005))  # noqa: S311 - spreads the tries, guards nothing
        raise SharedStateError(
            f"{folder} was changed by others at every try for {self.PATIENCE_SECONDS:.0f} s. Worth another try."
        )

    def _latest(self, folder: str) -> tuple[int, dict[str, Any]]:
        """The highest version and its content; 0 and nothing where there is none yet.

        One that a power cut has damaged counts as empty: what it held is over after a minute.
        """
        for _ in range(_TRIES):
            number = self._highest(folder)
            if not number:
                return 0, {}
            try:
                with open(_name(folder, number), "rb") as file:
                    content = _load(file.read())
            except FileNotFoundError:
                self._seen.pop(folder, None)
                continue  # replaced and tidied away since
            self._seen[folder] = number
            return number, content
        raise SharedStateError(f"{folder} is being changed faster than it can be read. Worth another try.")

    def _highest(self, folder: str) -> int:
        """The highest number: from the one seen last on where that is near, for a listing may be long.

        The oldest versions are deleted first: if one is there and the next is not, there has been no next. The first
        version, which always stays, says nothing of the kind.
        """
        number = self._seen.get(folder, 0)
        if number > 1 and os.path.exists(_name(folder, number)):
            for following in range(number + 1, number + _NEAR):
                if not os.path.exists(_name(folder, following)):
                    return following - 1
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return 0
        return int(max((name for name in names if name != "new"), default="0"))

    def _linked(self, folder: str, number: int, version: bytes, late: float) -> bool:
        """Link a version under its number; False where another one has it, or this process was held up."""
        fresh, target = f"{folder}/new/{uuid.uuid4().hex}", _name(folder, number)
        try:
            shared = os.stat(folder).st_mode & _GROUP_WRITES
            make_private(Path(fresh))
            if shared:
                os.chmod(fresh, 0o660)
            with open(fresh, "wb") as file:
                file.write(version)
            if time.monotonic() > late:
                return False
            os.link(fresh, target)
        except (FileExistsError, FileNotFoundError):  # another's number; or tidied away while this process was stopped
            return False
        finally:
            with suppress(FileNotFoundError):
                os.unlink(fresh)
        if number > 1 and not os.path.exists(_name(folder, number - 1)):
            # Stopped just before the link, for so long that the number was in use and is free again.
            with suppress(FileNotFoundError):
                os.unlink(target)
            return False
        if number % self._TIDY_EVERY == 0:
            self._tidy(folder)
        return True

    def _tidy(self, folder: str) -> None:
        """Delete versions that were replaced long ago, the oldest first, and what killed processes have left.

        The first one stays: its number is never free again.
        """
        before = time.time() - self.KEPT_SECONDS
        numbers = sorted(name for name in os.listdir(folder) if name.isdecimal())[1:]
        with suppress(FileNotFoundError):  # another process tidies too
            for old, new in pairwise(numbers):
                if os.stat(f"{folder}/{new}").st_mtime >= before:
                    break
                os.unlink(f"{folder}/{old}")
            for name in os.listdir(f"{folder}/new"):
                if os.stat(f"{folder}/new/{name}").st_mtime < before:
                    os.unlink(f"{folder}/new/{name}")

    def _make(self, scope: str) -> str:
        """Make a scope's folder; the group's too where somebody shares the state with a group that writes."""
        folder = self._folder(scope)
        make_folder(Path(folder) / "new")
        if self._path.stat().st_mode & _GROUP_WRITES:
            for made in (Path(folder), Path(folder) / "new"):
                if not made.stat().st_mode & _GROUP_WRITES:
                    made.chmod(made.stat().st_mode | 0o070)
        self._made[scope] = folder
        return folder

    def _folder(self, scope: str) -> str:
        return f"{self._path}/{hashlib.sha256(scope.encode()).hexdigest()[:32]}"

    def _guard(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            raise SharedStateError(
                f"the rate limiter's folder {self._path} cannot be used: {error}. Expected a writable folder on "
                "a local disk; set WEATHER_LIMITS_URL to another path, or to Redis or Postgres."
            ) from error


def _name(folder: str, number: int) -> str:
    return f"{folder}/{number:016d}"


def _load(stored: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(stored)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
