"""Several runs in several processes at once, all faults on; and a run that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from weather_backfill.http.shared_state import open_state
from weather_backfill.sources.aceiot.simulate_data import SiteSpec
from weather_backfill.sources.aceiot.source import open_client
from weather_backfill_tests.servers import until
from weather_backfill_tests.sources.aceiot.helpers import QUICK, connection, expected, plain
from weather_backfill_tests.sources.aceiot.simulator_process import KEY, VARIABLE, Simulator, simulator

WINDOW = float(os.environ.get("WEATHER_TEST_MINUTE", "1"))
"""Seconds of the minute of these tests: 60 for the real thing, which takes ten minutes."""
REQUESTS = 100
FREE = 2
"""Slots of them that are left at first."""
SEED = 5
SITES = [SiteSpec("north", 60, 3600), SiteSpec("south", 40, 3600, gap=(4, 9))]
FLAGS = ["--site", "north:60:3600", "--site", "south:40:3600:4-9"]
DAYS = [date(2025, 10, 24) + timedelta(days=n) for n in range(7)]


class Run:
    """A worker's files and process."""

    def __init__(self, folder: Path, name: str, server: Simulator, days: list[date], **options: Any) -> None:
        self.out = folder / "out"
        for made in (self.out, folder / "spill"):
            made.mkdir(exist_ok=True)
        self._config = folder / f"{name}.json"
        self._config.write_text(
            json.dumps(
                {
                    "url": server.url, "sites": ["north", "south"], "days": [str(d) for d in days],
                    "out": str(self.out), "limits": str(folder / "limits.sqlite"), "spill": str(folder /
                    "spill"), "requests": REQUESTS, "window": WINDOW, "options": options,
                }
            )
        )  # fmt: skip
        self.log = folder / f"{name}.log"

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "weather_backfill_tests.sources.aceiot.worker", str(self._config)]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {VARIABLE: KEY})


@contextmanager
def slots_taken(server: Simulator, folder: Path, number: int) -> Iterator[None]:
    """So many of the limit's slots are in use by requests of another process."""
    chosen = connection(server.url, ["north", "south"])
    state = open_state(str(folder / "limits.sqlite"))
    client = open_client(chosen, "acme", state, requests_per_minute=REQUESTS, window=WINDOW, policy=QUICK)
    with closing(client):
        slots = [client.limiter.acquire() for _ in range(number)]
        yield
        for slot in slots:
            client.limiter.cancel(slot)


def most_in_a_window(requests: list[dict[str, Any]]) -> int:
    moments = sorted(r["at"] for r in requests)
    most = 0
    begin = 0
    for end, moment in enumerate(moments):
        while moments[begin] <= moment - WINDOW:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def check_pauses(requests: list[dict[str, Any]]) -> None:
    """After a 429 nobody asks for about a second, but for what was under way when it came."""
    moments = [(r["at"], r["status"]) for r in requests]
    tellings = [at for at, status in moments if status == 429]
    assert tellings
    for told in tellings:
        assert not [at for at, _ in moments if told + 0.5 < at < told + 0.9]


def check_days(out: Path, days: list[date]) -> None:
    for day in days:
        table = plain(pq.read_table(out / f"{day}.parquet"))
        assert table.equals(expected(SITES, day, SEED)), day


@pytest.mark.timeout(1200)
def test_three_processes_complete_seven_days_of_two_sites_with_every_fault_on(tmp_path: Path) -> None:
    faults = [
        "--cursor-fault",
        "--errors",
        "0.04",
        "--cut",
        "0.03",
        "--slow",
        "0.05",
        "--slow-seconds",
        "0.2",
    ]
    with simulator(*FLAGS, *faults, "--burst-every", "150", "--burst-seconds", "0.3", "--seed", str(SEED)) as server:
        runs = [Run(tmp_path, f"run{n}", server, DAYS[n::3], page_size=50, window_minutes=480) for n in range(3)]
        # However slow the machine is, three processes want more than two requests in the time of a slot.
        with slots_taken(server, tmp_path, REQUESTS - FREE):
            processes = [run.start() for run in runs]
            until(lambda: len(server.requests()) >= 3 * FREE, 300)
            scarce = server.requests()
        codes = [process.wait(1000) for process in processes]
        requests = server.requests()
    logs = "\n".join(run.log.read_text() for run in runs)
    assert codes == [0, 0, 0], logs[-3000:]
    check_days(runs[0].out, DAYS)
    assert most_in_a_window(scarce) <= FREE
    assert most_in_a_window(requests) <= REQUESTS
    check_pauses(requests)
    kinds = [(r["status"], r["kind"]) for r in requests]
    assert (500, "JSONResponse") in kinds
    assert (200, "CutResponse") in kinds
    facts = [json.loads((runs[0].out / f"{d}.json").read_text()) for d in DAYS]
    assert all(f["cursors_repaired"] for f in facts)
    waited = sum(f["limiter_wait_seconds"] for f in facts)
    assert waited > WINDOW, "the limit was not reached: the test shows nothing"
    assert "HTTP Request" in logs, "the log must be on for the search below to mean anything"
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]


def test_a_run_killed_in_the_middle_of_a_day_completes_when_retried_without_duplicates(
    tmp_path: Path,
) -> None:
    with simulator(*FLAGS, "--cursor-fault", "--slow", "1", "--slow-seconds", "0.02", "--seed", str(SEED)) as server:
        run = Run(tmp_path, "run", server, DAYS[:1], page_size=50, window_minutes=240)
        process = run.start()
        while len(server.requests()) < 20:
            assert process.poll() is None, run.log.read_text()
        process.kill()
        process.wait()
        assert not list(run.out.glob("*.parquet"))
        assert run.start().wait(60) == 0, run.log.read_text()
    check_days(run.out, DAYS[:1])
    assert list((tmp_path / "spill").iterdir()) == []
