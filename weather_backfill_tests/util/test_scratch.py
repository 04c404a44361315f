"""Temporary folders: those of killed processes go, those of living ones stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from weather_backfill.util import scratch
from weather_backfill.util.scratch import Scratch, sweep

_ENDS = """
import os, signal, sys
from pathlib import Path
from weather_backfill.util.scratch import Scratch
mine = Scratch("dwd", Path(sys.argv[1]))
(mine.folder / "0.arrow").write_bytes(b"x")
os.kill(os.getpid(), getattr(signal, sys.argv[2]))
"""


def process(parent: Path, sign: str) -> subprocess.Popen[bytes]:
    """A process with a folder, that has killed or stopped itself."""
    made = subprocess.Popen([sys.executable, "-c", _ENDS, str(parent), sign])
    os.waitid(os.P_PID, made.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    return made


def test_the_folder_of_a_killed_process_is_swept_by_the_next_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    killed = process(tmp_path, "SIGKILL")
    assert killed.wait() == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    stopped = process(tmp_path, "SIGSTOP")  # it lives, and swept as it began
    try:
        assert not left.exists()
        [living] = tmp_path.iterdir()
        with Scratch("copy", tmp_path) as mine:
            assert sweep(tmp_path) == []
            assert set(tmp_path.iterdir()) == {living, mine}
        assert list(tmp_path.iterdir()) == [living]
        assert (living / "0.arrow").read_bytes() == b"x"
    finally:
        stopped.kill()
        stopped.wait()
    assert sweep(tmp_path) == [living]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_never_locked_goes_after_a_day_and_those_of_others_never(tmp_path: Path) -> None:
    young, old = tmp_path / f"{scratch.PREFIX}dwd-young", tmp_path / f"{scratch.PREFIX}dwd-old"
    other, target = tmp_path / "weather-of-somebody-else", tmp_path / "target"
    for folder in (young, old, other, target):
        folder.mkdir()
        os.utime(folder, (0, 0)) if folder is not young else None
    (target / "lock").write_bytes(b"")
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(target)
    assert sweep(tmp_path) == [old]
    assert young.is_dir()
    assert other.is_dir()
    assert (target / "lock").exists()
