"""One request of a range of days, from asking to complete, through real servers; the sides of workload 5.

    python -m weather_backfill_tests.bench.orchestrated dagit|cli|sensor|plain ARCHIVE OUTPUT FIRST DAYS [SECONDS]

dagit    `launchPartitionBackfill`, the mutation of Dagster's page, on a running webserver
cli      `weather-backfill start`, its own start-up included
sensor   a tenant file is put where the sensor looks
plain    the same work as plain Dagster does it: one run a day

The daemon is the real one with its ticks of 30 seconds, and runs before the clock starts, as it does in
production. The clock stops when Dagster calls the backfill completed, or after SECONDS, and then says which share
of the days was done.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from weather_backfill.backfill.launch import DATASETS, register_tenant
from weather_backfill.dagster.private import BulkActionStatus, PartitionBackfill
from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.bench.data import SERVICE, TENANT
from weather_backfill_tests.bench.measured import say
from weather_backfill_tests.bench.processes import Watch
from weather_backfill_tests.platform import Platform, graphql
from weather_backfill_tests.servers import until

LONGEST = 3 * 3600
TOLD = ("dagit", "cli")  # ways that ask of a tenant who is there already
PLAIN = "weather_backfill_tests.bench.plain_dagster"
_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""


def by_dagit(platform: Platform, url: str, archive: Path, days: list[date]) -> None:
    """As the page asks."""
    selection = [{"path": [SERVICE, dataset]} for dataset in DATASETS]
    params = {"assetSelection": selection, "partitionNames": [str(PartitionKey(day, TENANT)) for day in days]}
    answer = graphql(url, _LAUNCH, {"params": params})["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer


def by_cli(platform: Platform, url: str, archive: Path, days: list[date]) -> None:
    """As an operator asks."""
    span = ["--start", str(days[0]), "--end", str(days[-1]), "--max-days", str(len(days))]
    platform.run("weather-backfill", "start", "--tenant", TENANT, "--service", SERVICE, *span, "--yes")


def by_sensor(platform: Platform, url: str, archive: Path, days: list[date]) -> None:
    """As a tenant's file asks."""
    lookback = (datetime.now(UTC).date() - days[0]).days  # the archive holds no day after the last one
    connection = TempestConnection(archive_url=str(archive), lookback_days=lookback, first_day=days[0])
    TenantRegistry(open_tenant_files(platform.settings)).put(Tenant(id=TENANT, services=Services(tempest=connection)))


def by_plain(platform: Platform, url: str, archive: Path, days: list[date]) -> None:
    """As the page asks of an asset without a policy."""
    params = {"assetSelection": [{"path": ["plain"]}], "partitionNames": [str(day) for day in days]}
    answer = graphql(url, _LAUNCH, {"params": params})["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer


WAYS: dict[str, Callable[[Platform, str, Path, list[date]], None]] = {
    "dagit": by_dagit, "cli": by_cli, "sensor": by_sensor, "plain": by_plain
}  # fmt: skip


def main(way: str, archive: str, output: str, first: str, number: str, patience: str = "") -> None:
    """Start the servers, ask, wait, check, and say what it took."""
    begin = date.fromisoformat(first)
    days = days_between(begin, begin + timedelta(days=int(number) - 1))
    platform = Platform(Path(output), str(Path(output) / "lake"))
    platform.environment |= {
        "WEATHER_SENSOR_SECONDS": "30",
        "WEATHER_AUTOMATION": "true" if way == "sensor" else "false",
        "BENCH_ARCHIVE": archive,
    }
    os.environ |= platform.environment
    if way in TOLD:
        connection = TempestConnection(archive_url=archive)
        TenantRegistry(open_tenant_files(platform.settings)).put(
            Tenant(id=TENANT, services=Services(tempest=connection))
        )
    with platform.instance as instance:  # which makes Dagster's tables, as two processes at once must not
        if way in TOLD:
            register_tenant(instance, SERVICE, TENANT)
    with servers(platform, way) as (url, watch), platform.instance as instance:
        started = time.perf_counter()
        WAYS[way](platform, url, Path(archive), days)
        limit = float(patience or LONGEST)
        over = until(lambda: _ended(instance) or time.perf_counter() - started > limit, LONGEST + 60, every=0.5)
        seconds = time.perf_counter() - started
    done = 1.0
    if isinstance(over, PartitionBackfill):
        assert over.status == BulkActionStatus.COMPLETED_SUCCESS, over.status
        _check(platform, days)
    else:
        assert patience, f"not complete after {LONGEST} s"
        done = len(platform.dates(layout.REFINED_15M, TENANT)) / len(days)
    say(seconds, watch.cpu_seconds, watch.peak_bytes, Path(platform.storage_url), done)


@contextmanager
def servers(platform: Platform, way: str) -> Iterator[tuple[str, Watch]]:
    """The daemon, its heart beating, and for Dagster's page its server; watched."""
    definitions = PLAIN if way == "plain" else "weather_backfill.definitions"
    with ExitStack() as stack:
        daemon = stack.enter_context(platform.daemon("dagster._daemon", definitions))
        sessions = [daemon.pid]
        url = ""
        if way in ("dagit", "plain"):
            url, pid = stack.enter_context(platform.webserver_process(definitions))
            sessions.append(pid)
        with platform.instance as instance:
            until(lambda: "BACKFILL" in instance.get_daemon_statuses() and _beats(instance), 120)
        yield url, stack.enter_context(Watch(sessions))


def _beats(instance: dg.DagsterInstance) -> bool:
    needed = {"BACKFILL", "SENSOR", "QUEUED_RUN_COORDINATOR"}
    return all(status.healthy for name, status in instance.get_daemon_statuses().items() if name in needed)


def _ended(instance: dg.DagsterInstance) -> PartitionBackfill | None:
    """The backfill, when it has ended; the parts of a request all have to."""
    found = instance.get_backfills()
    working: Any = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
    if not found or any(backfill.status in working or not backfill.backfill_end_timestamp for backfill in found):
        return None
    return next((b for b in found if b.status != BulkActionStatus.COMPLETED_SUCCESS), found[0])


def _check(platform: Platform, days: list[date]) -> None:
    for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M):
        missing = set(days) - platform.dates(dataset, TENANT)
        assert not missing, f"{len(missing)} days of {dataset} are missing: {sorted(missing)[:3]}"


if __name__ == "__main__":
    main(*sys.argv[1:])
