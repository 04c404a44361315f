"""Runs `dagster …` and `weather-backfill …` many times without importing them many times: each is a forked process.

A start costs seconds of imports, and the tests start hundreds of processes. This one has the imports done and
nothing begun: no thread, no connection, no setting read. What it forks is a whole process, with its own environment,
process group and end, and can be killed like any other. `python -m weather_backfill_tests.starting` serves one line
of JSON a command on stdin: `{"arguments", "environment", "folder", "out", "err"}`.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Self

OURS = ("weather_backfill.definitions", "weather_backfill.definitions_single_run", "weather_backfill.command_line")
"""Modules that read the environment as they are imported."""
LEFT_OUT = (*OURS, "weather_backfill.cli.__main__")


def preload() -> None:
    """Import all that a run needs."""
    import dagster._cli
    import dagster._core.storage.event_log.sqlite.sqlite_event_log

    import weather_backfill

    for found in pkgutil.walk_packages(weather_backfill.__path__, "weather_backfill."):
        if found.name not in LEFT_OUT:
            import_module(found.name)
    for name in OURS:  # something above may have wanted them
        sys.modules.pop(name, None)
    assert threading.active_count() == 1, "a process with threads is not to be forked"
    assert dagster


def serve() -> None:
    """Fork a process a line; returns in the forked one, and in the first at the end of its input."""
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order)
            return
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(order: dict[str, Any]) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = list(order["arguments"])
    sys.modules["__main__"].__package__ = None  # or Click takes the program for this module

    from weather_backfill_tests.faults import points

    if points.VARIABLE in os.environ:
        points.arm(os.environ[points.VARIABLE])

    [script] = entry_points(group="console_scripts", name=sys.argv[0])
    sys.exit(script.load()())


@dataclass(frozen=True)
class Ended:
    """A command that ended: its process id, its code (negative: the signal), and whether patience ended it."""

    pid: int
    code: int
    given_up: bool


class Starter:
    """The process that has the imports done, as seen from a test."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: what has to be there before a process begins, such as a faked clock."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "weather_backfill_tests.starting"], env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._one_at_a_time = threading.Lock()
        self._expect("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: Path, err: Path,
        patience: float,
    ) -> Ended:  # fmt: skip
        """Run a console script, its output added to files; killed after `patience` seconds."""
        order = {
            "arguments": arguments, "environment": environment, "folder": str(folder), "out": str(out),
            "err": str(err),
        }  # fmt: skip
        assert self._process.stdin
        with self._one_at_a_time:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            pid, began = int(self._line()), time.monotonic()
            timer = threading.Timer(patience, os.kill, (pid, 9))
            timer.start()
            try:
                return Ended(pid, int(self._line()), time.monotonic() - began >= patience)
            finally:
                timer.cancel()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        assert line, "the starter has ended"
        return line

    def _expect(self, word: str) -> None:
        while self._line() != word:
            continue


@cache
def _starter() -> Starter:
    return Starter()


def run_command(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a console script of this environment; `subprocess.TimeoutExpired` where it takes longer.

    A preloaded library (a faked clock) is loaded as a program starts, so there the command starts as a program.
    """
    if "LD_PRELOAD" in environment:
        program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
        return subprocess.run(
            program, env=environment, cwd=folder, timeout=seconds, capture_output=True, text=True, check=False
        )
    with tempfile.TemporaryDirectory() as outputs:
        out, err = Path(outputs, "out"), Path(outputs, "err")
        ended = _starter().run(command, environment, folder, out, err, seconds)
        if ended.given_up:
            raise subprocess.TimeoutExpired(list(command), seconds, out.read_bytes(), err.read_bytes())
        return subprocess.CompletedProcess(list(command), ended.code, out.read_text(), err.read_text())


if __name__ == "__main__":
    serve()
