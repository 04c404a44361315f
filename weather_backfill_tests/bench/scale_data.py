"""Platforms of many tenants with a year each, for workload 6: one tenant's year is made by real runs, then copied.

The first tenant's year is loaded by the product in process. Dagster's rows about it (events, tags, runs, backfills)
are then written once more for every other tenant, with its name and run ids in place of the first one's, straight
into SQLite; the lake's objects are hard links. So a thousand tenants take minutes, not days. Left out are the
rows of checks and the log of each run: what is measured does not read them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import DATASETS, register_tenant
from weather_backfill.backfill.manifests import open_manifests
from weather_backfill.backfill.plan import chunks_of
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import BACKFILL_TAG, active_backfills, write_summary
from weather_backfill.dagster.private import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BulkActionStatus,
)
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey, days_between, tenants_partition_name
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.bench.data import DAY, SERVICE, once
from weather_backfill_tests.platform import Platform

FIRST = "client-0000"
_EVENTS = ("ASSET_MATERIALIZATION", "ASSET_MATERIALIZATION_PLANNED")


def tenant_name(number: int) -> str:
    """Names of one length, so that every row is of one size."""
    return f"client-{number:04d}"


def one_year(folder: Path, archive: Path, days: int) -> Path:
    """A platform with one tenant whose days have been onboarded by real runs."""

    def make(root: Path) -> None:
        platform = open_platform(root, archive)
        _write_tenant(platform, 0, archive, days)
        with platform.instance as instance:
            definitions = build_definitions(platform.settings)
            desk = BackfillContext(instance, definitions, platform.settings)
            onboard(desk, today(days), datetime(2026, 1, 1, tzinfo=UTC))
            native = active_backfills(instance)[0]
            for chunk in chunks_of(days_between(DAY, DAY + timedelta(days=days - 1)), 30):
                for dataset in DATASETS:
                    _run(instance, definitions, dataset, chunk, native.backfill_id)
            ended = native.with_status(BulkActionStatus.COMPLETED_SUCCESS)
            instance.update_backfill(ended.with_end_timestamp(datetime.now(UTC).timestamp()))
            for manifest in open_manifests(desk.store):
                assert write_summary(instance, desk.graph, desk.store, manifest).status == "completed"

    return once(folder / f"scale-{days}-days", make)


def many(folder: Path, archive: Path, days: int, tenants: int) -> Path:
    """The same with so many tenants, each with a year of its own."""
    first = one_year(folder, archive, days)

    def make(root: Path) -> None:
        platform = open_platform(root, archive)
        _copy_databases(first, root, tenants)
        _copy_lake(first, root, tenants)
        for number in range(tenants):
            _write_tenant(platform, number, archive, days)
        with platform.instance as instance:
            assert len(instance.get_dynamic_partitions(tenants_partition_name(SERVICE))) == tenants

    return once(folder / f"scale-{days}-days-{tenants}-tenants", make)


def today(days: int) -> date:
    """The day on which the tenants' look-back is just loaded."""
    return DAY + timedelta(days=days)


def open_platform(root: Path, archive: Path) -> Platform:
    """The platform below a folder; its environment is this process's from now on."""
    platform = Platform(root, str(root / "lake"))
    os.environ |= platform.environment
    return platform


def _write_tenant(platform: Platform, number: int, archive: Path, days: int) -> None:
    connection = TempestConnection(archive_url=str(archive), lookback_days=days)
    tenant = Tenant(id=tenant_name(number), services=Services(tempest=connection))
    TenantRegistry(open_tenant_files(platform.settings)).put(tenant)


def _run(instance: dg.DagsterInstance, definitions: dg.Definitions, dataset: str, days: list[date], of: str) -> None:
    register_tenant(instance, SERVICE, FIRST)
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey([SERVICE, dataset])}
    )
    first, last = (str(PartitionKey(day, FIRST)) for day in (days[0], days[-1]))
    tags = {
        ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last,
        BACKFILL_TAG: of, SERVICE_TAG: SERVICE, TENANT_TAG: FIRST,
    }  # fmt: skip
    assert job.execute_in_process(instance=instance, tags=tags).success


def _copy_lake(first: Path, root: Path, tenants: int) -> None:
    """Links to the first tenant's days, and its records with the other names in them."""
    days = [p for dataset in DATASETS for p in (first / "lake" / dataset).rglob(layout.FILE)]
    records = [p for p in (first / "lake").rglob("*.json") if FIRST in str(p)]
    marks = list((first / "lake" / layout.OPEN).glob(".*"))
    for mark in marks:
        target = root / mark.relative_to(first)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mark.read_bytes())
    for number in range(tenants):
        name = tenant_name(number)
        for path in days:
            target = root / str(path.relative_to(first)).replace(FIRST, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
        for path in records:
            target = root / str(path.relative_to(first)).replace(FIRST, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text().replace(FIRST, name))


def _copy_databases(first: Path, root: Path, tenants: int) -> None:
    with Platform(root, str(root / "lake")).instance:
        pass  # Dagster makes its tables
    for relative, holder in (("history/runs/index.db", "event_logs"), ("history/runs.db", "runs")):
        source = sqlite3.connect(first / "home" / relative)
        target = sqlite3.connect(root / "home" / relative)
        with closing(source), closing(target):
            runs = [run for (run,) in source.execute(f"SELECT DISTINCT run_id FROM {holder}")]
            target.execute("PRAGMA synchronous = OFF")
            for table in _tables(target):
                _copy_table(source, target, table, runs, tenants)
            target.commit()
            target.execute("ANALYZE")


def _tables(database: sqlite3.Connection) -> list[str]:
    wanted = {
        "event_logs", "asset_event_tags", "asset_keys", "dynamic_partitions",
        "runs", "run_tags", "bulk_actions", "backfill_tags",
    }  # fmt: skip
    found = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return sorted(wanted & found)


def _copy_table(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, runs: list[str], tenants: int
) -> None:
    columns = [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
    where = f" WHERE dagster_event_type IN {_EVENTS}" if table == "event_logs" else ""
    rows = source.execute(f"SELECT * FROM {table}{where}").fetchall()
    if table == "asset_keys":  # one row an asset, whoever's; what is cached of it is made anew
        rows = [tuple(None if c == "cached_status_data" else v for c, v in zip(columns, r, strict=True)) for r in rows]
        tenants = 1
    numbered = table in ("event_logs", "asset_event_tags")
    step = 1 + source.execute("SELECT max(id) FROM event_logs").fetchone()[0] if numbered else 1
    marks = ", ".join("?" * len(columns))
    target.execute(f"DELETE FROM {table}")
    target.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
        _renamed(table, columns, rows, runs, tenants, step),
    )


def _renamed(
    table: str, columns: list[str], rows: list[tuple[object, ...]], runs: list[str], tenants: int, step: int
) -> Iterator[list[object]]:
    """The rows for every tenant: its name, its run ids, its own row numbers."""
    numbered = {"id": None, "event_id": step} if table == "asset_event_tags" else {"id": step if step > 1 else None}
    for number in range(tenants):
        name = tenant_name(number)
        for row in rows:
            values: list[object] = []
            for column, value in zip(columns, row, strict=True):
                if column in numbered and isinstance(value, int):
                    by = numbered[column]
                    value = None if by is None else value + number * by
                elif isinstance(value, str) and number:
                    value = _rename(value.replace(FIRST, name), runs, number)
                values.append(value)
            yield values


def _rename(text: str, runs: list[str], number: int) -> str:
    for run in runs:
        if run in text:
            return text.replace(run, f"{number:08x}{run[8:]}")
    return text
