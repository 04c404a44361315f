"""A platform with ACE IoT tenants against a simulator process, and what must hold of it afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from weather_backfill.backfill.launch import register_tenant
from weather_backfill.lake import layout
from weather_backfill.lake.journal import BEGUN
from weather_backfill.sources.aceiot.simulate_data import SiteSpec
from weather_backfill.storage.objects import LOCKS
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.sources.aceiot.helpers import expected, plain
from weather_backfill_tests.sources.aceiot.simulator_process import KEY, VARIABLE

SEED = 5
NORTH, SOUTH = SiteSpec("north", 60, 7200), SiteSpec("south", 40, 7200, gap=(4, 9))
SITES = [NORTH, SOUTH]
SITE_FLAGS = ["--site", "north:60:7200", "--site", "south:40:7200:4-9", "--seed", str(SEED)]
DAYS = [date(2025, 10, 24) + timedelta(days=n) for n in range(7)]
RAW, BOTH = "aceiot/raw_observations", "aceiot/raw_observations,aceiot/refined_15m"
WRONG_KEY = "wr0ng-k3y-d41d8cd98f"


def prepare(platform: Platform, key: str = KEY, **settings: str) -> None:
    """Give every program of the platform the key, settings, its own folder for temporary files, and chatty logs."""
    temporary = platform.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    platform.environment |= {VARIABLE: key, "TMPDIR": str(temporary), **settings}
    with (platform.folder / "home" / "dagster.yaml").open("a") as file:
        # The search for secrets means nothing unless the client's own lines are in the logs.
        file.write("\npython_logs:\n  managed_python_loggers: [httpx, httpcore, tenacity]\n  python_log_level: DEBUG\n")


def add_tenant(platform: Platform, tenant: str, url: str, sites: list[str], **options: Any) -> None:
    """Write a tenant's file as a person would, and register the tenant."""
    connection = {"base_url": url, "api_key": f"${{{VARIABLE}}}", "sites": sites, "cadence_seconds": 7200, **options}
    folder = platform.folder / "tenants"
    folder.mkdir(exist_ok=True)
    (folder / f"{tenant}.yaml").write_text(yaml.safe_dump({"id": tenant, "services": {"aceiot": connection}}))
    with platform.instance as instance:
        register_tenant(instance, "aceiot", tenant)


def command(select: str, tenant: str, days: list[date]) -> list[str]:
    """The command line that materializes days of a tenant."""
    span = f"{days[0]}|{tenant}...{days[-1]}|{tenant}"
    return [
        "dagster", "asset", "materialize", "-m", "weather_backfill.definitions_single_run", "--select", select,
        "--partition-range", span,
    ]  # fmt: skip


def start(platform: Platform, log: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, its output in a file of the platform."""
    program = str(Path(sys.executable).parent / words[0])
    with (platform.folder / log).open("ab") as file:
        return subprocess.Popen(
            [program, *words[1:]], stdout=file, stderr=file, cwd=platform.folder, start_new_session=True,
            env={**os.environ, **platform.environment},
        )  # fmt: skip


def materialize(platform: Platform, select: str, tenant: str, days: list[date]) -> tuple[int, str]:
    """Run the command line to its end; exit code and output, which also stays in the platform's folder."""
    done = platform.run(*command(select, tenant, days), check=False)
    with (platform.folder / "output.log").open("a") as file:
        file.write(done.stdout + done.stderr)
    return done.returncode, done.stdout + done.stderr


def check_days(platform: Platform, tenant: str, sites: list[SiteSpec], days: list[date]) -> None:
    """The lake holds these days and no other, each equal to the truth."""
    assert platform.dates(layout.RAW_OBSERVATIONS, tenant, "aceiot") == set(days)
    for day in days:
        table = plain(platform.day(layout.RAW_OBSERVATIONS, tenant, day, "aceiot"))
        assert table.equals(expected(sites, day, SEED)), day


def check_clean(platform: Platform, killed: int = 0) -> None:
    """Nothing temporary is left, in the temporary folder or between the objects of the lake.

    Of a run that was killed and that no daemon tries again, a note of the days it was at stays until housekeeping.
    """
    assert list((platform.folder / "tmp").glob("weather-scratch-aceiot-*")) == []
    lake = platform.folder / "lake"
    ours = (layout.LEDGER, LOCKS, layout.OWNER.split("/")[0])
    files = [path.relative_to(lake) for path in lake.rglob("*") if path.is_file()]
    strange = [path for path in files if path.name != layout.FILE and path.parts[0] not in ours]
    assert [f"{path.parts[0]}/{path.name}" for path in strange] == [f"{layout.JOURNAL}/{BEGUN}"] * killed


def check_no_secret(platform: Platform, *also: str) -> None:
    """No file of the platform, logs and Dagster's databases among them, holds a key."""
    contents = {path: path.read_bytes() for path in platform.folder.rglob("*") if path.is_file()}
    events = [path for path in contents if path.suffix == ".db"]
    assert any(b"HTTP Request" in contents[path] for path in events), "the client's lines are not in the events"
    for secret in (KEY, *also):
        assert [path for path, text in contents.items() if secret.encode() in text] == []


def most_in_a_minute(requests: list[dict[str, Any]]) -> int:
    """The most requests that the server counted in any 60 seconds."""
    moments = sorted(request["at"] for request in requests)
    most = begin = 0
    for end, moment in enumerate(moments):
        while moments[begin] <= moment - 60:
            begin += 1
        most = max(most, end - begin + 1)
    return most
