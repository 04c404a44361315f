"""A simulator in its own process, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

KEY = "k3y-of-the-simulator-5f1c9a"
VARIABLE = "TEST_ACEIOT_KEY"


@dataclass
class Simulator:
    url: str
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        return self.url.removesuffix("/api")

    def requests(self) -> list[dict[str, Any]]:
        return httpx.get(f"{self.root}/_requests").json()

    def set_faults(self, **faults: Any) -> None:
        httpx.put(f"{self.root}/_faults", json=faults).raise_for_status()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def simulator(*flags: str, port: int = 0) -> Iterator[Simulator]:
    command = [sys.executable, "-m", "weather_backfill.sources.aceiot.simulate", "--port", str(port), *flags]
    env = os.environ | {"ACEIOT_SIMULATOR_KEY": KEY}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield Simulator(line.split()[-1], process)
    finally:
        process.kill()
        process.wait()
