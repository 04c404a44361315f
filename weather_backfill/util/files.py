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
    """Make a folder and those above it that are missing, closed to all but owner and group (less the umask).

    A power cut after this takes none of them away.
    """
    try:
        path.mkdir(mode=_FOLDER)
    except FileExistsError:
        if not path.is_dir():
            raise
    except FileNotFoundError:
        make_folder(path.parent)
        make_folder(path)
    else:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries, the names in it, to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private(path: Path) -> None:
    """Make an empty file for its owner alone, unless there is one, which stays as it is."""
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY, OWNER_ALONE))
