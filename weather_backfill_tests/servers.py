"""Real servers for the tests: an S3 server process, a Dagster daemon and webserver."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import tenacity


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def until(condition: Any, seconds: float = 120, every: float = 0.2) -> Any:
    """Call `condition` until it is true; its value. Fails the test when time is up."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(every),
        retry=tenacity.retry_if_result(lambda value: not value),
    )
    try:
        return retrying(condition)
    except tenacity.RetryError as error:
        raise AssertionError(f"not true after {seconds} s: {condition}") from error


@contextmanager
def process(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own group, ended with the test, its output in a file."""
    with log.open("ab") as file:
        running = subprocess.Popen(command, env={**os.environ, **env}, stdout=file, stderr=file, start_new_session=True)
        try:
            yield running
        finally:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(running.pid, sign)
                    running.wait(20)
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code < 500
    except (requests.ConnectionError, requests.Timeout):
        return False


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """An S3 server process; its endpoint. `WEATHER_TEST_S3_ENDPOINT` names another one that runs already."""
    if given := os.environ.get("WEATHER_TEST_S3_ENDPOINT"):
        yield given
        return
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, {}, log):
        until(lambda: answers(f"http://127.0.0.1:{port}/"), 60)
        yield f"http://127.0.0.1:{port}"
