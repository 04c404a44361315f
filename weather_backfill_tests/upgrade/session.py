"""What an operator does with v0.1.0 before the upgrade, and the steps that later sessions share.

Runs with the old code alone, nothing of today. The upstream is simulated weather, rounded to steps, so that the archive
is small.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from weather_backfill.simulate.tempest import Archive, weather

import weather_backfill
from weather_backfill.sources.tempest import day_folder

START = date(2024, 1, 1)
# Tenant: days with upstream data.
DAYS = {"acme": 5, "borealis": 3}
PATIENCE = 3600  # seconds
BAD = date(2024, 1, 3)  # of acme: one object is cut off


def write_upstream(place: Path, days: Mapping[str, int], hold: int = 1) -> None:
    """Hourly objects of one station; one of them is cut off. Values stay for `hold` minutes."""
    for seed, (tenant, count) in enumerate(days.items(), 1):
        archive = Archive(tenant, START, START + timedelta(days=count - 1), 1, seed, 60)
        for number in range(count):
            day = START + timedelta(days=number)
            _write_day(place / "upstream" / tenant, archive, number, day, hold)
    bad = hour_folder(place, "acme", BAD, 12) / "cut-off.json.gz"
    bad.write_bytes(b"\x1f\x8b\x08 no more")


def hour_folder(place: Path, tenant: str, day: date, hour: int) -> Path:
    """Where an hour's objects of a tenant lie."""
    return place / "upstream" / tenant / day_folder(day) / f"hour={hour:02d}"


def _write_day(folder: Path, archive: Archive, number: int, day: date, hold: int) -> None:
    reports = weather(archive, number, day, 0)
    reports = [[report[0], *reports[minute - minute % hold][1:]] for minute, report in enumerate(reports)]
    for hour in range(24):
        lines = [_message(archive.station_ids[0], report[:18]) for report in reports[hour * 60 : hour * 60 + 60]]
        target = folder / day_folder(day) / f"hour={hour:02d}" / "station.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines))


def _message(station: str, report: list[float]) -> str:
    observed = [int(report[0]), *(round(value / 2) * 2 for value in report[1:])]
    return json.dumps({"serial_number": station, "type": "obs_st", "hub_sn": "HB-1", "obs": [observed]})


def tempest_file(tenant: str) -> str:
    """A tenant's file, as `write_tenants` takes it."""
    return f"id: {tenant}\nservices: {{tempest: {{archive_url: PLACE/upstream/{tenant}, lookback_days: 10}}}}\n"


def write_tenants(place: Path, files: Mapping[str, str], root: str) -> None:
    """The tenants' files, their upstream below `root`: in an archive the word that `unpack` puts a place in for."""
    (place / "tenants").mkdir(exist_ok=True)
    for tenant, text in files.items():
        (place / "tenants" / f"{tenant}.yaml").write_text(text.replace("PLACE", root))


def run(*arguments: str, codes: tuple[int, ...] = (0,), **environment: str) -> str:
    """One command of the old release; what it printed."""
    with tempfile.TemporaryFile() as out:
        code = _forked(["weather-backfill", *arguments], out.fileno(), environment)
        out.seek(0)
        said = out.read().decode()
    assert code in codes, said
    return said


def dagster(*arguments: str) -> None:
    """One command of Dagster's."""
    assert _forked(["dagster", *arguments], 1, {}) == 0, arguments


def _forked(command: list[str], out: int, environment: Mapping[str, str]) -> int:
    """Run a console script in a process of its own, which starts with the imports done; its exit code."""
    _preload()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        os.environ.update(environment)
        os.dup2(out, 1)
        sys.argv = command
        code = _main_of(command[0])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _main_of(script: str) -> int:
    [found] = entry_points(group="console_scripts", name=script)
    try:
        found.load()()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@cache
def _preload() -> None:
    """Import what commands need; not what reads the environment as it is imported."""
    import_module("dagster._cli")
    reading = {f"weather_backfill.{name}" for name in ("definitions", "command_line", "__main__")}
    for found in pkgutil.walk_packages(weather_backfill.__path__, "weather_backfill."):
        if found.name not in reading:
            import_module(found.name)
    for name in reading:
        sys.modules.pop(name, None)


def materialize(assets: str, *arguments: str) -> None:
    """Materialize assets in one process, without the daemon."""
    dagster("asset", "materialize", "-m", "weather_backfill.command_line", "--select", assets, *arguments)


def start(tenant: str, first: str, last: str, *more: str, service: str = "tempest", **environment: str) -> str:
    """Launch a backfill; its id."""
    span = ("--tenant", tenant, "--service", service, "--start", first, "--end", last)
    return str(json.loads(run("start", *span, *more, "--yes", "--json", **environment))["backfill_id"])


def wait_for(place: Path, refined: int, statuses: dict[str, str]) -> None:
    """Until so many days are refined and backfills have these statuses. A command starts for seconds, a look not."""
    deadline = time.monotonic() + PATIENCE
    while len(list(place.glob("lake/refined_15m/*/*/*/part.parquet"))) < refined:
        assert time.monotonic() < deadline, f"there are not {refined} refined days"
        time.sleep(0.5)
    while found := {n: w for n, w in statuses.items() if json.loads(run("status", n, "--json"))["status"] != w}:
        assert time.monotonic() < deadline, f"not so: {found}"


@contextmanager
def daemon(place: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon, in a process group of its own."""
    running = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-m", "weather_backfill.definitions"],
        stdout=(place / "daemon.log").open("ab"), stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)
        with suppress(ProcessLookupError):  # its code servers would live on for a while
            os.killpg(running.pid, signal.SIGKILL)


def at_home(place: Path) -> None:
    """Set the environment of all commands: the instance, the lake and the tenants below `place`."""
    code = Path(os.environ["WEATHER_CODE"])
    assert code in Path(weather_backfill.__file__).resolve().parents, "the old code must be the one that works"
    home = place / "home"
    home.mkdir()
    # On a machine that is busy a run may take long to start.
    configuration = (code / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(
        configuration.replace("start_timeout_seconds: 180", "start_timeout_seconds: 3600")
    )
    os.environ |= {
        "DAGSTER_HOME": str(home), "WEATHER_STORAGE_URL": str(place / "lake"), "PLACE": str(place),
        "WEATHER_TENANTS_URL": str(place / "tenants"), "WEATHER_AUTOMATION": "false",
    }  # fmt: skip


def work(place: Path) -> None:
    """Backfills that complete, fail, are cancelled, paused, and one that is still queued when the release ends."""
    with daemon(place):
        with_failure, whole = start("acme", "2024-01-01", "2024-01-04"), start("borealis", "2024-01-01", "2024-01-01")
        wait_for(place, 4, {with_failure: "completed with failures", whole: "completed"})
    run("cancel", start("borealis", "2024-01-02", "2024-01-02"))
    run("pause", start("acme", "2024-01-05", "2024-01-05"))
    run("gaps", "--tenant", "acme", "--service", "tempest", "--start", "2024-01-01", "--end", "2024-01-05", codes=(1,))
    materialize("warehouse")
    start("borealis", "2024-01-03", "2024-01-03")


def main(place: Path) -> None:
    """Everything of the first release below `place`."""
    files = {tenant: tempest_file(tenant) for tenant in DAYS}
    at_home(place)
    write_upstream(place, DAYS)
    write_tenants(place, files, str(place))
    for tenant in DAYS:
        run("tenants", "register", tenant)
    work(place)
    write_tenants(place, files, "PLACE")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
