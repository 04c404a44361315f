"""The environment's programs, each in a process of its own that need not import Dagster again.

A command line test is mostly imports: three seconds of processor time each, hundreds of times. So a server process
imports once, and every command is forked from it, with its own environment, folder, arguments and output.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

import weather_backfill

# They build the definitions of an environment as they are imported, and each command has its own.
_OF_AN_ENVIRONMENT = {"weather_backfill.definitions", "weather_backfill.command_line"}
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["weather_backfill_tests.commands_preloaded"])


def import_all() -> None:
    """Import what commands use; called once, in the server that commands are forked from."""
    for module in pkgutil.walk_packages(weather_backfill.__path__, "weather_backfill."):
        if module.name not in _OF_AN_ENVIRONMENT and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("dagster._cli", "dagster_aws.s3", "dagster_duckdb", "pandas"):
        importlib.import_module(name)


def run_command(
    command: Sequence[str], environment: dict[str, str], folder: Path, seconds: float = 240
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
        forked = _FORKED.Process(target=_become, args=(list(command), environment, str(folder), str(out), str(err)))
        forked.start()
        forked.join(seconds)
        if forked.exitcode is None:
            forked.kill()
            forked.join()
            raise subprocess.TimeoutExpired(list(command), seconds, out.read_bytes(), err.read_bytes())
        return subprocess.CompletedProcess(list(command), forked.exitcode, out.read_text(), err.read_text())


def _become(command: list[str], environment: dict[str, str], folder: str, out: str, err: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    sys.argv = command
    sys.path[:0] = [environment["PYTHONPATH"]] if "PYTHONPATH" in environment else []
    [script] = entry_points(group="console_scripts", name=command[0])
    sys.exit(script.load()())
