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
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weather_backfill import __version__
from weather_backfill.errors import ConfigurationError, NotFoundError, VerificationError
from weather_backfill.lake.storage import READ_THREADS, STAGING, ObjectStore
from weather_backfill.retries import retrying

LAKE, TENANTS, INSTANCE = "lake", "tenants", "instance"
_SQLITE = b"SQLite format 3\x00"
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a snapshot; `stamp` changes when the original changes."""

    size: int
    sha256: str
    stamp: str


Snapshot = Mapping[str, Entry]


@dataclass(frozen=True)
class Places:
    """What is backed up; `home` is DAGSTER_HOME, None where the instance is not an embedded one."""

    lake: ObjectStore
    tenants: ObjectStore
    home: Path | None

    def originals(self) -> list[tuple[str, str]]:
        """Names in a snapshot with their stamps, instance first."""
        found = [(f"{INSTANCE}/{path.relative_to(self.home)}", _stamp(path)) for path in self._databases() if self.home]
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
        """The bytes of an original; raises `NotFoundError` if it has gone since it was listed."""
        place, key = name.split("/", 1)
        if place != INSTANCE:
            return (self.lake if place == LAKE else self.tenants).get(key)
        assert self.home
        return _copy_of(self.home / key)

    def held(self) -> set[str]:
        """The names that are there already."""
        return {name for name, _ in self.originals()}

    def write(self, name: str, data: bytes) -> None:
        """Put an original back, atomically."""
        place, key = name.split("/", 1)
        if place != INSTANCE:
            (self.lake if place == LAKE else self.tenants).put(key, data)
        elif self.home:
            target = self.home / key
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = target.with_name(f"{target.name}.{os.getpid()}.new")
            staged.write_bytes(data)
            staged.replace(target)


def _stamp(path: Path) -> str:
    """Changes with every write, also with those that are still in the write-ahead log."""
    files = [p for p in (path, path.with_name(f"{path.name}-wal")) if p.exists()]
    return " ".join(f"{(found := p.stat()).st_size}:{found.st_mtime_ns}" for p in files)


def _copy_of(path: Path) -> bytes:
    """A consistent copy of a SQLite file that others may be writing."""
    if not path.exists():
        raise NotFoundError(f"{path} has gone.")
    with tempfile.TemporaryDirectory(prefix="weather-") as folder:
        copy = Path(folder) / "copy.db"
        reading = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
        with closing(reading) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return copy.read_bytes()


def snapshots(to: ObjectStore) -> list[str]:
    """The names of the snapshots, oldest first."""
    return [stored.key for stored in to.list("snapshots") if stored.key.endswith(".json")]


def load(to: ObjectStore, key: str) -> dict[str, Entry]:
    """A snapshot."""
    return {name: Entry(**entry) for name, entry in json.loads(to.get(key))["objects"].items()}


def backup(places: Places, to: ObjectStore, progress: Callable[[int], Any]) -> dict[str, Any]:
    """Write one snapshot; what it holds and what had to be copied. `progress(total)` is a context with `advance`."""
    known = snapshots(to)
    before: Snapshot = load(to, known[-1]) if known else {}
    held = {stored.key: stored.size for stored in to.list("objects")}
    originals = places.originals()
    copied: list[int] = []

    def take(name: str, stamp: str) -> tuple[str, Entry] | None:
        old = before.get(name)
        if old and old.stamp == stamp and held.get(_object(old.sha256)) == old.size:
            return name, old
        try:
            data = retrying()(places.read, name)
        except NotFoundError:
            return None  # deleted between the listing and now: this snapshot is of a moment after
        entry = Entry(len(data), hashlib.sha256(data).hexdigest(), stamp)
        if held.get(_object(entry.sha256)) != entry.size:
            retrying()(to.put, _object(entry.sha256), data)
            copied.append(entry.size)
        return name, entry

    entries: dict[str, Entry] = {}
    with progress(len(originals)) as advance:
        # Instance databases come first, one by one; the rest from a few threads.
        count = sum(name.startswith(f"{INSTANCE}/") for name, _ in originals)
        entries |= _collected((take(*one) for one in originals[:count]), advance)
        with ThreadPoolExecutor(READ_THREADS) as pool:
            entries |= _collected(pool.map(lambda one: take(*one), originals[count:]), advance)
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


def _collected(results: Any, advance: Advance) -> dict[str, Entry]:
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

    def bring(name: str) -> None:
        entry = entries[name]
        data = retrying()(source.get, _object(entry.sha256))
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise VerificationError(f"{source.uri(_object(entry.sha256))} is damaged: {name} cannot be restored.")
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
    place, key = name.split("/", 1)
    if place == INSTANCE and places.home:
        return hashlib.sha256((places.home / key).read_bytes()).hexdigest()
    return hashlib.sha256(places.read(name)).hexdigest()


def _object(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"
