"""The daily poll for restatements: a sensor and the job it starts, of every service that restates.

`dwd_restatements` compares once a day, for every tenant of DWD, the lake with DWD's files, and backfills the days that
were restated; `ghcnh_restatements` those of GHCNh. A sensor is stopped until you start it: each day it downloads the
files that the upstream has replaced. Its backfills
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
from weather_backfill.sources.service import Service
from weather_backfill.util.logs import log_day

A_DAY = 24 * 60 * 60
NODE = "compare_with_upstream"  # its name in every job; op definitions have names of their own


class TenantConfig(dg.Config):
    """The tenant whose days are compared."""

    tenant: str


def job_of(service: str) -> str:
    """The name of a service's job, and of its sensor."""
    return f"{service}_restatements"


def build_restatement_job(
    service: Service, settings: Settings, definitions: Callable[[], dg.Definitions]
) -> dg.JobDefinition:
    """The job `<service>_restatements`: compares one tenant's days with the upstream's files and backfills those that
    were restated.

    `definitions` returns the asset graph when a run needs it.
    """

    @dg.op(name=f"compare_{service.name}_with_upstream", pool=f"{service.name}_source")
    def compare_with_upstream(context: dg.OpExecutionContext, config: TenantConfig) -> None:
        restatements = find_restatements(settings, service.name, config.tenant)
        for row in restatements.rows():
            key = PartitionKey(date.fromisoformat(str(row["date"])), config.tenant)
            log_day(context.log, logging.INFO, service.name, key, f"restated: {row}")
        for station, problem in restatements.found.problems.items():
            context.log.warning(f"station {station} is not compared: {problem}")
        backfill_context = BackfillContext(context.instance, definitions(), settings)
        # Where the sensors run, `new_connections` launches it when its tenant's turn comes.
        backfill = launch_restatements(backfill_context, restatements, launch=not settings.automation)
        context.log.info(f"{len(restatements.found.days)} days restated; backfill: {backfill or 'none needed'}")

    @dg.job(
        name=job_of(service.name),
        description=f"Find the days of a tenant that {service.title} has restated, and backfill just those",
    )
    def restatements_job() -> None:
        compare_with_upstream.alias(NODE)()

    return restatements_job


def build_restatement_sensor(service: Service) -> dg.SensorDefinition:
    """The sensor `<service>_restatements`: one run of the job a tenant and UTC day."""

    @dg.sensor(
        name=job_of(service.name),
        job_name=job_of(service.name),
        minimum_interval_seconds=A_DAY,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Once a day, look for days of every tenant that {service.title} restated, and backfill just those",
    )
    def evaluate(
        context: dg.SensorEvaluationContext, tenants: TenantsResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        requests = 0
        today = datetime.now(UTC).date()
        for tenant in sorted(context.instance.get_dynamic_partitions(tenants_partition_name(service.name))):
            try:
                enabled = tenants.registry.get(tenant).connection(service.name).enabled
            except WeatherError as error:
                context.log.error(f"tenant {tenant} is left out: {error}")
                continue
            if enabled:
                requests += 1
                yield request(service.name, tenant, today)
        if not requests:
            yield dg.SkipReason(f"no tenant has a readable connection to {service.name} that is enabled")

    return evaluate


def request(service: str, tenant: str, day: date) -> dg.RunRequest:
    """The run that compares a tenant's days on a UTC day; its key keeps it from being launched twice."""
    return dg.RunRequest(
        run_key=f"{tenant}/{day.isoformat()}",
        run_config=dg.RunConfig(ops={NODE: TenantConfig(tenant=tenant)}),
        tags={TENANT_TAG: tenant, SERVICE_TAG: service},
    )
