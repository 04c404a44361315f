"""Files and folders with data or state: for their owner, and for the group to read where the umask lets it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

GROUP_READS = 0o640
OWNER_ALONE = 0o600
_FOLDER = 0o750


def open_new(path: Path) -> BinaryIO:
    """Open a file to be written anew; if made here, owner and group may read it (less the umask), and nobody else."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, GROUP_READS))


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, closed to all but owner and group (less the umask)."""
    try:
        path.mkdir(mode=_FOLDER, exist_ok=True)
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(mode=_FOLDER, exist_ok=True)


def make_private(path: Path) -> None:
    """Make an empty file for its owner alone, unless there is one, which stays as it is."""
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY, OWNER_ALONE))
