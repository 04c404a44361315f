"""Makes the days to write: flags and checks raw days, and refines raw files into refined days."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

from weather_backfill.lake import layout, ownership, parquet
from weather_backfill.lake.expectation import footer_entries
from weather_backfill.model.days import Day, DayFailure, DayTable, RawDay
from weather_backfill.model.expectation import Asked
from weather_backfill.model.limits import Limits
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.checks import check_raw, check_refined, stand_for
from weather_backfill.refine.coverage import coverage, wholly_null
from weather_backfill.refine.quality import flag, with_service_flags
from weather_backfill.refine.windows import refine_file
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util.day_stream import each_day


def refine_days(store: ObjectStore, service: str, tenant: str, days: list[date]) -> Iterator[Day]:
    """Refine a tenant's raw days in order, one ahead of the consumer; yields a `DayFailure` for a day that fails."""
    for refined in each_day(days, lambda day: refine_day(store, service, PartitionKey(day, tenant))):
        yield refined.of(tenant) if isinstance(refined, DayFailure) else refined


def refine_day(store: ObjectStore, service: str, key: PartitionKey) -> DayTable:
    """Refine one raw day of the lake.

    Raises `NotFoundError` if the lake does not have it, and `UnreadableObjectError` if it is damaged, or by its footer
    another tenant's or day's.
    """
    started = time.monotonic()
    raw_key = layout.day_key(layout.RAW_OBSERVATIONS, service, key)
    with store.local_copy(raw_key) as path:
        refined = refine_file(path, key.date)
    ownership.check_owner(refined.footer, raw_key)
    return DayTable(
        key=key,
        table=refined.table,
        lineage={
            "source": f"{layout.RAW_OBSERVATIONS}/service={service}",
            "cadence": refined.footer["cadence"],
            **({"raw_rows": refined.footer["rows"]} if "rows" in refined.footer else {}),  # not in older raw files
        },
        facts={"source_objects": 1, "raw_rows": refined.raw_rows, "seconds": time.monotonic() - started},
        checks=check_refined(refined.table, refined.good_values),
    )


def to_raw_table(
    key: PartitionKey, day: RawDay | DayFailure, limits: Limits, accept_loss: bool = False, asked: Asked | None = None
) -> Day:
    """Flag and check a day as read, and complete its lineage; a `DayFailure` only gets the tenant.

    `asked` is what the connection asks of the day. What it lacks by the source, and of the required metrics, is said in
    the footer (`lacks`), beside the coverage by station and metric (`coverage`).
    """
    if isinstance(day, DayFailure):
        return day.of(key.tenant)
    with ThreadPoolExecutor(1, thread_name_prefix="coverage") as pool:  # concurrently: independent of each other
        future = pool.submit(coverage, day)
        table = with_service_flags(flag(day.table, day.cadence), day.table)
        covered = future.result()
    flagged = replace(day, table=table, lacks=(*day.lacks, *wholly_null(covered, limits.required)))
    lineage = {
        **day.lineage, **parquet.cadence_lineage(day.cadence), "completeness": f"{covered.share:.6f}",
        "coverage": covered.encode(), "rejects": str(day.rejects.num_rows),
        **footer_entries(flagged.lacks, asked),
    }  # fmt: skip
    return DayTable(
        key=key,
        table=table,
        lineage=lineage,
        facts={
            **day.facts,
            "completeness": round(covered.share, 6),
            "rejects": day.rejects.num_rows,
            "rejects_stand_for": stand_for(day.rejects),
        },
        checks=check_raw(flagged, covered, limits),
        rejects=day.rejects,
        incomplete=flagged.incomplete,
        accept_loss=accept_loss,
        based_on=day.based_on,
    )
