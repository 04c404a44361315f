"""Dagster's partitions definitions over our keys: days, quarters and tenants of a service."""

from __future__ import annotations

from datetime import date
from functools import cache

import dagster as dg

from weather_backfill.model.partitions import quarter_of, tenants_partition_name


@cache
def tenants_partitions(service: str) -> dg.DynamicPartitionsDefinition:
    """The tenants connected to a service."""
    return dg.DynamicPartitionsDefinition(name=tenants_partition_name(service))


@cache
def daily_by_tenant(service: str, first_day: date) -> dg.MultiPartitionsDefinition:
    """Every UTC day since `first_day` of every tenant of the service."""
    return dg.MultiPartitionsDefinition(
        {
            "date": dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), timezone="UTC"),
            "tenant": tenants_partitions(service),
        }
    )


@cache
def quarterly_by_tenant(service: str, first_day: date) -> dg.MultiPartitionsDefinition:
    """Every quarter that is over, from the one `first_day` lies in, of every tenant; the key is its first day."""
    quarters = dg.TimeWindowPartitionsDefinition(
        start=quarter_of(first_day).isoformat(), fmt="%Y-%m-%d", cron_schedule="0 0 1 1,4,7,10 *", timezone="UTC"
    )
    return dg.MultiPartitionsDefinition({"date": quarters, "tenant": tenants_partitions(service)})
