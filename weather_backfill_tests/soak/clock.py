"""The platform on a clock that the soak sets: a code server, a daemon with a quick tick, an S3 server."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import boto3
import psutil
import yaml

from weather_backfill_tests.clocks import NO_LIBRARY, faketime_library, on_faked_clock
from weather_backfill_tests.conftest import CREDENTIALS
from weather_backfill_tests.daemon_process import MEMORY_FILE
from weather_backfill_tests.platform import PROJECT, Platform
from weather_backfill_tests.servers import answers, free_port, process, until


@dataclass
class Clock:
    """What time it is for every process that has `environment`; a second passes in a second."""

    file: Path
    ahead: float = 0  # seconds before the machine's clock

    @property
    def environment(self) -> dict[str, str]:
        if faketime_library() is None:
            raise SystemExit(NO_LIBRARY)
        return {
            **on_faked_clock(self.file), "FAKETIME_CACHE_DURATION": "1", "NO_FAKE_STAT": "1",
            "PYTHONPATH": f"{PROJECT / 'weather_backfill_tests' / 'faked_clock'}:{PROJECT}",
        }  # fmt: skip

    def set(self, moment: datetime) -> None:
        """It is `moment` from now on, or later if it is already; the clock never goes back."""
        self.jump(max(0, (moment - datetime.now(UTC)).total_seconds() - self.ahead))

    def jump(self, seconds: float) -> None:
        """So much time has passed; 0 writes the file that there has to be."""
        self.ahead = round(self.ahead + seconds)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"+{self.ahead}\n")
        fresh.rename(self.file)


@dataclass(frozen=True)
class Running:
    """The two processes that must not grow."""

    daemon: psutil.Process
    code_server: psutil.Process
    memory_file: Path

    def daemon_in_use(self) -> int:
        """Bytes that the daemon has in use, asked of it."""
        self.memory_file.unlink(missing_ok=True)
        self.daemon.send_signal(signal.SIGUSR1)
        until(self.memory_file.exists, 120)
        return int(self.memory_file.read_text())


@contextmanager
def lake_server(folder: Path, clock: Clock) -> Iterator[str]:
    """An S3 server on the clock, so that objects are as old as the platform thinks; its endpoint, with one bucket."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, clock.environment, folder / "s3.log"):
        until(lambda: answers(f"{url}/"), 120)
        keys = {"aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"], "region_name": "us-east-1"}
        secret = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
        boto3.client("s3", endpoint_url=url, aws_secret_access_key=secret, **keys).create_bucket(Bucket="soak")
        yield url


@contextmanager
def daemon_and_code_server(platform: Platform) -> Iterator[Running]:
    """Dagster's daemon and a code server beside it, as a deployment has them, with what `deploy/Dockerfile` sets."""
    memory_file = platform.folder / "daemon-memory"
    environment = {**platform.environment, "MALLOC_ARENA_MAX": "2", MEMORY_FILE: str(memory_file)}
    port = free_port()
    serve = [sys.executable, "-m", "dagster", "api", "grpc", "-m", "weather_backfill.definitions", "-p", str(port)]
    workspace = platform.folder / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": port, "location_name": "weather_backfill"}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    command = [sys.executable, "-m", "weather_backfill_tests.daemon_process", "run", "-w", str(workspace)]
    with (
        process(serve, environment, platform.folder / "code-server.log") as code,
        process(command, environment, platform.folder / "daemon.log") as daemon,
    ):
        yield Running(psutil.Process(daemon.pid), psutil.Process(code.pid), memory_file)
