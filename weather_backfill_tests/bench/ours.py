"""The product's side of every comparison, each in the process that this module starts as.

archive URL OUTPUT DAY                  an archive's day to a raw day in the lake
refine LAKE OUTPUT DAY [DAYS]           raw days of a lake to refined days
range-loop ARCHIVE OUTPUT DAY DAYS      raw and refined of a range, a plain loop
range-dagster ARCHIVE OUTPUT DAY DAYS   the same as a run of Dagster
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.bench.data import SERVICE, TENANT
from weather_backfill_tests.bench.measured import measure


def archive(url: str, output: str, day: str) -> Callable[[], Path]:
    """Read, decode, flag, check and write one day, as the raw asset does."""
    from weather_backfill.lake import layout
    from weather_backfill.lake.writer import write_day
    from weather_backfill.model.days import DayTable
    from weather_backfill.model.partitions import PartitionKey
    from weather_backfill.refine.days import to_raw_table
    from weather_backfill.settings import Settings
    from weather_backfill.sources.tempest.source import TempestSource
    from weather_backfill.storage.object_store import ObjectStore

    def work() -> Path:
        made = TempestSource(ObjectStore(url)).read_day(date.fromisoformat(day))
        table = to_raw_table(PartitionKey(made.date, TENANT), made, Settings().limits_of("tempest"))
        assert isinstance(table, DayTable)
        lake = ObjectStore(output)
        return Path(lake.uri(write_day(lake, SERVICE, layout.RAW_OBSERVATIONS, table).object_key))

    return work


def refine(raw_lake: str, output: str, day: str, days: str = "1") -> Callable[[], Path]:
    """Refine, check and write one day or several, as the refined asset does; the last one's file, or the folder."""
    from weather_backfill.lake import layout
    from weather_backfill.lake.writer import write_day
    from weather_backfill.model.days import DayTable
    from weather_backfill.refine.days import refine_days
    from weather_backfill.storage.object_store import ObjectStore

    def work() -> Path:
        lake, raw = ObjectStore(output), ObjectStore(raw_lake)
        dates = [date.fromisoformat(day) + timedelta(days=number) for number in range(int(days))]
        for refined in refine_days(raw, SERVICE, TENANT, dates):
            assert isinstance(refined, DayTable), refined
            record = write_day(lake, SERVICE, layout.REFINED_15M, refined)
        return Path(lake.uri(record.object_key)) if days == "1" else Path(output)

    return work


def range_loop(url: str, output: str, first: str, days: str) -> Callable[[], Path]:
    """The functions that the assets call, day after day, without Dagster, read-ahead or journal."""
    from weather_backfill.lake import layout
    from weather_backfill.lake.writer import write_day
    from weather_backfill.model.days import DayTable
    from weather_backfill.model.partitions import PartitionKey
    from weather_backfill.refine.days import refine_day, to_raw_table
    from weather_backfill.settings import Settings
    from weather_backfill.sources.tempest.source import TempestSource
    from weather_backfill.storage.object_store import ObjectStore

    def work() -> Path:
        source, lake, settings = TempestSource(ObjectStore(url)), ObjectStore(output), Settings()
        keys = [PartitionKey(date.fromisoformat(first) + timedelta(days=n), TENANT) for n in range(int(days))]
        for key in keys:
            day = to_raw_table(key, source.read_day(key.date), settings.limits_of("tempest"))
            assert isinstance(day, DayTable)
            write_day(lake, SERVICE, layout.RAW_OBSERVATIONS, day)
        for key in keys:
            write_day(lake, SERVICE, layout.REFINED_15M, refine_day(lake, SERVICE, key))
        return Path(output)

    return work


def range_dagster(url: str, output: str, first: str, days: str) -> Callable[[], Path]:
    """One run over the range with an instance on disk, as `dagster asset materialize` makes it."""
    home = Path(f"{output}-home")
    home.mkdir(parents=True)
    os.environ |= {"DAGSTER_HOME": str(home), "WEATHER_STORAGE_URL": output, "WEATHER_TENANTS_URL": f"{output}-tenants"}

    import dagster as dg

    from weather_backfill.backfill.launch import DATASETS, register_tenant
    from weather_backfill.dagster.private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
    from weather_backfill.definitions_single_run import defs
    from weather_backfill.model.partitions import PartitionKey
    from weather_backfill.settings import load_settings
    from weather_backfill.sources.tempest.connection import TempestConnection
    from weather_backfill.tenants.files import Services, Tenant, TenantRegistry

    tenant = Tenant(id=TENANT, services=Services(tempest=TempestConnection(archive_url=url)))
    TenantRegistry(open_tenant_files(load_settings())).put(tenant)
    start = date.fromisoformat(first)
    span = [str(PartitionKey(day, TENANT)) for day in (start, start + timedelta(days=int(days) - 1))]

    def work() -> Path:
        with dg.DagsterInstance.get() as instance:
            register_tenant(instance, SERVICE, TENANT)
            wanted = [dg.AssetKey([SERVICE, dataset]) for dataset in DATASETS]
            job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(wanted))
            tags = {ASSET_PARTITION_RANGE_START_TAG: span[0], ASSET_PARTITION_RANGE_END_TAG: span[1]}
            if not job.execute_in_process(instance=instance, tags=tags).success:
                raise RuntimeError("the run failed")
        return Path(output)

    return work


WORKS: dict[str, Callable[..., Callable[[], Path]]] = {
    "archive": archive,
    "refine": refine,
    "range-loop": range_loop,
    "range-dagster": range_dagster,
}

if __name__ == "__main__":
    measure(WORKS[sys.argv[1]](*sys.argv[2:]))
