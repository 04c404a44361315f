"""Backfill contexts over an empty lake with tenants of Tempest, for tests of the reconciler without a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.status import target_of
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.lake import layout
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.refine.days import refine_day, to_raw_table
from weather_backfill.settings import Settings
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import TenantRegistry

TODAY = date(2024, 1, 4)
DAYS = days_between(date(2024, 1, 1), date(2024, 1, 3))


@contextmanager
def opened(folder: Path, archive: Path, definitions: dg.Definitions, **settings: Any) -> Iterator[BackfillContext]:
    """A context over an empty lake, with a tenant whose backfill has three parts and one whose has one."""
    with_lake = Settings(**{"storage_url": str(folder / "lake"), "tenants_url": str(folder / "tenants"), **settings})
    write_tenant(with_lake, "acme", archive, chunk_days=1)
    write_tenant(with_lake, "acme-2", archive)
    with dg.instance_for_test() as instance:
        yield BackfillContext(instance, definitions, with_lake)


def write_tenant(settings: Settings, tenant: str, archive: Path | str, **connection: Any) -> None:
    """A tenant's file, looking back over `DAYS` from `TODAY`."""
    tempest = {"archive_url": str(archive), "lookback_days": len(DAYS), **connection}
    document = {"id": tenant, "services": {"tempest": tempest}}
    open_tenant_files(settings).put(f"{tenant}.yaml", yaml.safe_dump(document, explicit_end=True).encode())


def finish(context: BackfillContext, *names: str) -> None:
    """End these active native backfills (default: all), as the daemon would, without any data."""
    for native in context.instance.get_backfills():
        if (not names or native.backfill_id in names) and native.status in ENDS:
            ended = native.with_status(ENDS[native.status]).with_end_timestamp(datetime.now(UTC).timestamp())
            context.instance.update_backfill(ended)


ENDS = {
    BulkActionStatus.REQUESTED: BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.CANCELING: BulkActionStatus.CANCELED,
}


def target_days(context: BackfillContext, native: str) -> list[date]:
    """The days that a native backfill targets."""
    backfill = context.instance.get_backfill(native)
    assert backfill is not None
    return [key.date for key in target_of(backfill, context.graph)]


def load(context: BackfillContext, days: list[date], refine: bool = True, tenant: str = "acme") -> None:
    """Write these days of a tenant of Tempest as their assets would, in this process."""
    connected = TenantRegistry(open_tenant_files(context.settings)).get(tenant)
    asked, limits = connected.connection("tempest").asked(), context.settings.limits_of("tempest")
    source = open_source(connected, "tempest", context.store, context.settings.s3, context.settings)
    for day in source.days(days):
        key = PartitionKey(day.date, tenant)
        raw = to_raw_table(key, day, limits, asked=asked)
        assert isinstance(raw, DayTable)
        write_day(context.store, "tempest", layout.RAW_OBSERVATIONS, raw)
        if refine:
            write_day(context.store, "tempest", layout.REFINED_15M, refine_day(context.store, "tempest", key))
