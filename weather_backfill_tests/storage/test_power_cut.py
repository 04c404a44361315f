"""A power cut at each barrier of a local write: the object is the old one or the new one, whole, at the end the new.

No block device can be made here, so the disk is modelled by what POSIX promises: bytes are on it from the `fsync` of
their file on, names from that of their folder on; of what was not flushed, any part may be there. At each `fsync`,
rename, link and new folder two disks are looked at: one that has nothing but what was flushed, and one that has all
names at once and only flushed bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from weather_backfill.storage import conditional, local_files
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import files

KEY = "raw/service=tempest/tenant=acme/date=2024-01-01.parquet"
OLD, NEW = b"old" * 1000, b"new!" * 2000
TORN = b"names without bytes"
CHANGES = ("replace", "rename", "link", "mkdir")


class Disk:
    """What a disk holds for certain of a folder, whose own name is on it from the start."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.cuts = root, list[tuple[str, bytes | None, bytes | None]]()
        self.bytes: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.kept = ExitStack()  # open files keep their inode's number
        self._flush_folder(root)
        fsync = os.fsync

        def flushed(handle: int) -> None:
            fsync(handle)
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if path.is_dir():
                self._flush_folder(path)
            else:
                self.bytes[os.fstat(handle).st_ino] = path.read_bytes()
                self.kept.callback(os.close, os.dup(handle))
            self.cut(f"after fsync of {path.relative_to(root)}")

        patch.setattr(os, "fsync", flushed)
        for name in CHANGES:
            patch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **more: Any) -> Any:
            answer = change(*given, **more)
            self.cut(f"after {name} of {given[0]}")
            return answer

        return watched

    def _flush_folder(self, folder: Path) -> None:
        self.names[folder.stat().st_ino] = {entry.name: entry.inode() for entry in os.scandir(folder)}

    def cut(self, when: str) -> None:
        self.cuts.append((when, self.least(KEY), self.most(KEY)))

    def least(self, key: str) -> bytes | None:
        """The object on the disk that has nothing but what was flushed; None if its name is not there."""
        inode: int | None = self.root.stat().st_ino
        for part in Path(key).parts:
            inode = self.names.get(inode or 0, {}).get(part)
        return None if inode is None else self.bytes.get(inode, TORN)

    def most(self, key: str) -> bytes | None:
        """The object on the disk that has all names, and only flushed bytes."""
        path = self.root / key
        return self.bytes.get(path.stat().st_ino, TORN) if path.exists() else None


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path, monkeypatch)
    with disk.kept:
        yield disk


def put(store: ObjectStore, data: bytes) -> None:
    store.put(KEY, data)


def create_or_swap(store: ObjectStore, data: bytes) -> None:
    seen = store.look(KEY)
    conditional.put_if(store, KEY, data, seen.etag if seen else None)


@pytest.mark.parametrize("write", [put, create_or_swap])
def test_a_power_cut_at_any_barrier_leaves_the_old_object_or_the_new_one(
    disk: Disk, write: Callable[[ObjectStore, bytes], None]
) -> None:
    store = ObjectStore(str(disk.root))
    write(store, OLD)
    assert disk.least(KEY) == OLD, "once it returns, the bytes, the name and the names of all folders are on the disk"
    assert {found for _, *both in disk.cuts for found in both} == {None, OLD}
    disk.cuts.clear()
    write(store, NEW)
    assert disk.least(KEY) == disk.most(KEY) == NEW
    assert [cut for cut in disk.cuts if not {cut[1], cut[2]} <= {OLD, NEW}] == []
    assert {found for _, *both in disk.cuts for found in both} == {OLD, NEW}, "the cuts lie on both sides"


@pytest.mark.parametrize("left_out", ["folder", "new folders", "file"])
def test_a_barrier_that_is_left_out_is_seen(disk: Disk, monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    if left_out == "folder":
        monkeypatch.setattr(local_files, "flush_folder", lambda folder: None)
    elif left_out == "new folders":
        monkeypatch.setattr(files, "flush_folder", lambda folder: None)
    else:
        flushed = os.fsync
        monkeypatch.setattr(os, "fsync", lambda handle: os.path.isdir(f"/proc/self/fd/{handle}") and flushed(handle))
    put(ObjectStore(str(disk.root)), NEW)
    assert disk.least(KEY) != NEW
