"""Backup and restore of the lake, the tenant files and an embedded (SQLite) instance.

    objects/<first two>/<sha256>       every content once, whichever snapshot it belongs to
    snapshots/<UTC time>.json          what was where: the last object of a backup, so half a backup is none

A backup copies what no earlier snapshot holds: objects whose size, time and ETag are those of the last snapshot
are not read again. SQLite files are copied through SQLite's online backup, so a running daemon disturbs nothing.
The instance goes first: the lake of a snapshot is never older than what its instance says. An instance on
PostgreSQL is the database's to back up (`pg_dump`).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from weather_backfill import __version__
from weather_backfill.model.errors import ConfigurationError, NotFoundError, VerificationError
from weather_backfill.storage.object_store import READ_THREADS, STAGING, ObjectStore
from weather_backfill.util.retries import retrying

LAKE, TENANTS, INSTANCE = "lake", "tenants", "instance"
_SQLITE = b"SQLite format 3\x00"
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class BackupEntry:
    """One object of a snapshot; `stamp` changes when the original changes."""

    size: int
    sha256: str
    stamp: str


Snapshot = Mapping[str, BackupEntry]


@dataclass(frozen=True)
class Places:
    """What is backed up; `home` is DAGSTER_HOME, None where the instance is not an embedded one."""

    lake: ObjectStore
    tenants: ObjectStore
    home: Path | None

    def databases(self) -> list[tuple[str, str]]:
        """Names in a snapshot of the instance's files, with their stamps."""
        return [(f"{INSTANCE}/{path.relative_to(self.home)}", _stamp(path)) for path in self._databases() if self.home]

    def objects(self) -> list[tuple[str, str]]:
        """Names in a snapshot of tenant files and lake, with their stamps."""
        found = []
        for name, store in ((TENANTS, self.tenants), (LAKE, self.lake)):
            for stored in store.list():
                if not stored.key.startswith(f"{STAGING}/"):
                    stamp = f"{stored.size} {stored.last_modified.isoformat()} {stored.etag}"
                    found.append((f"{name}/{stored.key}", stamp))
        return found

    def _databases(self) -> Iterator[Path]:
        for path in sorted(self.home.rglob("*.db")) if self.home else ():
            with path.open("rb") as file:
                if file.read(len(_SQLITE)) == _SQLITE:
                    yield path

    def read(self, name: str) -> bytes:
        """The bytes of a tenant file or of the lake; raises `NotFoundError` if it has gone since it was listed."""
        place, key = name.split("/", 1)
        return (self.lake if place == LAKE else self.tenants).get(key)

    @contextmanager
    def copied(self, name: str) -> Iterator[Path]:
        """A consistent copy of one of the instance's databases, for as long as the context lasts.

        Raises `NotFoundError` if it has gone since it was listed.
        """
        with tempfile.TemporaryDirectory(prefix="weather-") as folder:
            copy = Path(folder) / "copy.db"
            _copy(self.path(name), copy)
            yield copy

    def path(self, name: str) -> Path:
        """Where one of the instance's databases is."""
        assert self.home
        return self.home / name.split("/", 1)[1]

    def held(self) -> set[str]:
        """The names that are there already."""
        return {name for name, _ in [*self.databases(), *self.objects()]}

    def write(self, name: str, data: bytes) -> None:
        """Put a tenant file or an object of the lake back, atomically."""
        place, key = name.split("/", 1)
        (self.lake if place == LAKE else self.tenants).put(key, data)


def _stamp(path: Path) -> str:
    """Changes with every write, also with those that are still in the write-ahead log."""
    files = [p for p in (path, path.with_name(f"{path.name}-wal")) if p.exists()]
    return " ".join(f"{(found := p.stat()).st_size}:{found.st_mtime_ns}" for p in files)


def _copy(path: Path, to: Path) -> None:
    """A consistent copy of a SQLite file that others may be writing."""
    if not path.exists():
        raise NotFoundError(f"{path} has gone.")
    reading = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
    with closing(reading) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def snapshots(to: ObjectStore) -> list[str]:
    """The names of the snapshots, oldest first."""
    return [stored.key for stored in to.list("snapshots") if stored.key.endswith(".json")]


def load(to: ObjectStore, key: str) -> dict[str, BackupEntry]:
    """A snapshot."""
    return {name: BackupEntry(**entry) for name, entry in json.loads(to.get(key))["objects"].items()}


def backup(places: Places, to: ObjectStore, progress: Callable[[int], Any]) -> dict[str, Any]:
    """Write one snapshot; what it holds and what had to be copied. `progress(total)` is a context with `advance`."""
    known = snapshots(to)
    before: Snapshot = load(to, known[-1]) if known else {}
    held = {stored.key: stored.size for stored in to.list("objects")}
    copied: list[int] = []

    def still_held(name: str, stamp: str) -> BackupEntry | None:
        old = before.get(name)
        return old if old and old.stamp == stamp and held.get(_object(old.sha256)) == old.size else None

    def add(entry: BackupEntry, put: Callable[[str], Any]) -> BackupEntry:
        if held.get(_object(entry.sha256)) != entry.size:
            retrying()(put, _object(entry.sha256))
            copied.append(entry.size)
        return entry

    def take_database(name: str, stamp: str) -> BackupEntry:
        if old := still_held(name, stamp):
            return old
        with places.copied(name) as copy:  # a file of GBs, which is never in memory
            return add(BackupEntry(copy.stat().st_size, _sha_of(copy), stamp), lambda key: to.put_file(key, copy))

    def take(name: str, stamp: str) -> BackupEntry:
        if old := still_held(name, stamp):
            return old
        data = retrying()(places.read, name)
        return add(BackupEntry(len(data), hashlib.sha256(data).hexdigest(), stamp), lambda key: to.put(key, data))

    # All databases are copied before the lake is listed: what the instance knows of is in the lake by then.
    databases = places.databases()
    with progress(len(databases)) as advance:
        entries = _collected(map(partial(_unless_gone, take_database), databases), advance)
    originals = places.objects()
    with progress(len(originals)) as advance, ThreadPoolExecutor(READ_THREADS) as pool:
        entries |= _collected(pool.map(partial(_unless_gone, take), originals), advance)
    name = f"snapshots/{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.json"
    document = {"code_version": __version__, "objects": {n: asdict(e) for n, e in sorted(entries.items())}}
    to.put(name, json.dumps(document).encode())
    return {
        "snapshot": name.removeprefix("snapshots/").removesuffix(".json"),
        "objects": len(entries),
        "bytes": sum(entry.size for entry in entries.values()),
        "copied_objects": len(copied),
        "copied_bytes": sum(copied),
        "instance": "SQLite" if places.home else "not included: back the database up with pg_dump",
    }


def _unless_gone(take: Callable[[str, str], BackupEntry], one: tuple[str, str]) -> tuple[str, BackupEntry] | None:
    """An original's name and entry; None if it was deleted since it was listed: the snapshot is of a moment after."""
    try:
        return one[0], take(*one)
    except NotFoundError:
        return None


def _collected(results: Any, advance: Advance) -> dict[str, BackupEntry]:
    found = {}
    for result in results:
        advance(1)
        if result:
            found[result[0]] = result[1]
    return found


def restore(
    places: Places, source: ObjectStore, progress: Callable[[int], Any], snapshot: str | None = None
) -> dict[str, Any]:
    """Bring a snapshot (default: the latest) into an empty place, each object checked by its sha256.

    What is there already and equal is left: a restore that was cut short goes on. Raises `ConfigurationError` if
    anything else is there, before anything is written.
    """
    known = snapshots(source)
    wanted = f"snapshots/{snapshot}.json" if snapshot else (known[-1] if known else "")
    if wanted not in known:
        names = ", ".join(k.removeprefix("snapshots/").removesuffix(".json") for k in known[-10:]) or "none"
        raise ConfigurationError(f"{source.url} has no snapshot {snapshot or ''!r}: there are {names}.")
    entries = {n: e for n, e in load(source, wanted).items() if places.home or not n.startswith(f"{INSTANCE}/")}
    if strange := [name for name in entries if not _is_ours(name)]:
        raise ConfigurationError(
            f"{source.uri(wanted)} names {strange[0][:80]!r}: that is no place of ours. Is it ours?"
        )
    there = places.held()
    other = sorted(n for n in there if n not in entries or _sha(places, n) != entries[n].sha256)
    if other:
        raise ConfigurationError(
            f"restore wants an empty lake, tenants folder and DAGSTER_HOME, and {len(other)} objects are there that "
            f"the snapshot does not hold ({', '.join(other[:3])}): point the settings at new places, or move them away."
        )
    missing = [name for name in sorted(entries) if name not in there]

    def check(name: str, sha256: str) -> None:
        if sha256 != entries[name].sha256:
            damaged = source.uri(_object(entries[name].sha256))
            raise VerificationError(f"{damaged} is damaged: {name} cannot be restored.")

    def bring(name: str) -> None:
        key = _object(entries[name].sha256)
        if name.startswith(f"{INSTANCE}/"):
            target = places.path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = target.with_name(f"{target.name}.{os.getpid()}.new")
            try:
                retrying()(source.get_file, key, staged)
                check(name, _sha_of(staged))
                staged.replace(target)
            finally:
                staged.unlink(missing_ok=True)
            return
        data = retrying()(source.get, key)
        check(name, hashlib.sha256(data).hexdigest())
        retrying()(places.write, name, data)

    with progress(len(missing)) as advance, ThreadPoolExecutor(READ_THREADS) as pool:
        for _ in pool.map(bring, missing):
            advance(1)
    return {
        "snapshot": wanted.removeprefix("snapshots/").removesuffix(".json"),
        "objects": len(entries),
        "restored": len(missing),
        "bytes": sum(entries[name].size for name in missing),
    }


def _is_ours(name: str) -> bool:
    """Whether a name of a snapshot stays below its place: a snapshot that was tampered with may say anything."""
    place, *parts = name.split("/")
    return place in (LAKE, TENANTS, INSTANCE) and bool(parts) and not {"", ".", ".."} & set(parts)


def _sha(places: Places, name: str) -> str:
    if name.startswith(f"{INSTANCE}/"):
        return _sha_of(places.path(name))
    return hashlib.sha256(places.read(name)).hexdigest()


def _sha_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _object(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"
