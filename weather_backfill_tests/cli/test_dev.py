"""`weather-backfill dev`: webserver and daemon start and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from weather_backfill_tests.platform import PROJECT
from weather_backfill_tests.servers import answers, free_port, until

WEBSERVER, DAEMON = "weather_backfill.dagster.webserver", "dagster._daemon"


@contextmanager
def dev(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The command, answering, and its address; what is left of it is killed."""
    port = free_port()
    command = [sys.executable, "-m", "weather_backfill.cli", "dev", "--folder", str(folder), "--port", str(port)]
    environment = {**os.environ, "WEATHER_AUTOMATION": "false", "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/server_info"), 120)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        for left in [process, *children(process.pid).values()]:
            left.kill()
        process.wait(30)


def children(pid: int) -> dict[str, psutil.Process]:
    try:
        found = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return {}
    return {word: child for child in found for word in (WEBSERVER, DAEMON) if word in child.cmdline()}


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_ctrl_c_stops_both_and_is_no_failure(number: signal.Signals, tmp_path: Path) -> None:
    with dev(tmp_path) as (process, url):
        until(lambda: len(children(process.pid)) == 2, 60)
        started = children(process.pid)
        assert requests.get(url, headers={"Host": "evil.example"}, timeout=20).status_code == 403, "our webserver"
        process.send_signal(number)
        assert process.wait(90) == 0
        assert not [name for name, child in started.items() if child.is_running()]


@pytest.mark.parametrize("name", [pytest.param(WEBSERVER, marks=pytest.mark.long), DAEMON])
def test_neither_goes_on_without_the_other(name: str, tmp_path: Path) -> None:
    with dev(tmp_path) as (process, _):
        until(lambda: len(children(process.pid)) == 2, 60)
        started = children(process.pid)
        started[name].kill()
        assert process.wait(90) == 1
        assert not [name for name, child in started.items() if child.is_running()]
