"""One isolated platform: Dagster home, lake, tenants and archives, with daemon and webserver on demand."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import requests

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import register_tenant
from weather_backfill.dagster.private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout, parquet
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG
from weather_backfill.settings import Settings
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.servers import answers, free_port, process, until
from weather_backfill_tests.starting import run_command

PROJECT = Path(__file__).resolve().parent.parent
START = date(2024, 1, 1)


@cache
def _storage() -> tempfile.TemporaryDirectory[str]:
    """The databases of a Dagster home, made once: tables and migrations take longer than most tests.

    They hold nothing, not even the id by which an instance is known: it is drawn when it is first asked for.
    """
    made = tempfile.TemporaryDirectory()
    shutil.copy(PROJECT / "dagster.yaml", made.name)
    with dg.DagsterInstance.from_config(made.name) as instance:
        assert not instance.get_dynamic_partitions("any")
        assert not instance.all_instigator_state()
    with closing(sqlite3.connect(Path(made.name) / "history" / "runs.db")) as runs:
        assert runs.execute("SELECT count(*) FROM instance_info").fetchone() == (0,)
    return made


@dataclass
class Platform:
    """Everything below one folder; the lake on S3 where `endpoint` is given."""

    folder: Path
    storage_url: str
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / "dagster.yaml", home / "dagster.yaml")
        if not (home / "history").exists():
            shutil.copytree(_storage().name, home, dirs_exist_ok=True)
        self.environment = {
            **self.environment,
            "DAGSTER_HOME": str(home),
            "WEATHER_STORAGE_URL": self.storage_url,
            "WEATHER_TENANTS_URL": str(self.folder / "tenants"),
            "WEATHER_AUTOMATION": self.environment.get("WEATHER_AUTOMATION", "false"),
            "WEATHER_SENSOR_SECONDS": "5",
            "PYTHONPATH": str(PROJECT),
        }

    @property
    def settings(self) -> Settings:
        return Settings(
            storage_url=self.storage_url,
            tenants_url=str(self.folder / "tenants"),
            s3_endpoint_url=self.environment.get("WEATHER_S3_ENDPOINT_URL"),
        )

    @property
    def lake(self) -> ObjectStore:
        return open_lake(self.settings)

    @property
    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(self.environment["DAGSTER_HOME"])

    @contextmanager
    def desk(self) -> Iterator[BackfillContext]:
        """A desk of this process on the instance, the settings as they are now."""
        with self.instance as instance:
            yield BackfillContext(instance, build_definitions(self.settings), self.settings)

    def add_tempest(self, tenant: str, days: int, stations: int = 1, faults: Faults | None = None) -> Path:
        """Simulate an archive from START on and register its tenant; the archive's folder."""
        archive = self.folder / "archive" / tenant
        plan = SimulatedArchive(
            tenant, START, START + timedelta(days=days - 1), stations, seed=7, minutes_per_object=60,
            faults=faults or Faults(),
        )  # fmt: skip
        write_archive(plan, ObjectStore(str(archive)))
        connection = TempestConnection(archive_url=str(archive))
        TenantRegistry(open_tenant_files(self.settings)).put(Tenant(id=tenant, services=Services(tempest=connection)))
        with self.instance as instance:
            register_tenant(instance, "tempest", tenant)
        return archive

    def add_dwd(self, tenant: str, **connection: Any) -> None:
        """Write the file of a tenant of DWD and register it; written again, it replaces the connection."""
        model = Tenant(id=tenant, services=Services(dwd=DwdConnection(**connection)))
        TenantRegistry(open_tenant_files(self.settings)).put(model)
        with self.instance as instance:
            register_tenant(instance, "dwd", tenant)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs in this platform, in a process of its own."""
        done = run_command(command, {**os.environ, **self.environment}, self.folder)
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def load(
        self,
        instance: dg.DagsterInstance,
        start: date = START,
        end: date | None = None,
        tenant: str = "acme",
        assets: Sequence[str] = (layout.RAW_OBSERVATIONS, layout.REFINED_15M),
        service: str = "tempest",
    ) -> dg.ExecuteInProcessResult:
        """One run of a service's days in this process, tagged as the queue tags it: a day, or a range up to `end`."""
        job = build_definitions(self.settings).resolve_implicit_global_asset_job_def()
        tags = {SERVICE_TAG: service, TENANT_TAG: tenant}
        if end:
            tags |= {
                ASSET_PARTITION_RANGE_START_TAG: f"{start}|{tenant}",
                ASSET_PARTITION_RANGE_END_TAG: f"{end}|{tenant}",
            }
        return job.execute_in_process(
            instance=instance, tags=tags, asset_selection=[dg.AssetKey([service, name]) for name in assets],
            partition_key=None if end else dg.MultiPartitionKey({"date": str(start), "tenant": tenant}),
            raise_on_error=False,
        )  # fmt: skip

    @contextmanager
    def daemon(
        self, module: str = "weather_backfill_tests.daemon_process", definitions: str = "weather_backfill.definitions"
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Dagster's daemon with a quick tick; `dagster._daemon` is the one with its own."""
        command = [sys.executable, "-m", module, "run", "-m", definitions]
        with process(command, self.environment, self.folder / "daemon.log") as running:
            yield running

    @contextmanager
    def webserver(self) -> Iterator[str]:
        with self.webserver_process() as (url, _):
            yield url

    @contextmanager
    def webserver_process(self, definitions: str = "weather_backfill.definitions") -> Iterator[tuple[str, int]]:
        """The webserver's address and process id."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "weather_backfill.dagster.webserver", "-m", definitions, "-p", str(port)]
        with process(command, self.environment, self.folder / "webserver.log") as running:
            until(lambda: answers(f"{url}/server_info"), 90)
            yield url, running.pid

    def day(self, dataset: str, tenant: str, day: date, service: str = "tempest") -> pa.Table:
        return parquet.decode(self.lake.get(layout.day_key(dataset, service, PartitionKey(day, tenant))))

    def dates(self, dataset: str, tenant: str, service: str = "tempest") -> set[date]:
        objects = self.lake.list(layout.tenant_prefix(dataset, service, tenant))
        return {layout.date_of(stored.key) for stored in objects}

    def materialized(self, asset: str, tenant: str, service: str = "tempest") -> set[date]:
        """The days Dagster knows as materialized."""
        with self.instance as instance:
            keys = instance.get_materialized_partitions(dg.AssetKey([service, asset]))
        parsed = [PartitionKey.parse(key) for key in keys]
        return {key.date for key in parsed if key.tenant == tenant}


def graphql(url: str, query: str, variables: dict[str, Any] | None = None) -> Any:
    answer = requests.post(f"{url}/graphql", json={"query": query, "variables": variables or {}}, timeout=60)
    document = answer.json()
    assert not document.get("errors"), document["errors"]
    return document["data"]
