"""Airflow's own backfill as a peer: a DAG by day whose one task does nothing, `airflow backfill create`, real servers.

    python -m weather_backfill_tests.bench.airflow FOLDER DAYS [SECONDS]

Runs in an environment of its own, on SQLite with local executors, two of them for two cores. Standard library
only: nothing of ours is imported. The clock starts with the request and stops when the last day has succeeded, or after
SECONDS, and then says which share of the days was done.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from weather_backfill_tests.bench.measured import say
from weather_backfill_tests.bench.processes import Watch

VERSION = "3.3.2"
NAME = f"Airflow {VERSION}, a day that does nothing"
FIRST = date(2024, 1, 15)
LONGEST = 2 * 3600
DAG = """
from datetime import datetime, timezone
from airflow.sdk import DAG, task

start = datetime(2024, 1, 1, tzinfo=timezone.utc)
with DAG("days", schedule="@daily", start_date=start, catchup=False, max_active_runs=16):
    @task
    def day():
        pass

    day()
"""


def main(folder: str, days: str, patience: str = "") -> None:
    """Set up, start scheduler, DAG processor and API server, ask, wait, say."""
    home = Path(folder)
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "days.py").write_text(DAG)
    environment = os.environ | _settings(home)
    airflow = str(Path(sys.executable).parent / "airflow")
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        _run([airflow, *command], environment)
    servers: list[subprocess.Popen[bytes]] = []
    with (home / "servers.log").open("wb") as log:
        try:
            for command in (["api-server"], ["scheduler"], ["dag-processor"]):
                start = [airflow, *command]
                servers.append(subprocess.Popen(start, env=environment, stdout=log, stderr=log, start_new_session=True))
            _wait(lambda: _answers(environment), 180)
            with Watch([server.pid for server in servers]) as watch:
                began = time.perf_counter()
                last = FIRST + timedelta(days=int(days) - 1)
                span = ["--from-date", FIRST.isoformat(), "--to-date", last.isoformat(), "--max-active-runs", "16"]
                asked = [airflow, "backfill", "create", "--dag-id", "days", *span]
                _run(asked, environment)
                limit = float(patience or LONGEST)
                _wait(lambda: _succeeded(home) >= int(days) or time.perf_counter() - began > limit, LONGEST + 60)
                seconds, done = time.perf_counter() - began, _succeeded(home) / int(days)
        finally:
            for server in servers:
                os.killpg(server.pid, signal.SIGTERM)
            for server in servers:
                server.wait(60)
    if done < 1 and not patience:
        raise TimeoutError(f"Airflow: {done:.0%} of the days done after {LONGEST} s")
    say(seconds, watch.cpu_seconds, watch.peak_bytes, home / "dags", done)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stdout[-1500:]}{done.stderr[-1500:]}")


def _settings(home: Path) -> dict[str, str]:
    port = "28080"
    return {
        "AIRFLOW_HOME": str(home),
        # `backfill create` writes all its days beside a scheduler: five seconds, the default, are not enough for it.
        # A year is too much for it even so: "database is locked" comes at once to who reads first and then writes.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.absolute() / 'airflow.db'}?timeout=120",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a benchmark on one machine keeps no secrets from itself, so this is none",
    }


def _answers(environment: dict[str, str]) -> bool:
    import urllib.request

    address = environment["AIRFLOW__API__BASE_URL"] + "/api/v2/monitor/health"
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return b'"healthy"' in answer.read()
    except OSError:
        return False


def _succeeded(home: Path) -> int:
    """The days that have succeeded; raises for one that has failed."""
    with closing(sqlite3.connect(f"file:{home / 'airflow.db'}?mode=ro", uri=True, timeout=30)) as database:
        asked = "SELECT state, count(*) FROM dag_run WHERE backfill_id IS NOT NULL GROUP BY state"
        states = dict(database.execute(asked).fetchall())
    if states.get("failed"):
        raise RuntimeError(f"Airflow: {states['failed']} days failed: see {home / 'logs'}")
    return int(states.get("success", 0))


def _wait(condition: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(f"Airflow: not done after {seconds} s")
        time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
