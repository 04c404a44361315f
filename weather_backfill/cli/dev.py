"""`weather-backfill dev`: webserver and daemon over the demo's folder, as two processes that end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from weather_backfill.cli.demo import DemoFolder
from weather_backfill.cli.output import err, out
from weather_backfill.dagster.private import DAEMON_MODULE
from weather_backfill.model.errors import ConfigurationError

_DEFINITIONS = ("-m", "weather_backfill.definitions")
_STOP_SECONDS = 30
_POLL_SECONDS = 0.2
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_dev(folder: Path, host: str, port: int) -> int:
    """Run webserver and daemon over the demo's folder until stopped; return the exit code, 0 after Ctrl-C.

    Where one of them ends by itself, the other is stopped and the code is that of the first, or 1. Raises
    `ConfigurationError` if something listens on the port: a second daemon would disturb the first.
    """
    place = DemoFolder(folder)
    place.prepare()
    if _is_taken(host, port):
        raise ConfigurationError(
            f"http://{host}:{port} is in use, by another `make dev`? Stop it, or name another --folder and --port."
        )
    if not (folder / "lake").exists():
        err.print("There is no demo data yet: `make demo` makes some. Starting empty.")
    out.print(f"Dagster: http://{host}:{port}")
    for number in _ENDING:  # a service manager's way to say Ctrl-C, or a terminal's that closes
        signal.signal(number, signal.default_int_handler)
    webserver = ["weather_backfill.dagster.webserver", "-h", host, "-p", str(port), *_DEFINITIONS]
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in (("webserver", webserver), ("daemon", [DAEMON_MODULE, "run", *_DEFINITIONS])):
            # In a group of its own: Ctrl-C reaches this process alone, which stops both once.
            children[name] = subprocess.Popen(  # noqa: S603 - our own arguments
                [sys.executable, "-m", *command], env={**os.environ, **place.environment()}, start_new_session=True
            )
        return _first_to_end(children)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(list(children.values()))


def _is_taken(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _first_to_end(children: dict[str, subprocess.Popen[bytes]]) -> int:
    """Wait for one of the processes to end, which none should; return the exit code that this means."""
    while True:
        for name, process in children.items():
            code = process.poll()
            if code is not None:
                err.print(f"The {name} has ended with {code}, as said above: stopping.", highlight=False)
                return code if code > 0 else 1
        time.sleep(_POLL_SECONDS)


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Stop processes side by side, ever more firmly."""
    for number in _ENDING:  # a second Ctrl-C must not leave one of them
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        running = [process for process in children if process.poll() is None]
        for process in running:
            process.send_signal(number)
        deadline = time.monotonic() + _STOP_SECONDS
        for process in running:
            try:
                process.wait(timeout=max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                continue
