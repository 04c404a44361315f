"""Opens a tenant's connections, after checking that they reach only what the tenant may."""

from __future__ import annotations

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.settings import Settings
from weather_backfill.sources.base import Source
from weather_backfill.sources.registry import OPENERS, SERVICES, Surroundings
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.files import Tenant


def check_outside(tenant: Tenant, service: str, lake: ObjectStore) -> None:
    """Raise `ConfigurationError` for a connection whose upstream lies in the lake: that data is other tenants'."""
    for field in ("archive_url", "base_url"):
        url = getattr(tenant.connection(service), field, None)
        if url and not url.startswith(("http://", "https://")) and lake.contains(url):
            raise ConfigurationError(
                f"{tenant.id}.yaml: services.{service}.{field}: {url!r} lies in the lake ({lake.url}), which holds the "
                "data of all tenants; expected the place where the upstream's files are."
            )


def check_connection(tenant: Tenant, service: str, lake: ObjectStore, settings: Settings) -> None:
    """Raise `ConfigurationError` for a connection that reaches for what its tenant may not, or into the lake."""
    check_outside(tenant, service, lake)
    settings.tenant_policy().check(tenant.id, tenant.connection(service).reach())


def check_places(tenant: Tenant, settings: Settings) -> Tenant:
    """The tenant, if `check_connection` lets all its connections pass."""
    lake = open_lake(settings)
    for service in SERVICES:
        if getattr(tenant.services, service) is not None:
            check_connection(tenant, service, lake, settings)
    return tenant


def open_source(
    tenant: Tenant, service: str, lake: ObjectStore, s3: S3Options, settings: Settings, *, hurry: bool = False
) -> Source:
    """The source behind a tenant's connection; with `hurry` one that has little patience with a slow server.

    Raises `ConfigurationError` if there is none, it is off, or it names what its tenant may not reach.
    """
    if service not in OPENERS:
        raise ConfigurationError(f"service {service!r} is not known: expected one of {', '.join(SERVICES)}.")
    connection = tenant.switched_on(service)
    check_connection(tenant, service, lake, settings)
    return OPENERS[service](connection, Surroundings(tenant.id, lake, s3, settings, hurry))
