"""Eight tenants over sixty days on PostgreSQL, an S3 server and Ray workers on hosts of their own; hosts die.

`make test-cluster` starts the S3 server and the hosts around this and shows the times.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import psycopg2
import pytest

from weather_backfill.backfill.launch import register_tenant
from weather_backfill.backfill.status import natives_of
from weather_backfill.lake import layout
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.cluster.hosts import JOBS, Worker, postgres, ray_cluster
from weather_backfill_tests.conftest import CREDENTIALS
from weather_backfill_tests.platform import PROJECT, START, Platform
from weather_backfill_tests.servers import until

TENANTS = [f"tenant-{number}" for number in range(8)]
DAYS = 60
END = START + timedelta(days=DAYS - 1)
RUNNING = [dg.DagsterRunStatus.STARTED]


@dataclass
class Ground:
    """What all tests share: servers, archives, and the lake as the embedded default makes it."""

    folder: Path
    endpoint: str
    bucket: str
    database: str
    embedded: dict[str, str]

    def s3(self, prefix: str) -> ObjectStore:
        return ObjectStore(f"s3://{self.bucket}/{prefix}", S3Options(endpoint_url=self.endpoint))


def contents(lake: ObjectStore) -> dict[str, str]:
    """The sha256 of every day's object of both datasets, as its materialization would say."""
    import hashlib

    keys = [
        stored.key
        for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M)
        for tenant in TENANTS
        for stored in lake.list(layout.tenant_prefix(dataset, "tempest", tenant))
    ]
    return {key: hashlib.sha256(data).hexdigest() for key, data in lake.read_many(keys) if isinstance(data, bytes)}


def make_tenants(platform: Platform, ground: Ground) -> None:
    registry = TenantRegistry(open_tenant_files(platform.settings))
    with platform.instance as instance:
        for tenant in TENANTS:
            connection = TempestConnection(
                archive_url=f"s3://{ground.bucket}/archive/{tenant}", endpoint_url=ground.endpoint
            )
            registry.put(Tenant(id=tenant, services=Services(tempest=connection)))
            register_tenant(instance, "tempest", tenant)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str) -> Iterator[Ground]:
    if "WEATHER_TEST_S3_ENDPOINT" not in os.environ or not Path("/sys/class/net/wb0").exists():
        pytest.skip("needs hosts and an S3 server: make test-cluster")
    folder = tmp_path_factory.mktemp("cluster")
    bucket = "weather-cluster"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=bucket)
    with postgres() as database:
        made = Ground(folder, s3_endpoint, bucket, database, {})
        for number, tenant in enumerate(TENANTS):
            write_archive(SimulatedArchive(tenant, START, END, 2, number, 240), made.s3(f"archive/{tenant}"))
        made.embedded = embedded(made)
        yield made


def embedded(ground: Ground) -> dict[str, str]:
    """Load everything with the embedded default, in one process per tenant; what the lake then holds."""
    platform = Platform(ground.folder / "embedded", str(ground.folder / "embedded" / "lake"), dict(CREDENTIALS))
    make_tenants(platform, ground)

    def load(tenant: str) -> None:
        platform.run(
            "dagster", "asset", "materialize", "-m", "weather_backfill.definitions_single_run",
            "--select", "tempest/raw_observations,tempest/refined_15m",
            "--partition-range", f"{START}|{tenant}...{END}|{tenant}",
        )  # fmt: skip

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(load, TENANTS))
    found = contents(platform.lake)
    assert len(found) == 2 * DAYS * len(TENANTS)
    return found


@contextmanager
def cluster(ground: Ground, name: str, workers: int) -> Iterator[tuple[Platform, list[Worker]]]:
    """A platform on the Ray profile, with a database, a lake and workers of its own."""
    connection = psycopg2.connect(ground.database.replace("+psycopg2", "") + "/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    environment = {
        **CREDENTIALS,
        "WEATHER_S3_ENDPOINT_URL": ground.endpoint,
        "WEATHER_LOGS_BUCKET": ground.bucket,
        "WEATHER_RAY_ADDRESS": JOBS,
        "DAGSTER_POSTGRES_URL": f"{ground.database}/{name}",
        "WEATHER_LIMITS_URL": f"{ground.database.replace('+psycopg2', '')}/{name}",
        "WEATHER_MAX_ACTIVE_BACKFILLS": "8",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
    platform = Platform(ground.folder / name, f"s3://{ground.bucket}/{name}", environment)
    shutil.copy(PROJECT / "deploy" / "ray" / "dagster.yaml", ground.folder / name / "home" / "dagster.yaml")
    patch = pytest.MonkeyPatch()
    for variable, value in platform.environment.items():
        patch.setenv(variable, value)  # the instance of this process reads the same references
    try:
        make_tenants(platform, ground)
        with ray_cluster(workers, platform.environment) as hosts, platform.daemon(), platform.webserver():
            yield platform, hosts
    finally:
        patch.undo()


def start_all(platform: Platform) -> list[str]:
    """A backfill of all days for every tenant, by the command line; their ids."""
    started = []
    for tenant in TENANTS:
        arguments = ["--tenant", tenant, "--service", "tempest", "--start", str(START), "--end", str(END)]
        done = platform.run("weather-backfill", "start", *arguments, "--max-days", str(DAYS), "--yes", "--json")
        started.append(json.loads(done.stdout)["backfill_id"])
    return started


def ended(instance: dg.DagsterInstance, names: list[str]) -> list[str]:
    """The end states of the backfills; empty until all have ended."""
    found = [native for name in names for native in natives_of(instance, name)]
    states = [backfill.status.value for backfill in found]
    if len(states) < len(names):
        return []
    return states if all(state.startswith(("COMPLETED", "FAILED", "CANCELED")) for state in states) else []


def raw_days(platform: Platform) -> dict[str, Any]:
    """The raw objects of the lake and when each was written."""
    return {
        stored.key: stored.last_modified
        for tenant in TENANTS
        for stored in platform.lake.list(layout.tenant_prefix(layout.RAW_OBSERVATIONS, "tempest", tenant))
    }


def busy(worker: Worker, instance: dg.DagsterInstance) -> set[str]:
    """Raw runs that are in the middle of their work on this worker."""
    runs = [
        run.run_id
        for run in instance.get_runs(dg.RunsFilter(statuses=RUNNING))
        if any(key.path[-1] == layout.RAW_OBSERVATIONS for key in run.asset_selection or ())
    ]
    return worker.run_ids(set(runs))


@pytest.mark.timeout(2400)
def test_a_killed_and_a_cut_worker_cost_only_their_unfinished_days(ground: Ground) -> None:
    with cluster(ground, "faults", 3) as (platform, (first, second, third)), platform.instance as instance:
        names = start_all(platform)
        until(lambda: all(busy(worker, instance) for worker in (first, second, third)), 180, 0.5)
        [victim] = until(lambda: _in_the_middle(platform, instance, first), 120, 0.1)
        journaled = _journaled(platform, victim)
        written = raw_days(platform)
        first.kill()
        [lost] = until(lambda: busy(second, instance), 120, 0.5)
        second.cut()
        cut_at = time.monotonic()
        until(lambda: instance.get_run_by_id(victim).is_finished, 240, 0.5)  # type: ignore[union-attr]
        until(lambda: instance.get_run_by_id(lost).is_finished, 240, 0.5)  # type: ignore[union-attr]
        noticed = time.monotonic() - cut_at
        states = until(lambda: ended(instance, names), 1500, 1)  # one worker is left for all that was on three
        assert states == ["COMPLETED_SUCCESS"] * len(TENANTS)
        retried = {run.parent_run_id for run in instance.get_runs() if run.parent_run_id}
        assert {victim, lost} <= retried, "monitoring noticed both hosts, and other runs took over"
        after = raw_days(platform)
        kept = [
            key for key in written if any(f"date={day}" in key and f"tenant={who}/" in key for day, who in journaled)
        ]
        assert kept
        assert {key: after[key] for key in kept} == {key: written[key] for key in kept}, "recorded days are not redone"
        assert contents(platform.lake) == ground.embedded, "the same bytes as the embedded default"
    print(f"\nkilled and cut workers noticed, the cut one after {noticed:.0f} s; {len(kept)} recorded days kept")


def _journaled(platform: Platform, run_id: str) -> set[tuple[str, str]]:
    """The days a run has recorded so far, as date and tenant."""
    with platform.instance as instance:
        run = instance.get_run_by_id(run_id)
    assert run
    root = run.root_run_id or run_id
    paths = [stored.key.split("/") for stored in platform.lake.list(f"_journal/{root}")]
    return {(path[-1].removesuffix(".json"), path[-2].removeprefix("tenant=")) for path in paths}


def _in_the_middle(platform: Platform, instance: dg.DagsterInstance, worker: Worker) -> list[str]:
    """The run of a worker that has recorded some of its days and not yet all."""
    return [run_id for run_id in busy(worker, instance) if 3 <= len(_journaled(platform, run_id)) <= 25]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_time_by_worker_count(ground: Ground, workers: int) -> None:
    with cluster(ground, f"workers{workers}", workers) as (platform, _), platform.instance as instance:
        begun = time.monotonic()
        names = start_all(platform)
        assert until(lambda: ended(instance, names), 1200, 1) == ["COMPLETED_SUCCESS"] * len(TENANTS)
        seconds = time.monotonic() - begun
        assert contents(platform.lake) == ground.embedded
    print(f"\n{len(TENANTS)} tenants x {DAYS} days on {workers} workers: {seconds:.0f} s")
