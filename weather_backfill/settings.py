"""Every knob, documented once. Values come from `WEATHER_*` environment variables or a `.env` file.

Secrets are no settings: credentials come from the usual AWS variables, profiles or roles, and from
environment references (`${NAME}`) in tenant files.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from weather_backfill.model.errors import ConfigurationError, refuse_user, shown
from weather_backfill.model.limits import Limits
from weather_backfill.security.own_hosts import parse_authority
from weather_backfill.security.reach import folder_of
from weather_backfill.security.secrets import WITHHELD, SecretReference
from weather_backfill.security.tenant_policy import TenantPolicy
from weather_backfill.sources.connection import Connection, plainly
from weather_backfill.sources.registry import SERVICES, SERVICES_BY_NAME
from weather_backfill.sources.service import absolute
from weather_backfill.storage.object_store import S3Options


class Settings(BaseSettings):
    """The platform's settings, one environment variable each (`WEATHER_` + the name in capitals)."""

    model_config = SettingsConfigDict(
        env_prefix="WEATHER_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    storage_url: str = Field("lake", description="The lake: a folder or s3://bucket/prefix")
    tenants_url: str = Field("tenants", description="Tenant files: a folder or s3://bucket/prefix")
    warehouse: str | None = Field(
        None, description="DuckDB file with views over the lake; default: beside a local lake, else in this folder"
    )
    s3_endpoint_url: str | None = Field(None, description="An S3 server other than AWS")
    s3_region: str | None = Field(None, description="Region of the buckets")
    s3_profile: str | None = Field(None, description="AWS profile to use")
    s3_checksums: bool = Field(
        True, description="Whether uploads carry a SHA-256; false for a server that refuses x-amz-checksum-sha256"
    )
    chunk_days: int = Field(30, ge=1, le=1000, description="Days one run of a backfill takes, if set for all services")
    service_chunk_days: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict, description='Chunk days by service, JSON: {"dwd": 100}'
    )
    first_day: dict[str, date] = Field(
        default_factory=dict, description='First partition by service, JSON: {"dwd": "1950-01-01"}'
    )
    rejects_limit: float = Field(0.01, ge=0, le=1, description="Share of rejected rows that a check allows")
    completeness_target: float = Field(
        0.75, ge=0, le=1, description="Share of grid slots that must hold a value before a day counts complete"
    )
    failed_limit: float = Field(
        0.05, ge=0, le=1, description="Share of a metric's values that may fail the tests of quality in a day"
    )
    suspect_limit: float = Field(0.5, ge=0, le=1, description="Share of a metric's values that may be suspect in a day")
    requests_per_minute: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description='Rate limit by service, all tenants together, JSON: {"aceiot": 50}'
    )
    limits_url: str | None = Field(
        None, repr=False, description="Where rate limits and breakers are shared: a folder, redis:// or postgresql://"
    )
    tenant_folders: list[str] | None = Field(
        None,
        description="Folders that tenants' archives may lie below, JSON; default: any for tenant files in a local "
        "folder, none for those in a bucket",
    )
    tenant_secrets: dict[str, list[str]] | None = Field(
        None,
        description='Variables, and profiles as "profile:NAME", that a tenant\'s file may name, JSON by tenant; '
        "default: any for tenant files in a local folder, none for those in a bucket",
    )
    most_priority: int | None = Field(
        None,
        ge=-100,
        le=100,
        description="Highest priority a tenant's file may give itself; default: any for tenant files in a local "
        "folder, 0 for those in a bucket",
    )
    private_addresses: bool = Field(True, description="Whether tenants may name loopback and private addresses")
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description='Hosts that the webserver is also reached by, through a proxy, JSON: ["weather.example.org"]',
    )
    automation: bool = Field(True, description="Whether the sensors run without being started in Dagster")
    sensor_seconds: int = Field(30, ge=1, description="Seconds between two looks for new connections")
    max_active_backfills: int = Field(5, ge=1, description="Native backfills that may be active at once")
    max_days: int = Field(30, ge=1, description="Days a backfill may ask for without saying --max-days")
    late_days: int = Field(2, ge=0, description="Days before yesterday that the daily load reads again")
    daily_hour: int = Field(1, ge=0, le=23, description="UTC hour from which yesterday is loaded")
    gaps_hour: int = Field(3, ge=0, le=23, description="UTC hour from which gaps are looked for and filled")
    outage_patience: float = Field(
        120, ge=0, description="Seconds that a service's outage is waited out before its days fail"
    )
    catalog_database: str | None = Field(
        None,
        pattern=r"^[a-z_][a-z0-9_]{0,127}$",
        description="Glue database to keep the lake's tables in; none: no catalog",
    )
    catalog_projection: bool = Field(
        True, description="Tables with partition projection, so that no day is registered; false: register partitions"
    )
    catalog_tenants: Literal["enum", "injected"] = Field(
        "enum", description="Whether tables list the tenants, or each query has to name one (more than a few dozen)"
    )
    catalog_concurrency: int = Field(4, ge=1, le=64, description="Glue calls at once")
    athena_workgroup: str = Field("primary", description="Athena workgroup for DDL; it must say where results go")
    alert_seconds: int = Field(60, ge=1, description="Seconds between two looks for what to alert on")
    alert_failed_chunks: int = Field(3, ge=1, description="Alert on more chunks of a connection failed in a row")
    alert_backfill_hours: float = Field(20, gt=0, description="Alert on a backfill that is active for longer")
    alert_completeness: float = Field(
        0.9, ge=0, le=1, description="Alert where a finished backfill's days are less complete, by tenant and service"
    )
    alert_completeness_days: int = Field(7, ge=1, description="Days for which a finished backfill is watched for that")
    alert_webhook: SecretReference | None = Field(
        None, description="Environment reference to a Slack-shaped webhook's URL: ${ALERT_WEBHOOK_URL}"
    )
    alert_email_host: str | None = Field(None, description="SMTP server that alerts are sent through")
    alert_email_port: int = Field(25, ge=1, le=65535, description="Its port")
    alert_email_from: str = Field("weather-backfill@localhost", description="Sender of alerts")
    alert_email_to: str | None = Field(None, description="Who gets alerts by e-mail, separated by commas")
    alert_email_user: str | None = Field(None, description="User at the SMTP server, if it wants one")
    alert_email_password: SecretReference | None = Field(
        None, description="Environment reference to that user's password: ${ALERT_SMTP_PASSWORD}"
    )
    alert_email_tls: bool = Field(False, description="Whether to speak TLS with the SMTP server (STARTTLS)")
    log_format: Literal["text", "json"] = Field(
        "text", description="How runs log on their console: text, or one JSON object a line"
    )
    keep_versions_days: int = Field(30, ge=0, description="Days that a replaced version of a day is kept")
    keep_records_days: int = Field(
        30,
        ge=0,
        description="Days until ended backfills and audit events are archived, journals and told alerts deleted",
    )
    housekeeping_hour: int = Field(5, ge=0, le=23, description="UTC hour in which old things are cleaned up")
    freshness_days: int = Field(2, ge=1, description="Age in days at which the newest day counts as stale")
    asset_owners: list[str] = Field(
        default_factory=lambda: ["team:weather"],
        description='Owners of all assets in Dagster, e-mail addresses or "team:NAME", JSON: ["team:weather"]',
    )

    @field_validator("storage_url", "tenants_url", "s3_endpoint_url")
    @classmethod
    def _without_user(cls, url: str | None) -> str | None:
        return plainly(lambda given: refuse_user(given, "the URL"), url) if url else url

    @field_validator("service_chunk_days", "first_day", "requests_per_minute")
    @classmethod
    def _known_services(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Reject unknown service names: a typo would otherwise be ignored."""
        for name in given:
            if name not in SERVICES:
                raise ValueError(f"service {name!r} is not known, expected {', '.join(SERVICES)}")
        return given

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, given: list[str]) -> list[str]:
        """Reject what is no host: an entry that never matches would otherwise be ignored."""
        for host in given:
            if parse_authority(host) is None:
                raise ValueError(f"{host!r} is not a host, expected name or name:port")
        return given

    def chunk_days_of(self, service: str) -> int:
        """Days one run takes for this service: as set for it, as set for all, else as suits it."""
        known = SERVICES_BY_NAME.get(service)
        chosen = self.chunk_days if "chunk_days" in self.model_fields_set or known is None else known.chunk_days
        return self.service_chunk_days.get(service, chosen)

    def first_day_of(self, service: str) -> date:
        """The first daily partition of this service."""
        known = SERVICES_BY_NAME.get(service)
        return self.first_day.get(service, known.first_day if known else date(2018, 1, 1))

    def limits_of(self, service: str, connection: Connection | None = None) -> Limits:
        """The limits that days of a service are judged by, with those of a tenant's connection on top."""
        known = SERVICES_BY_NAME.get(service)
        required = known.required_metrics if known else ()
        if connection is None:
            own = Limits(required=frozenset(required))
        else:
            given = connection.required_metrics
            own = Limits(
                targets=connection.completeness_targets, failed=connection.failed_limits,
                suspect=connection.suspect_limits, required=frozenset(required if given is None else given),
            )  # fmt: skip
        return replace(
            own, completeness_target=self.completeness_target, rejects_limit=self.rejects_limit,
            failed_limit=self.failed_limit, suspect_limit=self.suspect_limit,
        )  # fmt: skip

    @cached_property
    def s3(self) -> S3Options:
        """How to reach S3 for the lake and the tenant files."""
        return S3Options(self.s3_endpoint_url, self.s3_region, self.s3_profile, checksums=self.s3_checksums)

    def warehouse_path(self) -> str:
        """The absolute path of the DuckDB file with the views."""
        lake = folder_of(self.storage_url)
        beside = lake.expanduser().absolute().parent if lake else Path()
        return absolute(self.warehouse or str(beside / "warehouse.duckdb"))

    @property
    def trusts_files(self) -> bool:
        """Whether tenant files are the operator's own: they lie in a local folder, where no tenant writes."""
        return folder_of(self.tenants_url) is not None

    def priority(self, wanted: int) -> int:
        """The priority that a tenant's file gets when it asks for one."""
        most = self.most_priority if self.most_priority is not None else (100 if self.trusts_files else 0)
        return min(wanted, most)

    def tenant_policy(self) -> TenantPolicy:
        """What tenant files may name."""
        local = self.trusts_files
        given = self.tenant_folders
        folders = None if given is None and local else tuple(Path(f).expanduser().resolve() for f in given or ())
        secrets = None if self.tenant_secrets is None and local else self.tenant_secrets or {}
        return TenantPolicy(folders, secrets, self.private_addresses, plain_http=local, endpoint=self.s3_endpoint_url)


def _shown(given: Any) -> Any:
    return shown(given) if isinstance(given, str) else given


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; raises `ConfigurationError` naming the variable and what it expected."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(
            f"WEATHER_{str(e['loc'][0]).upper()}{''.join(f' {part}' for part in e['loc'][1:])}: {e['msg']}"
            + ("" if e["type"] == WITHHELD else f" (given {_shown(e['input'])!r})")
            for e in error.errors()
        )
        raise ConfigurationError(f"settings are not valid: {problems}") from error
    except SettingsError as error:
        found = re.search(r'field "(\w+)"', str(error))
        name = f"WEATHER_{found[1].upper()}" if found else "WEATHER_*"
        raise ConfigurationError(f"settings are not valid: {name}: expected JSON ({error.__cause__})") from error
