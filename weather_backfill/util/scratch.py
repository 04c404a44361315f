"""Temporary folders that go with their process, even when it is killed: the next one that needs a folder sweeps them.

<temporary folder>/weather-scratch-<kind>-<random>/lock    held (flock) by the process as long as it lives
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

PREFIX = "weather-scratch-"
LOCKED_WITHIN = 24 * 60 * 60.0
"""Seconds after which a folder without a lock is one of a process that was killed as it made it."""


class Scratch:
    """A temporary folder of this process: as a context manager its path, which is deleted at the end."""

    def __init__(self, kind: str, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        sweep(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-", dir=parent))
        staged = self.folder / "lock.new"
        self._lock: IO[bytes] = staged.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        staged.rename(self.folder / "lock")  # seen by others only when it is held

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the folder."""
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(parent: Path | None = None) -> list[Path]:
    """Delete the folders of processes that are gone, never those of living ones; returns which."""
    swept = []
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            if _is_left(folder):
                swept.append(folder)
    return swept


def _is_left(folder: Path) -> bool:
    """Delete a folder whose lock nobody holds, with the lock in hand; returns whether it was one."""
    lock = folder / "lock"
    if not lock.exists():
        left = time.time() - folder.stat().st_mtime > LOCKED_WITHIN
        if left:
            shutil.rmtree(folder, ignore_errors=True)
        return left
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
        shutil.rmtree(folder, ignore_errors=True)
    return True
