"""Runs `dagster …` many times without importing it many times: each is a forked process of its own.

A start costs seconds of imports, and the matrix starts hundreds of processes. This one has the imports done and
nothing begun: no thread, no connection, no setting read. What it forks is a whole process, with its own environment,
process group and end, and can be killed like any other. `python -m weather_backfill_tests.faults.starting` serves
one line of JSON a command on stdin: `{"arguments", "environment", "folder", "log"}`.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Self

OURS = ("weather_backfill.definitions", "weather_backfill.command_line")
"""Modules that read the environment as they are imported."""
LEFT_OUT = (*OURS, "weather_backfill.__main__")


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
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = list(order["arguments"])

    from weather_backfill_tests.faults import points

    if points.VARIABLE in os.environ:
        points.arm(os.environ[points.VARIABLE])

    import dagster._cli

    dagster._cli.main()


class Starter:
    """The process that has the imports done, as seen from a test."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: what has to be there before a process begins, such as a faked clock."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "weather_backfill_tests.faults.starting"], env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._expect("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def run(
        self, arguments: list[str], environment: dict[str, str], folder: str, log: str, patience: float
    ) -> tuple[int, int]:
        """Run `dagster …`; its process id and its code (negative: the signal). Killed after `patience` seconds."""
        order = {"arguments": arguments, "environment": environment, "folder": folder, "log": log}
        assert self._process.stdin
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid = int(self._line())
        timer = threading.Timer(patience, os.kill, (pid, 9))
        timer.start()
        try:
            return pid, int(self._line())
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


if __name__ == "__main__":
    serve()
