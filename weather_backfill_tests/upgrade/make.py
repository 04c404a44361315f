"""Makes the archives of old releases that `test_upgrade.py` opens: the old code itself writes them.

    python -m weather_backfill_tests.upgrade.make v0.1.0 7a40a8e

Checks the commit out beside this tree, lets it work for a while (`session.py`) in this environment, and packs lake,
tenants, upstream and DAGSTER_HOME into `<name>.tar.xz` here. All data is simulated.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from weather_backfill_tests.platform import PROJECT

HERE = Path(__file__).resolve().parent
PACKED = ("home", "lake", "tenants", "upstream")
_LEFT_OUT = (".log", ".pid", ".sock")
_LEFT_OUT_FOLDERS = {"logs", "storage", ".telemetry", "__pycache__"}


def make(name: str, commit: str) -> Path:
    """Make the archive of a release; where it is."""
    with tempfile.TemporaryDirectory(prefix="weather-") as scratch:
        code, place = Path(scratch) / "code", Path(scratch) / "place"
        _git("worktree", "add", "--detach", str(code), commit)
        try:
            place.mkdir()
            subprocess.run(
                [sys.executable, str(HERE / "session.py"), str(place)], check=True, cwd=place,
                env={**os.environ, "PYTHONPATH": str(code), "WEATHER_CODE": str(code)},
            )  # fmt: skip
        finally:
            _git("worktree", "remove", "--force", str(code))
        forget_machine(place)
        return pack(place, HERE / f"{name}.tar.xz")


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=PROJECT, check=True)


def forget_machine(place: Path) -> None:
    """Put a path as long in the place of this checkout's, which Dagster writes into its records."""
    here = str(PROJECT).encode()
    instead = b"/srv/weather".ljust(len(here), b"_")[: len(here)]
    for file in (place / "home").rglob("*.db"):
        file.write_bytes(file.read_bytes().replace(here, instead))


def pack(place: Path, target: Path) -> Path:
    """Pack what is in an archive below `place`, without logs and owners."""

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = Path(member.name)
        if path.name.endswith(_LEFT_OUT) or (path.parts[0] == "home" and _LEFT_OUT_FOLDERS & set(path.parts)):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(target, "w:xz", preset=9) as archive:
        for folder in PACKED:
            archive.add(place / folder, folder, filter=wanted)
    return target


def unpack(name: str, place: Path) -> Path:
    """Unpack the archive of a release into `place`; tenants find their upstream there."""
    with tarfile.open(HERE / f"{name}.tar.xz") as archive:
        archive.extractall(place, filter="data")
    for file in (place / "tenants").glob("*.yaml"):
        file.write_text(file.read_text().replace("PLACE", str(place)))
    return place


if __name__ == "__main__":
    made = make(*sys.argv[1:3])
    print(f"{made}: {made.stat().st_size:,} bytes")
