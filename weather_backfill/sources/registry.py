"""Opens a connection's source; a new service is one module and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weather_backfill.errors import ConfigurationError
from weather_backfill.lake.storage import ObjectStore, S3Options
from weather_backfill.sources.base import Source
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.source import DwdSource
from weather_backfill.sources.tempest import TempestSource
from weather_backfill.sources.tempest_connection import TempestConnection
from weather_backfill.tenants import Tenant

Opener = Callable[[Any, ObjectStore, S3Options], Source]


def _tempest(connection: TempestConnection, lake: ObjectStore, s3: S3Options) -> Source:
    return TempestSource(connection.archive(s3), tuple(connection.stations))


def _dwd(connection: DwdConnection, lake: ObjectStore, s3: S3Options) -> Source:
    return DwdSource(connection, lake)


OPENERS: dict[str, Opener] = {"tempest": _tempest, "dwd": _dwd}
SERVICES = tuple(OPENERS)


def open_source(tenant: Tenant, service: str, lake: ObjectStore, s3: S3Options) -> Source:
    """The source behind a tenant's connection; raises `ConfigurationError` if there is none or it is off."""
    if service not in OPENERS:
        raise ConfigurationError(f"service {service!r} is not known: expected one of {', '.join(SERVICES)}.")
    connection = tenant.connection(service)
    if not connection.enabled:
        raise ConfigurationError(
            f"tenant {tenant.id!r} has switched {service!r} off (enabled: false in {tenant.id}.yaml)."
        )
    return OPENERS[service](connection, lake, s3)
