"""The daily poll for restatements: a sensor and the job it starts.

`dwd_restatements` compares once a day, for every tenant of DWD, the lake with DWD's files, and backfills the days that
were restated. It is stopped until you start it: each day it downloads the files that DWD has replaced. Its backfills
queue like all others for the few that may be active. The comparison takes minutes for many stations, more than a
sensor may, so every tenant's is a run of its own: visible, with its log, and a tenant that fails stops nobody else.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of ops and sensors.

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import dagster as dg

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.restatements import find_restatements, launch_restatements
from weather_backfill.dagster.resources import TenantsResource
from weather_backfill.model.errors import WeatherError
from weather_backfill.model.partitions import PartitionKey, tenants_partition_name
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG
from weather_backfill.settings import Settings
from weather_backfill.util.logs import log_day

SERVICE = "dwd"
SENSOR = JOB = "dwd_restatements"
A_DAY = 24 * 60 * 60


class TenantConfig(dg.Config):
    """The tenant whose days are compared."""

    tenant: str


def build_restatement_job(settings: Settings, definitions: Callable[[], dg.Definitions]) -> dg.JobDefinition:
    """The job `dwd_restatements`: compares one tenant's days with DWD's files and backfills those that were restated.

    `definitions` returns the asset graph when a run needs it.
    """

    @dg.op(pool=f"{SERVICE}_source")
    def compare_with_upstream(context: dg.OpExecutionContext, config: TenantConfig) -> None:
        restatements = find_restatements(settings, SERVICE, config.tenant)
        for row in restatements.rows():
            key = PartitionKey(date.fromisoformat(str(row["date"])), config.tenant)
            log_day(context.log, logging.INFO, SERVICE, key, f"restated: {row}")
        for station, problem in restatements.found.problems.items():
            context.log.warning(f"station {station} is not compared: {problem}")
        backfill_context = BackfillContext(context.instance, definitions(), settings)
        # Where the sensors run, `new_connections` launches it when its tenant's turn comes.
        backfill = launch_restatements(backfill_context, restatements, launch=not settings.automation)
        context.log.info(f"{len(restatements.found.days)} days restated; backfill: {backfill or 'none needed'}")

    @dg.job(name=JOB, description="Find the days of a tenant that DWD has restated, and backfill just those")
    def restatements_job() -> None:
        compare_with_upstream()

    return restatements_job


def build_restatement_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `dwd_restatements`: one run of the job a tenant and UTC day."""

    @dg.sensor(
        name=SENSOR,
        job_name=JOB,
        minimum_interval_seconds=A_DAY,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Once a day, look for days of every tenant that DWD has restated, and backfill just those",
    )
    def evaluate(
        context: dg.SensorEvaluationContext, tenants: TenantsResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        requests = 0
        today = datetime.now(UTC).date()
        for tenant in sorted(context.instance.get_dynamic_partitions(tenants_partition_name(SERVICE))):
            try:
                enabled = tenants.registry.get(tenant).connection(SERVICE).enabled
            except WeatherError as error:
                context.log.error(f"tenant {tenant} is left out: {error}")
                continue
            if enabled:
                requests += 1
                yield request(tenant, today)
        if not requests:
            yield dg.SkipReason("no tenant has a readable connection to dwd that is enabled")

    return evaluate


def request(tenant: str, day: date) -> dg.RunRequest:
    """The run that compares a tenant's days on a UTC day; its key keeps it from being launched twice."""
    return dg.RunRequest(
        run_key=f"{tenant}/{day.isoformat()}",
        run_config=dg.RunConfig(ops={"compare_with_upstream": TenantConfig(tenant=tenant)}),
        tags={TENANT_TAG: tenant, SERVICE_TAG: SERVICE},
    )
