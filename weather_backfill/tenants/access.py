"""Opens a tenant's connections, after checking that they reach only what the tenant may."""

from __future__ import annotations

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.settings import Settings
from weather_backfill.sources.base import Source
from weather_backfill.sources.connection import Connection
from weather_backfill.sources.registry import SERVICES, service_named
from weather_backfill.sources.service import Surroundings
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.files import Tenant


def check_connection(tenant: Tenant, service: str, lake: ObjectStore, settings: Settings) -> None:
    """Raise `ConfigurationError` for a connection that reaches for what its tenant may not, or into the lake.

    What it reaches is what `Connection.reach()` says, and nothing else.
    """
    connection: Connection = tenant.connection(service)
    reach = connection.reach()
    for field, place in reach.places.items():
        if lake.contains(place):
            raise ConfigurationError(
                f"{tenant.id}.yaml: services.{service}.{field}: {place!r} lies in the lake ({lake.url}), which holds "
                "the data of all tenants; expected the place where the upstream's files are."
            )
    settings.tenant_policy().check(tenant.id, reach)


def check_places(tenant: Tenant, settings: Settings) -> Tenant:
    """Return the tenant, if `check_connection` lets all its connections pass."""
    lake = open_lake(settings)
    for service in SERVICES:
        if getattr(tenant.services, service) is not None:
            check_connection(tenant, service, lake, settings)
    return tenant


def open_source(
    tenant: Tenant, service: str, lake: ObjectStore, s3: S3Options, settings: Settings, *, hurry: bool = False
) -> Source:
    """Open the source behind a tenant's connection; with `hurry` one that soon gives a slow server up.

    The caller closes it: `with open_source(...) as source`. Raises `ConfigurationError` if there is no such
    connection, it is off, or it names something that its tenant may not reach.
    """
    service_named(service)
    return open_connection(tenant, service, lake, s3, settings, tenant.switched_on(service), hurry=hurry)


def open_connection(
    tenant: Tenant, service: str, lake: ObjectStore, s3: S3Options, settings: Settings, connection: Connection, *,
    hurry: bool = False,
) -> Source:  # fmt: skip
    """Open the source of a tenant's connection, whole or narrowed; raises as `open_source`."""
    check_connection(tenant, service, lake, settings)
    inside = settings.tenant_policy().folders is not None
    return service_named(service).open(connection, Surroundings(tenant.id, lake, s3, settings, inside, hurry))
