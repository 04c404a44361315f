"""The stores for several hosts, against real servers where the machine has them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from weather_backfill.http.rate_limit import Limiter, Rate
from weather_backfill.http.shared_state import open_state
from weather_backfill.http.shared_state.base import SharedStateError
from weather_backfill_tests.http.test_rate_limit import in_three_processes

POSTGRES = shutil.which("pg_ctl") or next((str(p) for p in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    pytest.importorskip("redis")
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    assert any("Ready to accept connections" in line for line in server.stdout)
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    pytest.importorskip("psycopg2")
    if POSTGRES is None:
        pytest.skip("needs PostgreSQL")
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="weather-pg-", dir="/tmp"))
    if user:
        shutil.chown(folder, user)
    port, control = free_port(), POSTGRES
    flags = f"-p {port} -k {folder} -c fsync=off -c listen_addresses=127.0.0.1"

    def run(*command: str) -> None:
        subprocess.run(command, user=user, cwd=folder, check=True, capture_output=True, timeout=60)

    try:
        run(control, "init", "-D", f"{folder}/data", "-o", "-A trust -U weather --no-sync")
        run(control, "start", "-w", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", flags)
        yield f"postgresql://weather@127.0.0.1:{port}/postgres"
        run(control, "stop", "-m", "immediate", "-D", f"{folder}/data")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["redis_url", "postgres_url"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_no_change_of_three_processes_is_lost(url: str) -> None:
    in_three_processes(url)


def test_the_limiter_counts_on_it(url: str) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        raise TimeoutError

    limiter = Limiter(open_state(url), "limit:test", Rate(2), sleep)
    for _ in range(2):
        limiter.answered(limiter.acquire())
    with pytest.raises(TimeoutError):
        limiter.acquire()
    assert 55 < waits[0] < 61
    limiter.pause(300)
    assert limiter.status().paused_for == pytest.approx(300, abs=5)


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
def test_a_server_that_is_away_is_named_without_its_password(kind: str) -> None:
    pytest.importorskip("redis" if kind == "redis" else "psycopg2")
    state = open_state(f"{kind}://user:pa55word@127.0.0.1:{free_port()}/0")
    with pytest.raises(SharedStateError, match="WEATHER_LIMITS_URL failed") as error:
        state.read("scope")
    assert "pa55word" not in str(error.value)
