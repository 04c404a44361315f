"""What an operator does with an old release before the upgrade. Runs with the old code alone, nothing of today.

The upstream is simulated weather, rounded to steps, so that the archive is small.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import weather_backfill
from weather_backfill.sources.tempest.simulate import SimulatedArchive, weather
from weather_backfill.sources.tempest.source import day_folder

START = date(2024, 1, 1)
# Tenant: days with upstream data.
DAYS = {"acme": 5, "borealis": 3}
BAD = date(2024, 1, 3)  # of acme: one object is cut off


def write_upstream(place: Path) -> None:
    """Hourly objects of one station; one of them is cut off."""
    for seed, (tenant, days) in enumerate(DAYS.items(), 1):
        archive = SimulatedArchive(tenant, START, START + timedelta(days=days - 1), 1, seed, 60)
        for number in range(days):
            day = START + timedelta(days=number)
            _write_day(place / "upstream" / tenant, archive, number, day)
    bad = place / "upstream" / "acme" / day_folder(BAD) / "hour=12" / "cut-off.json.gz"
    bad.write_bytes(b"\x1f\x8b\x08 no more")


def _write_day(folder: Path, archive: SimulatedArchive, number: int, day: date) -> None:
    reports = weather(archive, number, day, 0)
    for hour in range(24):
        lines = [_message(archive.station_ids[0], report[:18]) for report in reports[hour * 60 : hour * 60 + 60]]
        target = folder / day_folder(day) / f"hour={hour:02d}" / "station.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines))


def _message(station: str, report: list[float]) -> str:
    observed = [int(report[0]), *(round(value / 2) * 2 for value in report[1:])]
    return json.dumps({"serial_number": station, "type": "obs_st", "hub_sn": "HB-1", "obs": [observed]})


def write_tenants(place: Path) -> None:
    """Their archives are named by what `unpack` puts the real place in for."""
    (place / "tenants").mkdir()
    for tenant in DAYS:
        _write_tenant(place, tenant, str(place))


def _write_tenant(place: Path, tenant: str, root: str) -> None:
    text = f"id: {tenant}\nservices: {{tempest: {{archive_url: {root}/upstream/{tenant}, lookback_days: 10}}}}\n"
    (place / "tenants" / f"{tenant}.yaml").write_text(text)


def run(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """One command of the old release."""
    done = subprocess.run(
        [sys.executable, "-m", "weather_backfill.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=os.environ["PLACE"],
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


def start(tenant: str, first: str, last: str) -> str:
    """Launch a backfill; its id."""
    span = ("--tenant", tenant, "--service", "tempest", "--start", first, "--end", last)
    return str(json.loads(run("start", *span, "--yes", "--json"))["backfill_id"])


def wait_for(place: Path, refined: int, statuses: dict[str, str]) -> None:
    """Until so many days are refined and backfills have these statuses. A command starts for seconds, a look not."""
    deadline = time.monotonic() + 300
    while len(list(place.glob("lake/refined_15m/*/*/*/part.parquet"))) < refined:
        assert time.monotonic() < deadline, f"there are not {refined} refined days"
        time.sleep(0.5)
    while found := {n: w for n, w in statuses.items() if json.loads(run("status", n, "--json"))["status"] != w}:
        assert time.monotonic() < deadline, f"not so: {found}"


def work(place: Path) -> None:
    """Backfills that complete, fail, are cancelled, paused, and one that is still queued when the release ends."""
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-m", "weather_backfill.definitions"],
        stdout=(place / "daemon.log").open("wb"), stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        with_failure, whole = start("acme", "2024-01-01", "2024-01-04"), start("borealis", "2024-01-01", "2024-01-01")
        wait_for(place, 4, {with_failure: "completed with failures", whole: "completed"})
    finally:
        daemon.terminate()
        daemon.wait(60)
    run("cancel", start("borealis", "2024-01-02", "2024-01-02"))
    run("pause", start("acme", "2024-01-05", "2024-01-05"))
    run("gaps", "--tenant", "acme", "--service", "tempest", "--start", "2024-01-01", "--end", "2024-01-05", codes=(1,))
    subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "weather_backfill.command_line", "--select",
         "warehouse"], check=True,
    )  # fmt: skip
    start("borealis", "2024-01-03", "2024-01-03")


def main(place: Path) -> None:
    """Everything of an old release below `place`."""
    code = Path(os.environ["WEATHER_CODE"])
    assert code in Path(weather_backfill.__file__).resolve().parents, "the old code must be the one that works"
    home = place / "home"
    home.mkdir()
    shutil.copy(code / "dagster.yaml", home)
    os.environ |= {
        "DAGSTER_HOME": str(home), "WEATHER_STORAGE_URL": str(place / "lake"), "PLACE": str(place),
        "WEATHER_TENANTS_URL": str(place / "tenants"), "WEATHER_AUTOMATION": "false",
    }  # fmt: skip
    write_upstream(place)
    write_tenants(place)
    for tenant in DAYS:
        run("tenants", "register", tenant)
    work(place)
    for tenant in DAYS:
        _write_tenant(place, tenant, "PLACE")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
