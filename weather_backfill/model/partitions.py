"""Partitions: one UTC day of one tenant. Partition keys are made and parsed nowhere else.

A key is Dagster's multi-partition key `YYYY-MM-DD|tenant` (dimensions sorted by name: date, tenant).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from weather_backfill.model.errors import ConfigurationError

UTC = timezone.utc  # noqa: UP017 - the name reads better than datetime.UTC in annotations
TENANT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def validate_tenant_id(tenant: str) -> str:
    """Return the id if it is allowed, else raise `ConfigurationError`: ids become keys, paths and arguments."""
    if not isinstance(tenant, str) or not TENANT_ID.fullmatch(tenant):
        raise ConfigurationError(
            f"tenant id {str(tenant)[:80]!r} is not allowed: expected 1 to 63 characters of a-z, 0-9, '-' and "
            "'_', starting with a letter or digit. Rename the tenant."
        )
    return tenant


@dataclass(frozen=True, slots=True, order=True)
class PartitionKey:
    """One tenant's UTC day `[date, date + 1)`: the unit that flows."""

    date: date
    tenant: str

    @classmethod
    def parse(cls, text: str) -> PartitionKey:
        """Parse `YYYY-MM-DD|tenant`; raises `ConfigurationError` for anything else."""
        day, separator, tenant = text.partition("|")
        try:
            if not separator:
                raise ValueError("no '|'")
            key = cls(date.fromisoformat(day), validate_tenant_id(tenant))
            if str(key) != text:  # fromisoformat also takes 20240101 and 2024-W01-1: a second name for the day
                raise ValueError(f"the day is written {key.date}")
            return key
        except ValueError as error:
            raise ConfigurationError(
                f"partition key {text[:100]!r} is not valid ({error}): expected 'YYYY-MM-DD|tenant', "
                "for example '2024-01-01|acme'."
            ) from error

    def __str__(self) -> str:
        return f"{self.date.isoformat()}|{self.tenant}"

    @property
    def start(self) -> datetime:
        """The start of the day: midnight, UTC."""
        return datetime.combine(self.date, datetime.min.time(), UTC)


def tenants_partition_name(service: str) -> str:
    """The name of the dynamic partitions of a service, whose keys are tenant ids."""
    return f"{service}_tenants"


def quarter_of(day: date) -> date:
    """The first day of a day's quarter."""
    return date(day.year, day.month - (day.month - 1) % 3, 1)


def quarter_end(start: date) -> date:
    """The first day after the quarter that starts on `start`."""
    return quarter_of(start + timedelta(days=95))


def days_between(start: date, end: date) -> list[date]:
    """All days from start to end, both included."""
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def by_tenant(keys: Iterable[str]) -> dict[str, list[date]]:
    """Group a run's partition keys by tenant, days in order.

    Dagster hands a range's keys in no order, and may let one run cross tenants.
    """
    grouped: dict[str, list[date]] = {}
    for key in sorted(PartitionKey.parse(text) for text in keys):
        grouped.setdefault(key.tenant, []).append(key.date)
    return grouped
