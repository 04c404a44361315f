"""Makes the archives of old releases that `test_upgrade.py` opens: the old code itself writes them.

    python -m weather_backfill_tests.upgrade.make v0.1.0 7a40a8e
    python -m weather_backfill_tests.upgrade.make 1160759

Checks the commit (default: the name) out beside this tree, lets it work for a while (`session_<name>.py`, else
`session.py`) in this environment, and packs lake, tenants, upstream and DAGSTER_HOME into `<name>.tar.xz` here. All
data is simulated, and nothing in an archive says where or by whom it was made.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import obstore
from obstore.store import LocalStore

from weather_backfill_tests.platform import PROJECT

HERE = Path(__file__).resolve().parent
PACKED = ("home", "lake", "tenants", "upstream")
_LEFT_OUT = (".log", ".pid", ".sock", "-wal", "-shm")
_LEFT_OUT_FOLDERS = {"logs", "storage", ".telemetry", "__pycache__"}
# Paths of this machine, and what stands for them.
_PERSONAL = {str(PROJECT): "/srv/weather", sys.base_prefix: "/usr/python", str(Path.home()): "/home"}


def make(name: str, commit: str, target: Path | None = None) -> Path:
    """Make the archive of a release; where it is."""
    session = HERE / f"session_{name}.py"
    # Not where TMPDIR says, for the folder's name gets into the footers of the lake.
    with tempfile.TemporaryDirectory(prefix="weather-", dir="/tmp") as scratch:
        code, place = Path(scratch) / "code", Path(scratch) / "place"
        _git("worktree", "add", "--detach", str(code), commit)
        try:
            place.mkdir()
            subprocess.run(
                [sys.executable, str(session if session.exists() else HERE / "session.py"), str(place)],
                check=True, cwd=place,
                env={**os.environ, "PYTHONPATH": str(code), "WEATHER_CODE": str(code), "LOGNAME": "operator"},
            )  # fmt: skip
        finally:
            _git("worktree", "remove", "--force", str(code))
        forget_machine(place)
        return pack(place, target or HERE / f"{name}.tar.xz")


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=PROJECT, check=True)


def forget_machine(place: Path) -> None:
    """Put paths as long in the place of this machine's, which Dagster writes into its records.

    Raises `RuntimeError` if one is left anywhere: files of the lake are known by their hashes, so they must hold none.
    """
    for file in (place / "home").rglob("*.db"):
        with closing(sqlite3.connect(file)) as database:  # all into the one file, and nothing of what was deleted
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
        data = file.read_bytes()
        for here, instead in _PERSONAL.items():
            data = data.replace(here.encode(), instead.ljust(len(here), "_")[: len(here)].encode())
        file.write_bytes(data)
    for folder in PACKED:
        packed = (file for file in (place / folder).rglob("*") if not _is_left_out(file.relative_to(place)))
        for file in filter(Path.is_file, packed):
            for text in _texts(file):
                for here in _PERSONAL:
                    if here.encode() in text:
                        raise RuntimeError(f"{file.relative_to(place)} names {here}: make it somewhere else.")


def _is_left_out(path: Path) -> bool:
    """Logs and the like, which no archive holds; the path is relative to the place."""
    return path.name.endswith(_LEFT_OUT) or (path.parts[0] == "home" and bool(_LEFT_OUT_FOLDERS & set(path.parts)))


def _texts(file: Path) -> Iterator[bytes]:
    """What a file says: its bytes, and in a database what Dagster has compressed."""
    yield file.read_bytes()
    if file.suffix == ".db":
        with closing(sqlite3.connect(file)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    yield from (zlib.decompress(cell) for cell in row if isinstance(cell, bytes) and cell[:1] == b"x")


def pack(place: Path, target: Path) -> Path:
    """Pack what is in an archive below `place`, without logs and owners."""

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if _is_left_out(Path(member.name)):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(target, "w:xz", preset=9) as archive:
        for folder in PACKED:
            archive.add(place / folder, folder, filter=wanted)
    return target


def unpack(name: str, place: Path) -> Path:
    """Unpack the archive of a release into `place`, as if it had always lain there.

    Tenants find their upstream there. Journals name objects by their ETags, which are those of files of this disk.
    """
    with tarfile.open(HERE / f"{name}.tar.xz") as archive:
        archive.extractall(place, filter="data")
    for file in (place / "tenants").glob("*.yaml"):
        file.write_text(file.read_text().replace("PLACE", str(place)))
    lake = LocalStore(str(place / "lake"))
    for file in (place / "lake" / "_journal").rglob("*.json"):
        record = json.loads(file.read_bytes())
        record["metadata"]["etag"] = obstore.head(lake, record["object_key"])["e_tag"]
        file.write_text(json.dumps(record))
    return place


if __name__ == "__main__":
    made = make(sys.argv[1], sys.argv[-1])
    print(f"{made}: {made.stat().st_size:,} bytes")
