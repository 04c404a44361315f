"""Tenants and their connections: YAML files, one a tenant, in a folder or bucket (`WEATHER_TENANTS_URL`).

    id: acme
    services:
      tempest:
        archive_url: s3://acme-weather/tempest

A file that is broken names its file, field, value and fix, and never blocks another tenant. Secrets appear
only as references to environment variables: `${ACME_SECRET}`.
"""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from weather_backfill.errors import ConfigurationError, NotFoundError
from weather_backfill.lake.storage import ObjectStore
from weather_backfill.partitions import validate_tenant_id
from weather_backfill.sources.aceiot.connection import AceiotConnection
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.tempest_connection import TempestConnection

_MAX_FILE_BYTES = 64 * 1024


class Services(BaseModel):
    """The services a tenant connects."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tempest: TempestConnection | None = None
    dwd: DwdConnection | None = None
    aceiot: AceiotConnection | None = None


class Tenant(BaseModel):
    """One tenant file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, AfterValidator(validate_tenant_id)]
    name: str | None = Field(None, max_length=200)
    services: Services

    def connection(self, service: str) -> Any:
        """The tenant's connection to a service; raises `ConfigurationError` if it has none."""
        connection = getattr(self.services, service, None)
        if connection is None:
            raise ConfigurationError(
                f"tenant {self.id!r} has no connection to {service!r}: add it under services in {self.id}.yaml."
            )
        return connection


class TenantRegistry:
    """Reads and writes tenant files."""

    def __init__(self, files: ObjectStore) -> None:
        self._files = files

    def ids(self) -> list[str]:
        """The ids of all tenant files, readable or not."""
        names = [o.key for o in self._files.list() if "/" not in o.key]
        return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml"))

    def get(self, tenant: str) -> Tenant:
        """One tenant; raises `ConfigurationError` that names file, field, value and fix."""
        file = f"{validate_tenant_id(tenant)}.yaml"
        try:
            text = self._files.get(file)
        except NotFoundError as error:
            raise ConfigurationError(
                f"tenant {tenant!r} is not known: there is no {self._files.uri(file)}. "
                "Add it with `weather-backfill tenants add`."
            ) from error
        return parse_tenant(text, self._files.uri(file), tenant)

    def connect(self, tenant: str, services: dict[str, dict[str, Any]]) -> str:
        """Write a tenant's file with these connections; others it has stay. Returns where.

        Raises `ConfigurationError` naming the field, and then writes nothing.
        """
        if not services:
            raise ConfigurationError(f"tenant {tenant!r} connects no service: name one, for example --tempest.")
        file = f"{validate_tenant_id(tenant)}.yaml"
        document: dict[str, Any] = {"id": tenant, "services": {}}
        if file in {stored.key for stored in self._files.list()}:
            known = self.get(tenant)
            document = known.model_dump(mode="json", exclude_none=True, exclude_unset=True)
        document["services"] |= services
        return self.put(parse_tenant(yaml.safe_dump(document).encode(), self._files.uri(file), tenant))

    def put(self, tenant: Tenant) -> str:
        """Write a tenant's file; returns where."""
        document = tenant.model_dump(mode="json", exclude_none=True, exclude_unset=True)
        key = f"{tenant.id}.yaml"
        self._files.put(key, yaml.safe_dump(document, sort_keys=False).encode())
        return self._files.uri(key)


def parse_tenant(text: bytes, file: str, expected_id: str) -> Tenant:
    """A tenant from the bytes of its YAML file."""
    if len(text) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{file}: {len(text)} bytes; a tenant file has at most {_MAX_FILE_BYTES}.")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: expected a mapping with id and services, found {type(document).__name__}.")
    try:
        tenant = Tenant.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']} (given {str(e['input'])[:80]!r})"
            for e in error.errors(include_url=False)
        )
        raise ConfigurationError(f"{file}: {problems}") from error
    if tenant.id != expected_id:
        raise ConfigurationError(f"{file}: id is {tenant.id!r}; expected {expected_id!r}, as the file is named.")
    return tenant
