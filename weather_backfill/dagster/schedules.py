"""The daily housekeeping, `weather-backfill housekeeping --yes` as a job, and the schedule that starts it."""

# No `from __future__ import annotations`: Dagster reads the annotations of ops and schedules.

import dagster as dg

from weather_backfill.backfill.context import claim_lake
from weather_backfill.maintenance.retention import clean, find
from weather_backfill.settings import Settings
from weather_backfill.storage.places import open_lake

HOUSEKEEPING = "housekeeping"


def build_housekeeping(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule `housekeeping`, once a day at `housekeeping_hour` UTC, and its job."""

    @dg.op
    def clean_up(context: dg.OpExecutionContext) -> None:
        store = open_lake(settings)
        claim_lake(context.instance, store)
        expired = find(context.instance, store, settings)
        clean(store, expired)
        for kind, (action, count) in expired.counts().items():
            context.log.info(f"{kind}: {action} {count}")

    @dg.job(
        name=HOUSEKEEPING, description="Delete old versions, journals and alerts that were sent; archive old records"
    )
    def housekeeping() -> None:
        clean_up()

    return dg.ScheduleDefinition(
        name=HOUSEKEEPING,
        job=housekeeping,
        cron_schedule=f"30 {settings.housekeeping_hour} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED,
        description="Deletes old versions, journals and alerts that were sent, and archives old records, once a day.",
    )
