"""Where a fault happens: a platform of its own over a shared archive, and what an undisturbed one looks like."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import boto3
import dagster as dg

from weather_backfill.backfill.launch import DATASETS
from weather_backfill.lake import layout
from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.clocks import on_faked_clock
from weather_backfill_tests.conftest import CREDENTIALS
from weather_backfill_tests.faults import kinds, points
from weather_backfill_tests.faults.proxy import FaultyProxy
from weather_backfill_tests.platform import PROJECT, START, Platform
from weather_backfill_tests.servers import s3_server
from weather_backfill_tests.starting import Starter

DAYS = days_between(START, START + timedelta(days=3))
TENANTS = ("acme", "borealis")
SPAN = f"{DAYS[0]}|{TENANTS[0]}...{DAYS[-1]}|{TENANTS[-1]}"
HELD = (layout.RAW_OBSERVATIONS, layout.REFINED_15M, layout.REJECTED_OBSERVATIONS)
MATERIALIZE = (
    "dagster", "asset", "materialize", "-m", "weather_backfill.definitions_single_run",
    "--select", "tempest/raw_observations,tempest/refined_15m", "--partition-range",
)  # fmt: skip
PATIENCE = 240
"""Seconds after which a disturbed command that does not end is killed, as a person would."""


@dataclass
class Stage:
    """What all scenes share: the archives, local and on S3, and the undisturbed lakes made from them."""

    folder: Path
    s3: str | None = None
    proxy: FaultyProxy | None = None
    starter: Starter | None = None
    resources: ExitStack = field(default_factory=ExitStack)
    _on_faked_clock: Starter | None = None
    _undisturbed: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _number: int = 0

    @property
    def clock(self) -> Path:
        """The file that says what the faked clock says."""
        return self.folder / "clock"

    @property
    def clock_environment(self) -> dict[str, str]:
        """What makes a process live on the faked clock, in Berlin."""
        return {
            **on_faked_clock(self.clock), "TZ": "Europe/Berlin",
            # Read at most once a second: at each look at the clock, a run takes seven times as long.
            "FAKETIME_CACHE_DURATION": "1",
        }  # fmt: skip

    def starter_for(self, environment: dict[str, str]) -> Starter | None:
        """Who starts a process with this environment; None if it is to be started the long way."""
        if self.starter is None or "LD_PRELOAD" not in environment:
            return self.starter
        if self._on_faked_clock is None:
            own = {**self.clock_environment, "PYTHONPATH": environment["PYTHONPATH"]}
            self._on_faked_clock = self.resources.enter_context(Starter(own))
        return self._on_faked_clock

    def archive_url(self, store: str, tenant: str) -> str:
        return f"s3://archive/archive/{tenant}" if store == "s3" else str(self.folder / "archive" / tenant)

    def archive(self, store: str, tenant: str) -> ObjectStore:
        return ObjectStore(self.archive_url(store, tenant), S3Options(endpoint_url=self.s3))

    def prepare(self, store: str) -> None:
        """Write the archives of a kind of store, once."""
        if store == "s3":
            boto3.client("s3", endpoint_url=self.s3).create_bucket(Bucket="archive")
        for number, tenant in enumerate(TENANTS):
            plan = SimulatedArchive(tenant, DAYS[0], DAYS[-1], 1 + number, seed=7 + number, minutes_per_object=240)
            write_archive(plan, self.archive(store, tenant))

    def undisturbed(self, store: str) -> dict[str, bytes]:
        """The datasets' objects of a lake that no fault has met, made once by the same command."""
        if store not in self._undisturbed:
            self.prepare(store)
            with self.scene(store) as scene:
                done = scene.materialize()
                assert done.returncode == 0, done.text
                self._undisturbed[store] = scene.content()
                wanted = len(DAYS) * len(TENANTS)
                for name in DATASETS:
                    assert sum(key.startswith(name) for key in self._undisturbed[store]) == wanted
                assert any(key.startswith(layout.REJECTED_OBSERVATIONS) for key in self._undisturbed[store])
                assert scene.differences(self._undisturbed[store]) == []
        return self._undisturbed[store]

    @contextmanager
    def scene(self, store: str, disks: bool = False) -> Iterator[Scene]:
        """An empty lake and instance with the tenants registered; `disks`: lake and home on small disks (root)."""
        self._number += 1
        folder = self.folder / f"scene-{self._number}"
        folder.mkdir()
        with ExitStack() as stack:
            if disks:
                for name in ("lake", "home"):
                    stack.enter_context(small_disk(folder / name))
            yield Scene(self, folder, store)
        shutil.rmtree(folder)


@contextmanager
def staged() -> Iterator[Stage]:
    """A stage with an S3 server and a faulty proxy before it, in memory where that can be.

    A run waits for the disk hundreds of times, which is most of its time; no fault here takes the machine's power.
    """
    memory = Path("/dev/shm")
    where = str(memory) if os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="weather-faults-", dir=where, ignore_cleanup_errors=True) as name,
        served(Path(name)) as stage,
    ):
        yield stage


@contextmanager
def served(folder: Path) -> Iterator[Stage]:
    """The same in a folder."""
    with (
        s3_server(folder / "s3.log") as endpoint,
        FaultyProxy.running(endpoint) as proxy,
        Starter() as starter,
        ExitStack() as resources,
    ):
        yield Stage(folder, endpoint, proxy, starter, resources)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 32 MB in memory."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass(frozen=True)
class Done:
    """A command that ended: its code (negative: the signal), what it said, and whether patience ended it."""

    returncode: int
    text: str
    given_up: bool = False


class Scene:
    """One platform that meets a fault."""

    def __init__(self, stage: Stage, folder: Path, store: str) -> None:
        self.stage, self.folder, self.store = stage, folder, store
        environment = dict[str, str]()
        url = str(folder / "lake")
        if store == "s3":
            bucket = f"lake-{uuid.uuid4().hex[:12]}"
            boto3.client("s3", endpoint_url=stage.s3).create_bucket(Bucket=bucket)
            url = f"s3://{bucket}/lake"
            environment = {**CREDENTIALS, "WEATHER_S3_ENDPOINT_URL": self.proxy.url}
        self.platform = Platform(folder, url, environment)
        self.home = folder / "home"
        self.fired = folder / "fired"
        self.clock = stage.clock
        self._register()

    @property
    def proxy(self) -> FaultyProxy:
        """The faulty server before the lake."""
        assert self.stage.proxy
        return self.stage.proxy

    @cached_property
    def lake(self) -> ObjectStore:
        """The lake itself, past the proxy."""
        return ObjectStore(self.platform.storage_url, S3Options(endpoint_url=self.stage.s3))

    def _register(self) -> None:
        registry = TenantRegistry(ObjectStore(str(self.folder / "tenants")))
        for tenant in TENANTS:
            connection = TempestConnection(archive_url=self.stage.archive_url(self.store, tenant), lookback_days=1)
            registry.put(Tenant(id=tenant, services=Services(tempest=connection)))
        with self.platform.instance as instance:
            instance.add_dynamic_partitions("tempest_tenants", list(TENANTS))

    def fault(self, point: str, kind: str, nth: int, day: str = "") -> dict[str, str]:
        """The environment of a process that is to meet a fault; forgets that one has happened before."""
        self.fired.unlink(missing_ok=True)
        fault = points.Fault(
            point, kind, nth, str(self.fired), str(self.folder / "lake"), str(self.home), str(self.clock), day
        )
        hooks = Path(__file__).parent / "hooks"
        environment = {points.VARIABLE: fault.to_environment(), "PYTHONPATH": f"{hooks}:{PROJECT}"}
        if kind in kinds.STARTS:
            kinds.set_clock(self.clock, kinds.STARTS[kind])
            environment |= self.stage.clock_environment
        return environment

    def materialize(self, extra: dict[str, str] | None = None) -> Done:
        """Raw and refined of all days of both tenants, as a person would by the command line."""
        return self.command(*MATERIALIZE, SPAN, extra=extra)

    def _by_starter(self, starter: Starter, command: tuple[str, ...], environment: dict[str, str]) -> Done:
        log = self.folder / "command.log"
        log.unlink(missing_ok=True)
        ended = starter.run(command, environment, self.folder, log, log, PATIENCE)
        self._end_group(ended.pid)
        return Done(ended.code, log.read_text(errors="replace")[-6000:], ended.given_up)

    def command(self, *command: str, extra: dict[str, str] | None = None) -> Done:
        """A program of the environment in a process group of its own, killed when patience ends."""
        program = str(Path(sys.executable).parent / command[0])
        environment = {**os.environ, **self.platform.environment, **(extra or {})}
        starter = self.stage.starter_for(environment) if command[0] == "dagster" else None
        if starter:
            return self._by_starter(starter, command, environment)
        log, given_up = self.folder / "command.log", False
        with log.open("wb") as file:
            running = subprocess.Popen(
                [program, *command[1:]], env=environment, stdout=file, stderr=file, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip
            try:
                running.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                given_up = True
                running.kill()
                running.wait()
        self._end_group(running.pid)
        return Done(running.returncode, log.read_text(errors="replace")[-6000:], given_up)

    @staticmethod
    def _end_group(group: int) -> None:
        """End what a command has left behind (who holds a lock)."""
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return

    def mend(self) -> None:
        """What a person does about the cause: makes room, puts the databases back, has the server mended."""
        for name in ("lake", "home"):
            (self.folder / name / kinds.BALLAST).unlink(missing_ok=True)
        kinds.put_back(self.home)
        if self.stage.proxy:
            self.stage.proxy.heal()

    def content(self) -> dict[str, bytes]:
        """Every object of the datasets."""
        keys = [stored.key for name in HELD for stored in self.lake.list(name)]
        return {key: self.lake.get(key) for key in keys}

    def differences(self, undisturbed: dict[str, bytes], tenants: tuple[str, ...] = TENANTS) -> list[str]:
        """What is not as if nothing had been: the datasets' bytes, kept versions, events and ledger.

        Left out because they tell of the run and not of the data: the journal of a run that was killed (housekeeping
        takes it), the ledger's names and times, audit events.
        """
        content = self.content()
        found = [f"{key}: missing" for key in undisturbed.keys() - content.keys()]
        found += [f"{key}: should not be" for key in content.keys() - undisturbed.keys()]
        common = undisturbed.keys() & content.keys()
        found += [f"{key}: other bytes" for key in common if undisturbed[key] != content[key]]
        found += [f"{stored.key}: same bytes kept" for stored in self.lake.list(layout.VERSIONS)]
        return found + self._differing_events(content, tenants) + self._unwritten(content)

    def dishonest(self, undisturbed: dict[str, bytes]) -> list[str]:
        """What must not be even before anything is mended: half or strange objects, events of what is not there."""
        content = self.content()
        found = [f"{key}: half or strange" for key, data in content.items() if undisturbed.get(key) != data]
        for name in DATASETS:
            for partition, sha in self.recorded(name).items():
                day, tenant = partition.split("|")
                key = f"{layout.tenant_prefix(name, 'tempest', tenant)}/date={day}/{layout.FILE}"
                if key not in content:
                    found.append(f"{name} {partition}: materialized but not there")
                elif hashlib.sha256(content[key]).hexdigest() != sha:
                    found.append(f"{name} {partition}: materialized with another sha256")
        return found

    def recorded(self, dataset: str) -> dict[str, str]:
        """The sha256 that Dagster's latest materialization of each partition tells."""
        latest: dict[str, str] = {}
        key = dg.AssetKey(["tempest", dataset])
        with self.platform.instance as instance:
            for record in instance.fetch_materializations(key, limit=1000).records:  # newest first
                materialization = record.asset_materialization
                assert materialization
                assert record.partition_key
                sha = materialization.metadata.get("sha256")
                latest.setdefault(record.partition_key, str(sha.value) if sha else "none")
            assert instance.get_materialized_partitions(key) == latest.keys()
        return latest

    def _differing_events(self, content: dict[str, bytes], tenants: tuple[str, ...]) -> list[str]:
        found = []
        for name in DATASETS:
            told = self.recorded(name)
            for tenant in tenants:
                for day in DAYS:
                    key = f"{layout.tenant_prefix(name, 'tempest', tenant)}/date={day}/{layout.FILE}"
                    sha = hashlib.sha256(content.get(key, b"")).hexdigest()
                    if told.get(f"{day}|{tenant}") != sha:
                        found.append(f"{name} {day}|{tenant}: the event tells {told.get(f'{day}|{tenant}')}")
        return found

    def _unwritten(self, content: dict[str, bytes]) -> list[str]:
        """Objects of which no entry of the ledger tells who wrote these bytes."""
        ledgers = [self.lake.get(stored.key) for stored in self.lake.list(layout.LEDGER) if stored.size]
        entries = {(one["object"], one["sha256"]) for data in ledgers for one in json.loads(data)["written"]}
        return [
            f"{key}: not in the ledger"
            for key, data in content.items()
            if (key, hashlib.sha256(data).hexdigest()) not in entries
        ]
