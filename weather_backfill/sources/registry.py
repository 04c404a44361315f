"""Opens a connection's source; a new service is one module and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from weather_backfill.http.client import PoliteClient
from weather_backfill.http.shared_state import open_state
from weather_backfill.settings import Settings
from weather_backfill.sources.aceiot import source as aceiot
from weather_backfill.sources.aceiot.connection import AceiotConnection
from weather_backfill.sources.base import Source
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.remote import REQUESTS_PER_MINUTE, open_remote, polite
from weather_backfill.sources.dwd.source import DwdSource
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.source import TempestSource
from weather_backfill.storage.object_store import ObjectStore, S3Options


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a source may need besides its connection."""

    tenant: str
    lake: ObjectStore
    s3: S3Options
    settings: Settings
    hurry: bool = False

    @property
    def inside(self) -> bool:
        """Whether a local archive ends at its folder, whatever links in it say: where tenants may not name any."""
        return self.settings.tenant_policy().folders is not None


def _tempest(connection: TempestConnection, around: Surroundings) -> Source:
    archive = connection.archive(replace(around.s3, hurry=around.hurry), inside=around.inside)
    return TempestSource(archive, tuple(connection.stations))


def _dwd(connection: DwdConnection, around: Surroundings) -> Source:
    settings = around.settings

    def client() -> PoliteClient:
        shared = settings.requests_per_minute.get("dwd", REQUESTS_PER_MINUTE)
        own = _allowance(connection.requests_per_minute, shared, settings)
        return polite(
            connection.base_url,
            open_state(settings.limits_url),
            per_minute=own or shared,
            tenant=around.tenant if own else None,
            patience=settings.outage_patience,
            private=settings.private_addresses,
            hurry=around.hurry,
        )

    return DwdSource(connection, around.lake, remote=open_remote(connection.base_url, client, inside=around.inside))


def _aceiot(connection: AceiotConnection, around: Surroundings) -> Source:
    allowed = around.settings.requests_per_minute.get("aceiot", aceiot.REQUESTS_PER_MINUTE)
    own = _allowance(connection.requests_per_minute, allowed, around.settings)
    return aceiot.open_source(
        connection.model_copy(update={"requests_per_minute": own}),
        around.tenant,
        limits_url=around.settings.limits_url,
        requests_per_minute=allowed,
        patience=around.settings.outage_patience,
        private=around.settings.private_addresses,
        hurry=around.hurry,
    )


def _allowance(own: int | None, shared: int, settings: Settings) -> int | None:
    """What a tenant's file allows itself: at most what the platform does, where such files are not trusted."""
    return own if own is None or settings.trusts_files else min(own, shared)


OPENERS: dict[str, Callable[[Any, Surroundings], Source]] = {"tempest": _tempest, "dwd": _dwd, "aceiot": _aceiot}
SERVICES = tuple(OPENERS)
