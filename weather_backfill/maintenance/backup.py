"""Backup and restore of the lake, the tenant files and an embedded (SQLite) instance.

    objects/<first two>/<sha256>       each content once, for all snapshots
    snapshots/<UTC time>.json          name, size and hash of each object; written last, so half a backup is none

A backup copies only contents that no earlier snapshot has: objects whose size, time and ETag are those of the last
snapshot are not read again. SQLite files are copied through SQLite's online backup, so a running daemon disturbs
nothing. The instance is copied first: the lake of a snapshot is never older than its instance's records. An instance
on PostgreSQL is backed up by the database's own means (`pg_dump`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from weather_backfill import __version__
from weather_backfill.lake.listing import own_objects
from weather_backfill.model.errors import ConfigurationError, NotFoundError, VerificationError
from weather_backfill.storage.object_store import READ_THREADS, ObjectStore
from weather_backfill.storage.objects import INTERNAL
from weather_backfill.util import json_documents
from weather_backfill.util.files import make_folder
from weather_backfill.util.retries import retrying
from weather_backfill.util.scratch import Scratch

LAKE, TENANTS, INSTANCE = "lake", "tenants", "instance"
_SNAPSHOT = re.compile(r"snapshots/\d{8}T\d{6}(\.\d+)?Z?\.json")
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
    """The places to back up; `home` is DAGSTER_HOME, None where the instance is not an embedded one."""

    lake: ObjectStore
    tenants: ObjectStore
    home: Path | None

    def databases(self) -> list[tuple[str, str]]:
        """The instance's database files as (name in a snapshot, stamp)."""
        return [(f"{INSTANCE}/{path.relative_to(self.home)}", _stamp(path)) for path in self._databases() if self.home]

    def objects(self) -> list[tuple[str, str]]:
        """The tenant files and the lake's objects as (name in a snapshot, stamp)."""
        objects = []
        for name, store in ((TENANTS, self.tenants), (LAKE, self.lake)):
            for stored in store.list():
                if stored.key.split("/")[0] not in INTERNAL:
                    stamp = f"{stored.size} {stored.last_modified.isoformat()} {stored.etag}"
                    objects.append((f"{name}/{stored.key}", stamp))
        return objects

    def _databases(self) -> Iterator[Path]:
        for path in sorted(self.home.rglob("*.db")) if self.home else ():
            with path.open("rb") as file:
                if file.read(len(_SQLITE)) == _SQLITE:
                    yield path

    def read(self, name: str) -> bytes:
        """Read a tenant file or an object of the lake; raises `NotFoundError` if it was deleted since the listing."""
        place, key = name.split("/", 1)
        return (self.lake if place == LAKE else self.tenants).get(key)

    @contextmanager
    def copied(self, name: str) -> Iterator[Path]:
        """Make a consistent temporary copy of one of the instance's databases.

        Raises `NotFoundError` if it was deleted since the listing.
        """
        with Scratch("backup") as folder:
            copy = folder / "copy.db"
            _copy(self.path(name), copy)
            yield copy

    def path(self, name: str) -> Path:
        """The path of one of the instance's databases."""
        assert self.home
        return self.home / name.split("/", 1)[1]

    def held(self) -> set[str]:
        """The names of all databases, tenant files and objects that exist now."""
        return {name for name, _ in [*self.databases(), *self.objects()]}

    def write(self, name: str, data: bytes) -> None:
        """Put a tenant file or an object of the lake back, atomically."""
        place, key = name.split("/", 1)
        (self.lake if place == LAKE else self.tenants).put(key, data)


def _stamp(path: Path) -> str:
    """A stamp that changes with every write, also with those still in the write-ahead log."""
    files = [p for p in (path, path.with_name(f"{path.name}-wal")) if p.exists()]
    return " ".join(f"{(stat := p.stat()).st_size}:{stat.st_mtime_ns}" for p in files)


def _copy(path: Path, to: Path) -> None:
    """Copy a SQLite file consistently while others may be writing to it."""
    if not path.exists():
        raise NotFoundError(f"{path} was deleted.")
    reading = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
    with closing(reading) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def snapshots(to: ObjectStore) -> list[str]:
    """The names of the snapshots, oldest first."""
    return [stored.key for stored in own_objects(to, "snapshots", lambda key: _SNAPSHOT.fullmatch(key) is not None)]


def load(to: ObjectStore, key: str) -> dict[str, BackupEntry]:
    """Read a snapshot's entries by name; raises `UnreadableObjectError` for a damaged one."""
    with json_documents.reading(f"{to.uri(key)} is no snapshot of a backup", "use another one, or delete it."):
        objects = json_documents.parsed(to.get(key))["objects"]
        return {name: BackupEntry(**entry) for name, entry in objects.items()}


def backup(places: Places, to: ObjectStore, progress: Callable[[int], Any]) -> dict[str, Any]:
    """Write one snapshot; returns its name, `objects` and `bytes`, the copied ones, and how the instance was treated.

    `progress(total)` is a context manager that gives `advance(count)`.
    """
    earlier = snapshots(to)
    before: Snapshot = load(to, earlier[-1]) if earlier else {}
    stored_sizes = {stored.key: stored.size for stored in to.list("objects")}
    copied: list[int] = []

    def unchanged(name: str, stamp: str) -> BackupEntry | None:
        old = before.get(name)
        return old if old and old.stamp == stamp and stored_sizes.get(_object(old.sha256)) == old.size else None

    def add(entry: BackupEntry, put: Callable[[str], Any]) -> BackupEntry:
        if stored_sizes.get(_object(entry.sha256)) != entry.size:
            retrying()(put, _object(entry.sha256))
            copied.append(entry.size)
        return entry

    def take_database(name: str, stamp: str) -> BackupEntry:
        if old := unchanged(name, stamp):
            return old
        with places.copied(name) as copy:  # a file of GBs, never read into memory
            return add(BackupEntry(copy.stat().st_size, _sha_of(copy), stamp), lambda key: to.put_file(key, copy))

    def take(name: str, stamp: str) -> BackupEntry:
        if old := unchanged(name, stamp):
            return old
        data = retrying()(places.read, name)
        return add(BackupEntry(len(data), hashlib.sha256(data).hexdigest(), stamp), lambda key: to.put(key, data))

    # All databases are copied before the lake is listed: every object the instance knows is in the lake by then.
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


def _unless_gone(take: Callable[[str, str], BackupEntry], original: tuple[str, str]) -> tuple[str, BackupEntry] | None:
    """Take an original; returns its name and entry, or None if it was deleted since the listing."""
    try:
        return original[0], take(*original)
    except NotFoundError:
        return None


def _collected(results: Any, advance: Advance) -> dict[str, BackupEntry]:
    entries = {}
    for result in results:
        advance(1)
        if result:
            entries[result[0]] = result[1]
    return entries


def restore(
    places: Places, source: ObjectStore, progress: Callable[[int], Any], snapshot: str | None = None
) -> dict[str, Any]:
    """Restore a snapshot (default: the latest) into empty places, each object checked by its sha256.

    Equal objects that exist already are kept, so a restore that was cut short can be run again. Raises
    `ConfigurationError` if anything else exists there, before anything is written, and `VerificationError` for a
    damaged object of the backup. Returns `snapshot`, `objects`, `restored` and `bytes`.
    """
    available = snapshots(source)
    key = f"snapshots/{snapshot}.json" if snapshot else (available[-1] if available else "")
    if key not in available:
        names = ", ".join(k.removeprefix("snapshots/").removesuffix(".json") for k in available[-10:]) or "none"
        raise ConfigurationError(f"{source.url} has no snapshot {snapshot or ''!r}: there are {names}.")
    entries = {n: e for n, e in load(source, key).items() if places.home or not n.startswith(f"{INSTANCE}/")}
    if strange := [name for name in entries if not _is_ours(name)]:
        raise ConfigurationError(
            f"{source.uri(key)} names {strange[0][:80]!r}, which is no place of ours: expected a backup made by "
            "`weather-backfill backup`."
        )
    present = places.held()
    other = sorted(n for n in present if n not in entries or _sha(places, n) != entries[n].sha256)
    if other:
        raise ConfigurationError(
            f"restore wants an empty lake, tenants folder and DAGSTER_HOME, but {len(other)} objects exist there that "
            f"the snapshot does not have ({', '.join(other[:3])}): point the settings at new places, or move them away."
        )
    missing = [name for name in sorted(entries) if name not in present]

    def check(name: str, sha256: str) -> None:
        if sha256 != entries[name].sha256:
            damaged = source.uri(_object(entries[name].sha256))
            raise VerificationError(f"{damaged} is damaged: {name} cannot be restored.")

    def restore_one(name: str) -> None:
        content = _object(entries[name].sha256)
        if name.startswith(f"{INSTANCE}/"):
            target = places.path(name)
            make_folder(target.parent)
            staged = target.with_name(f"{target.name}.{os.getpid()}.new")
            try:
                retrying()(source.get_file, content, staged)
                check(name, _sha_of(staged))
                staged.replace(target)
            finally:
                staged.unlink(missing_ok=True)
            return
        data = retrying()(source.get, content)
        check(name, hashlib.sha256(data).hexdigest())
        retrying()(places.write, name, data)

    with progress(len(missing)) as advance, ThreadPoolExecutor(READ_THREADS) as pool:
        for _ in pool.map(restore_one, missing):
            advance(1)
    return {
        "snapshot": key.removeprefix("snapshots/").removesuffix(".json"),
        "objects": len(entries),
        "restored": len(missing),
        "bytes": sum(entries[name].size for name in missing),
    }


def _is_ours(name: str) -> bool:
    """Return whether a snapshot's name stays below its place: a manipulated snapshot may hold any name."""
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
