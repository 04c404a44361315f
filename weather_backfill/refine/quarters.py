"""A quarter's features of one tenant, from its refined days in the lake."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta

import pyarrow as pa

from weather_backfill.lake import layout, ownership
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.days import DayFailure, DayTable
from weather_backfill.model.errors import NotFoundError
from weather_backfill.model.partitions import PartitionKey, days_between, quarter_end
from weather_backfill.refine.features import FeatureInput, quarter_features, read_refined_day
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util.day_stream import each_day


def make_quarter(store: ObjectStore, service: str, key: PartitionKey) -> DayTable:
    """Make a quarter's features; `key.date` is its first day.

    Raises `NotFoundError` if none of its days is refined, and the error of a refined day that cannot be read.
    """
    started = time.monotonic()
    folder = layout.tenant_prefix(layout.REFINED_15M, service, key.tenant)
    refined = day_objects(store, layout.REFINED_15M, service, key.tenant)
    all_days = days_between(key.date, quarter_end(key.date) - timedelta(days=1))
    days = [day for day in all_days if day in refined]
    if not days:
        raise NotFoundError(f"{store.uri(folder)} holds no day of the quarter from {key.date}: refine its days first.")
    return DayTable(
        key=key,
        table=quarter_features(key.date, _days(store, service, key.tenant, days), _history(store, service, key.tenant)),
        lineage={"source": f"{layout.REFINED_15M}/service={service}", "days": str(len(days))},
        facts={
            "source_objects": len(days),
            "missing_days": len(all_days) - len(days),
            "seconds": time.monotonic() - started,
        },
    )


def _days(store: ObjectStore, service: str, tenant: str, days: list[date]) -> Iterator[FeatureInput]:
    def read(day: date) -> FeatureInput:
        key = layout.day_key(layout.REFINED_15M, service, PartitionKey(day, tenant))
        return read_refined_day(day, store.get(key), store.uri(key), key)

    for day in each_day(days, read):
        if isinstance(day, DayFailure):
            raise day.error
        yield day


def _history(store: ObjectStore, service: str, tenant: str) -> pa.Table | None:
    try:
        key = layout.tenant_key(layout.STATION_HISTORY, service, tenant)
        return ownership.decode(store.get(key), key)
    except NotFoundError:
        return None
