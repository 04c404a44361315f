"""The real dagster-daemon with a quicker tick, so that a test does not spend its time waiting for it.

Dagster hard-codes the backfill daemon's 30 seconds and the scheduler's minute; everything else here is Dagster's own
`dagster-daemon run`. On SIGUSR1 it writes how much memory is in use to the file that `MEMORY_FILE` names.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import dagster._daemon.controller as controller
import dagster._scheduler.scheduler as scheduler
from dagster._daemon.cli import main

TICK_SECONDS = 5
MEMORY_FILE = "WEATHER_TEST_MEMORY_FILE"


class _Allocated(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    )


def bytes_in_use() -> int:
    """What C and Python have allocated, without what their allocators keep of what was freed, and without garbage."""
    gc.collect()
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _Allocated
    info = libc.mallinfo2()
    with tempfile.TemporaryFile() as told:  # CPython tells of its own blocks on stderr alone
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(told.fileno(), 2)
        sys._debugmallocstats()
        os.dup2(stderr, 2)
        os.close(stderr)
        told.seek(0)
        found = re.search(rb"bytes in allocated blocks\s+=\s+([\d,]+)", told.read())
    assert found, "CPython has changed what it tells: follow it here"
    return int(info.uordblks + info.hblkhd) + int(found[1].replace(b",", b""))


def _tell(*_: object) -> None:
    file = Path(os.environ[MEMORY_FILE])
    staged = file.with_suffix(".new")
    staged.write_text(str(bytes_in_use()))
    staged.rename(file)


if __name__ == "__main__":
    assert controller.DEFAULT_DAEMON_INTERVAL_SECONDS == 30, "Dagster has moved its tick: follow it here"
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = TICK_SECONDS
    assert scheduler._get_next_scheduler_iteration_time(61) == 120, "Dagster has moved its minute: follow it here"
    scheduler._get_next_scheduler_iteration_time = lambda start: start + TICK_SECONDS
    signal.signal(signal.SIGUSR1, _tell)
    main()
