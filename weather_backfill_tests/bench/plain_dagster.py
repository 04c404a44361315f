"""The same days as plain Dagster does them: an asset by day without a backfill policy, so one run a day."""

import os
from datetime import date

import dagster as dg

from weather_backfill.lake import layout
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.days import refine_day, to_raw_table
from weather_backfill.settings import Settings
from weather_backfill.sources.tempest.source import TempestSource
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake
from weather_backfill_tests.bench.data import DAY, SERVICE, TENANT


@dg.asset(partitions_def=dg.DailyPartitionsDefinition(start_date=DAY.isoformat(), timezone="UTC"))
def plain(context: dg.AssetExecutionContext) -> None:
    """Read, flag, write and refine a day with the product's own functions."""
    settings = Settings()
    lake, key = open_lake(settings), PartitionKey(date.fromisoformat(context.partition_key), TENANT)
    source = TempestSource(ObjectStore(os.environ["BENCH_ARCHIVE"]))
    day = to_raw_table(key, source.read_day(key.date), settings.limits_of("tempest"))
    assert isinstance(day, DayTable), day
    write_day(lake, SERVICE, layout.RAW_OBSERVATIONS, day)
    write_day(lake, SERVICE, layout.REFINED_15M, refine_day(lake, SERVICE, key))


defs = dg.Definitions(assets=[plain], executor=dg.in_process_executor)
