"""A process that is stopped in the middle of a change (SIGSTOP) keeps nobody waiting for ever, in no scope."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from weather_backfill.http.shared_state import open_state
from weather_backfill.http.shared_state.base import SharedState
from weather_backfill.http.shared_state.servers import PostgresState
from weather_backfill_tests.http import test_shared_state

postgres_url = test_shared_state.postgres_url
redis_url = test_shared_state.redis_url
free_port = test_shared_state.free_port
LEASE = 2.0
_STOPS = f"""
import os, signal, sys
from weather_backfill.http.shared_state import open_state
from weather_backfill.http.shared_state.base import SharedStateError
from weather_backfill.http.shared_state.servers import PostgresState
PostgresState.LEASE_SECONDS = {LEASE}
stops = iter([True])
def add(document, now):
    document["count"] = document.get("count", 0) + 1
    if next(stops, False):
        os.kill(os.getpid(), signal.SIGSTOP)
state = open_state(sys.argv[1])
try:
    state.change("held", add)
except SharedStateError:  # its lease had ended: the caller tries again
    state.change("held", add)
"""


@pytest.fixture(params=["folder", "redis_url", "postgres_url"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "limits") if request.param == "folder" else str(request.getfixturevalue(request.param))


@contextmanager
def stopped(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has stopped itself within a change of the scope `held`."""
    process = subprocess.Popen([sys.executable, "-c", _STOPS, url])
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process
    finally:
        process.kill()
        process.wait()


def seconds_of(state: SharedState, scope: str) -> float:
    def add(document: dict[str, Any], now: float) -> None:
        document["count"] = document.get("count", 0) + 1

    begun = time.monotonic()
    state.change(scope, add)
    return time.monotonic() - begun


def test_other_scopes_go_on_at_once_and_the_same_one_after_the_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresState, "LEASE_SECONDS", LEASE)
    state = open_state(url)
    before = state.read("held")[0].get("count", 0)
    with stopped(url) as process:
        begun = time.monotonic()
        assert seconds_of(state, "other") < LEASE / 2
        assert seconds_of(state, "held") < LEASE + 3
        assert time.monotonic() - begun < 10
        assert state.read("held")[0]["count"] == before + 1
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 0
    assert state.read("held")[0]["count"] == before + 2, "neither change is lost, nor replaces the other"
