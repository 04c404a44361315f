"""The faults themselves, as they happen inside the process that meets them."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from weather_backfill_tests.faults.points import Fault

BALLAST = "ballast"
"""The file that fills a disk; the harness takes it away again."""
GONE = "databases-that-are-gone"
DATABASES = ("storage", "history", "schedules")
HEADROOM = 8 << 20
"""Bytes of address space that are left to a process at its memory limit."""
MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)
SUMMER_TIME = datetime(2026, 3, 29, 1, tzinfo=UTC)
"""Where clocks in Berlin go from 2:00 to 3:00."""


def happen(fault: Fault) -> None:
    """Let a fault happen here and now."""
    KINDS[fault.kind](fault)


def _exception(fault: Fault) -> None:
    raise RuntimeError(f"injected at {fault.point}")


def _timeout(fault: Fault) -> None:
    raise TimeoutError(f"injected at {fault.point}: timed out")


def _kill_self(_: Fault) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(_: Fault) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _kill(*words: str) -> Callable[[Fault], None]:
    """Kill every process of this platform (the same DAGSTER_HOME) that was started with these words."""

    def kill(_: Fault) -> None:
        import psutil

        for process in psutil.process_iter():
            try:
                ours = process.environ().get("DAGSTER_HOME") == os.environ["DAGSTER_HOME"]
                if ours and process.pid != os.getpid() and all(word in process.cmdline() for word in words):
                    process.kill()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    return kill


def _fill(folder: Path) -> None:
    """Fill the disk that a folder lies on, which is a small one of its own."""
    assert folder.is_mount(), f"{folder} is no disk of its own"
    step = 1 << 20
    with (folder / BALLAST).open("ab", buffering=0) as file:
        while step:
            try:
                file.write(b"\0" * step)
                file.flush()
            except OSError:
                step //= 2


def _memory(_: Fault) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


_HOLDER = """
import os, sqlite3, sys, time
held = [sqlite3.connect(path, isolation_level=None, timeout=60) for path in sys.argv[2:]]
for connection in held:
    connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
end = time.monotonic() + float(sys.argv[1])
while os.getppid() != 1 and time.monotonic() < end:
    time.sleep(0.05)
"""


def _locked(seconds: float) -> Callable[[Fault], None]:
    """Another process holds exclusive transactions on all the instance's databases, for so long or while we live."""

    def lock(fault: Fault) -> None:
        paths = [str(path) for path in Path(fault.home).rglob("*.db")]
        command = [sys.executable, "-I", "-S", "-c", _HOLDER, str(seconds), *paths]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"

    return lock


def _gone(fault: Fault) -> None:
    home = Path(fault.home)
    (home / GONE).mkdir()
    for name in DATABASES:
        if (home / name).exists():
            (home / name).rename(home / GONE / name)


def put_back(home: Path) -> None:
    """What a person does after `database gone`: put the databases back where they were."""
    for name in DATABASES:
        if (home / GONE / name).exists():
            shutil.rmtree(home / name, ignore_errors=True)
            (home / GONE / name).rename(home / name)
    shutil.rmtree(home / GONE, ignore_errors=True)


def set_clock(clock: Path, moment: datetime) -> None:
    """Say what the time is to processes that live on a faked clock; this process must live on the real one."""
    offset = (moment - datetime.now(UTC)).total_seconds()
    staged = clock.with_suffix(".new")
    staged.write_text(f"{offset:+.0f}\n")
    staged.rename(clock)


def _jump(by: timedelta) -> Callable[[Fault], None]:
    def jump(fault: Fault) -> None:
        clock = Path(fault.clock)
        offset = float(clock.read_text()) + by.total_seconds()
        staged = clock.with_suffix(".new")
        staged.write_text(f"{offset:+.0f}\n")
        staged.rename(clock)

    return jump


KINDS: dict[str, Callable[[Fault], None]] = {
    "exception": _exception,
    "time-out": _timeout,
    "kill run": _kill_self,
    "hang run": _hang,
    "kill daemon": _kill("weather_backfill_tests.daemon_process"),
    "kill code server": _kill("api", "grpc"),
    "kill webserver": _kill("weather_backfill.dagster.webserver"),
    "disk full": lambda fault: _fill(Path(fault.lake)),
    "home disk full": lambda fault: _fill(Path(fault.home)),
    "memory limit": _memory,
    "database busy": _locked(2),
    "database locked": _locked(600),
    "database gone": _gone,
    "clock over midnight": _jump(timedelta(minutes=2)),
    "clock over DST": _jump(timedelta(minutes=2)),
    "clock back": _jump(timedelta(hours=-1)),
}
STARTS = {
    "clock over midnight": MIDNIGHT - timedelta(minutes=1),
    "clock over DST": SUMMER_TIME - timedelta(minutes=1),
    "clock back": SUMMER_TIME + timedelta(minutes=30),
}
"""What the faked clock says when a run begins, by kind."""
