"""The demo: two simulated tenants, backfilled natively by a real daemon; and a server to look at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from weather_backfill.backfill.coverage import refined_dates
from weather_backfill.backfill.launch import launch_backfill, register_tenant
from weather_backfill.backfill.summary import summarize_tenants
from weather_backfill.cli.output import out, print_rows, progress_bar
from weather_backfill.dagster.private import BULK_ACTION_TERMINAL_STATUSES, DAEMON_MODULE
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import days_between
from weather_backfill.settings import Settings
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill.util.files import make_folder, open_new

START = date(2024, 1, 1)
SERVICE = "tempest"
PROJECT = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Everything the demo makes lies below one folder."""

    folder: Path

    def environment(self) -> dict[str, str]:
        """The settings every process of the demo runs with."""
        return {
            "DAGSTER_HOME": str(self.folder / "dagster_home"),
            "WEATHER_STORAGE_URL": str(self.folder / "lake"),
            "WEATHER_TENANTS_URL": str(self.folder / "tenants"),
        }

    def settings(self) -> Settings:
        """The same settings for this process."""
        environment = self.environment()
        return Settings(storage_url=environment["WEATHER_STORAGE_URL"], tenants_url=environment["WEATHER_TENANTS_URL"])

    def prepare(self) -> None:
        """Make the Dagster home with the project's dagster.yaml and empty databases in it.

        Two processes that make a SQLite database at the same time fail: "table jobs already exists".
        """
        home = self.folder / "dagster_home"
        make_folder(home)
        link = home / "dagster.yaml"
        if not link.exists():
            link.unlink(missing_ok=True)  # one that leads to where the project was before
            link.symlink_to(PROJECT / "dagster.yaml")
        dg.DagsterInstance.from_config(str(home)).dispose()


def archives(days: int) -> list[SimulatedArchive]:
    """Two tenants; one has a corrupt object on a day, the other a station that is silent on one."""
    end = START + timedelta(days=days - 1)
    acme = SimulatedArchive("acme", START, end, 3, 1, 15, Faults(corrupt_day=min(4, days - 1)))
    borealis = SimulatedArchive("borealis", START, end, 3, 2, 15, Faults(missing=0.08, silent_station=1, silent_day=2))
    return [acme, borealis]


def run_demo(folder: Path, days: int) -> None:
    """Set up, simulate, backfill, summarize; raises `ConfigurationError` if the backfill does not end."""
    place = DemoFolder(folder)
    place.prepare()
    os.environ.update(place.environment())
    settings, plans = place.settings(), archives(days)
    _simulate(place, plans)
    with dg.DagsterInstance.get() as instance:
        ids = _start(instance, place, settings, plans)
        with daemon(place.environment(), folder / "daemon.log"):
            _watch(instance, settings, plans, ids, days)
        end = START + timedelta(days=days - 1)
        rows, drawn = summarize_tenants(instance, settings, SERVICE, None, START, end, folder / "coverage.png")
    print_rows(rows, f"{SERVICE}, {START} to {end}", as_json=False)
    failed = [f"{row['tenant']} {row['failed']}" for row in rows if row["failed"]]
    if failed:
        out.print(
            f"Failed, as simulated: {'; '.join(failed)}: an object of that day is cut off, so its rows "
            "cannot be known. The other days were not held up."
        )
    out.print(f"Coverage calendar: {drawn}")
    out.print("Look at it in Dagster: make dev")


def _simulate(place: DemoFolder, plans: list[SimulatedArchive]) -> None:
    total = sum(len(days_between(plan.start, plan.end)) for plan in plans)
    registry = TenantRegistry(ObjectStore(str(place.folder / "tenants")))
    with progress_bar("simulating days", total) as advance:
        for plan in plans:
            url = str(place.folder / "archive" / plan.tenant)
            write_archive(plan, ObjectStore(url), lambda _: advance(1))
            connection = TempestConnection(archive_url=url, stations=tuple(plan.station_ids))
            registry.put(Tenant(id=plan.tenant, services=Services(tempest=connection)))


def _start(
    instance: dg.DagsterInstance, place: DemoFolder, settings: Settings, plans: list[SimulatedArchive]
) -> list[str]:
    from weather_backfill.definitions import build_definitions

    definitions = build_definitions(settings)
    ids = []
    for plan in plans:
        register_tenant(instance, SERVICE, plan.tenant)
        number = len(instance.get_backfills())
        ids.append(
            launch_backfill(
                instance,
                definitions,
                backfill_id=f"demo-{plan.tenant}-{number}",
                service=SERVICE,
                tenant=plan.tenant,
                days=days_between(plan.start, plan.end),
            )
        )
    return ids


@contextmanager
def daemon(environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """A real dagster-daemon in its own process group, its output in a file."""
    command = [sys.executable, "-m", DAEMON_MODULE, "run", "-m", "weather_backfill.definitions"]
    with open_new(log) as file:
        process = subprocess.Popen(  # noqa: S603 - our own arguments
            command, env={**os.environ, **environment}, stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _watch(
    instance: dg.DagsterInstance, settings: Settings, plans: list[SimulatedArchive], ids: list[str], days: int
) -> None:
    """A bar of raw and refined days in the lake, until Dagster says that the backfills have ended."""
    from weather_backfill.storage.places import open_lake

    store = open_lake(settings)
    deadline = time.monotonic() + _PATIENCE_SECONDS + 20 * days
    seen = 0
    with progress_bar("raw and refined days", 2 * sum(len(days_between(p.start, p.end)) for p in plans)) as advance:
        while True:
            held = sum(_held(store, plan.tenant) for plan in plans)
            advance(held - seen)
            seen = held
            backfills = [instance.get_backfill(name) for name in ids]
            if all(b is not None and b.status in BULK_ACTION_TERMINAL_STATUSES for b in backfills):
                return
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"the backfills {', '.join(ids)} did not end in time: see daemon.log in the demo's folder."
                )
            time.sleep(1)


def _held(store: ObjectStore, tenant: str) -> int:
    raw = store.list(layout.tenant_prefix(layout.RAW_OBSERVATIONS, SERVICE, tenant))
    return len(raw) + len(refined_dates(store, SERVICE, tenant))
