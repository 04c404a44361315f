"""The connections that the tenant files ask for, as the reconciler sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.file_looks import BROKEN, FileLooks
from weather_backfill.backfill.polling import note_of
from weather_backfill.model.errors import NotFoundError, WeatherError
from weather_backfill.model.partitions import tenants_partition_name
from weather_backfill.sources.connection import Connection
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Tenant, TenantRegistry

EVERYBODY = "*"
"""Stands for all tenants in a set of broken files: the folder itself is gone. No tenant id looks like this."""


@dataclass(frozen=True, slots=True)
class WantedConnection:
    """One enabled connection of a tenant; `version` changes with the tenant's file and the defaults."""

    tenant: Tenant
    service: str
    connection: Connection
    version: str

    @property
    def name(self) -> str:
        """`<tenant>-<service>`, as ids carry it."""
        return f"{self.tenant.id}-{self.service}"

    def window(self, today: date, earliest: date) -> tuple[date, date]:
        """The first and last UTC day that the connection asks for: its look-back to yesterday, from `earliest` on."""
        first = today - timedelta(days=self.connection.lookback_days)
        return max(first, self.connection.first_day or first, earliest), today - timedelta(days=1)

    def may_launch(self, now: datetime) -> bool:
        """Return whether the connection's `off_peak` hours allow a launch now."""
        return self.connection.off_peak is None or self.connection.off_peak.holds(now)


Wants = Mapping[tuple[str, str], WantedConnection]
"""The wanted connections by tenant and service."""


def connections(
    context: BackfillContext, notes: list[str], broken: set[str] | None = None, looks: FileLooks | None = None
) -> Iterator[WantedConnection]:
    """Yield the enabled connections of all readable tenant files; broken files are reported in `notes` and `broken`.

    So are those that have changed, or gone, since the last tick's `looks`.
    """
    registry, policy = TenantRegistry(open_tenant_files(context.settings)), context.settings.tenant_policy()
    broken = set() if broken is None else broken
    if problem := _not_mounted(context, registry):
        notes.append(problem)
        broken.add(EVERYBODY)
        return
    names, seen, defaults = registry.ids(), dict[str, str](), None
    with suppress(Exception):  # else each tenant's own read says what is wrong
        defaults = registry.defaults()
    for name in looks.gone(names) if looks else ():
        notes.append(f"{name}: its file was there at the last look; it counts as gone if the next look sees none")
        broken.add(name)
    for name in names:
        seen[name] = BROKEN
        try:
            tenant, version, whole = registry.read(name, defaults)
        except Exception as error:  # whatever is wrong with a file is its tenant's trouble
            notes.append(note_of(name, error))
            broken.add(name)
            continue
        seen[name] = version
        if looks and not whole and not looks.same(name, version):
            notes.append(f"{name}: its file is new or has changed; it counts if the next look sees the same")
            broken.add(name)
            continue
        for service in SERVICES:
            connection = getattr(tenant.services, service, None)
            if connection is None or not connection.enabled:
                continue
            try:
                policy.check(tenant.id, connection.reach())
            except WeatherError as error:
                notes.append(f"{name}: {error}")
                broken.add(name)
            else:
                yield WantedConnection(tenant, service, connection, version)
    if looks:
        looks.save(seen)


def _not_mounted(context: BackfillContext, registry: TenantRegistry) -> str | None:
    """The problem if all tenant files are gone at once, else None: a folder that is not mounted asks for no stop."""
    try:
        names = registry.ids()
    except NotFoundError as error:
        return str(error)
    registered = {
        tenant
        for service in SERVICES
        for tenant in context.instance.get_dynamic_partitions(tenants_partition_name(service))
    }
    if names or len(registered) < 2:
        return None
    return (
        f"{context.settings.tenants_url} holds no tenant file, and Dagster knows {len(registered)} tenants: "
        "is it mounted? Nothing is stopped or launched; `weather-backfill tenants remove` stops a tenant."
    )


def where(
    candidates: Iterable[WantedConnection], predicate: Callable[[WantedConnection], bool], notes: list[str]
) -> list[WantedConnection]:
    """The connections for which the predicate is true; one whose predicate raises is reported in `notes`."""
    matching = []
    for connection in candidates:
        try:
            if predicate(connection):
                matching.append(connection)
        except Exception as error:  # one tenant's error must not stop the others
            notes.append(note_of(connection.name, error))
    return matching
