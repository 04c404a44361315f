"""Days that the upstream has restated since they were ingested, and the backfill that takes just those."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Protocol, runtime_checkable

import dagster as dg

from weather_backfill.backfill.coverage import file_metadata
from weather_backfill.backfill.launch import launch_backfill, native_id, native_of
from weather_backfill.backfill.records import audit
from weather_backfill.errors import ConfigurationError
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.storage import ObjectStore, StoredObject
from weather_backfill.partitions import PartitionKey
from weather_backfill.settings import Settings
from weather_backfill.sources.dwd.restated import HeldFiles, Restated
from weather_backfill.sources.registry import open_source
from weather_backfill.tenants import TenantRegistry

RESTATED_TAG = "weather/restated"
_THREADS = 8


@runtime_checkable
class Restating(Protocol):
    """A source that can tell what its upstream changed in days that are held."""

    def restated(self, held: HeldFiles, read: Any) -> Restated:
        """Compare held days with the upstream as it is now; `read` gives a held day's rows."""
        ...


@dataclass(frozen=True, slots=True)
class Restatements:
    """A tenant's restated days."""

    service: str
    tenant: str
    found: Restated

    @property
    def to_launch(self) -> list[date]:
        """The days that reading again repairs.

        A day whose older rows have left the upstream's window in part is not among them: reading it again
        would lose those rows.
        """
        return [day for day, changes in self.found.days.items() if not changes.expired]

    @property
    def backfill_id(self) -> str:
        """The same for the same days and the same upstream files."""
        evidence = [[day.isoformat() for day in self.to_launch], sorted(self.found.changed_files.items())]
        digest = hashlib.sha256(json.dumps(evidence).encode()).hexdigest()[:12]
        return f"restated-{self.service}-{self.tenant}-{digest}"

    def rows(self) -> list[dict[str, Any]]:
        """One row a day, for people and programs."""
        launched = set(self.to_launch)
        return [
            {"date": day.isoformat(), **asdict(changes), "action": "backfill" if day in launched else "keep"}
            for day, changes in self.found.days.items()
        ]


def find_restatements(
    settings: Settings, service: str, tenant: str, start: date | None = None, end: date | None = None
) -> Restatements:
    """Compare a tenant's raw days in the lake, from start to end, with the upstream.

    Raises a `WeatherError` if the service restates nothing or the upstream does not list its files; stations
    that cannot be compared are in `found.problems`.
    """
    store = settings.lake()
    registry = TenantRegistry(settings.tenant_files())
    source = open_source(registry.get(tenant), service, store, settings.s3, settings)
    if not isinstance(source, Restating):
        raise ConfigurationError(f"{service!r} does not restate what it has sent: only dwd can be compared.")
    held = held_files(store, service, tenant, start or date.min, end or date.max)

    def read(day: date) -> Any:
        return parquet.decode(store.get(layout.day_key(layout.RAW_OBSERVATIONS, service, PartitionKey(day, tenant))))

    return Restatements(service, tenant, source.restated(held, read))


def held_files(store: ObjectStore, service: str, tenant: str, start: date, end: date) -> HeldFiles:
    """The source files of every held raw day, from the footers."""

    def lineage(stored: StoredObject) -> tuple[date, dict[str, str]]:
        footer = parquet.footer_of(file_metadata(store, stored))
        return layout.date_of(stored.key), json.loads(footer.get("source_objects", "{}"))

    objects = store.list(layout.tenant_prefix(layout.RAW_OBSERVATIONS, service, tenant))
    wanted = [o for o in objects if o.key.endswith(layout.FILE) and start <= layout.date_of(o.key) <= end]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="footer") as pool:
        return dict(pool.map(lineage, wanted))


def launch_restatements(
    instance: dg.DagsterInstance, definitions: dg.Definitions, store: ObjectStore, restatements: Restatements
) -> str | None:
    """One native backfill over the restated days, or None if there are none; the lake's audit has its start.

    Idempotent: while days and upstream files are the same it is one backfill, however often this is called. One
    that failed is not started again by itself: retry it in Dagster.
    """
    days = restatements.to_launch
    if not days:
        return None
    name = native_id(restatements.backfill_id)
    if native_of(instance, restatements.backfill_id) is None:
        # First what was asked for: killed here, there are two events in the end, not none.
        facts = {"service": restatements.service, "tenant": restatements.tenant, "days": [str(day) for day in days]}
        audit(store, "start", backfill_id=name, dry_run=False, parameters=facts, outcome="accepted")
    return launch_backfill(
        instance,
        definitions,
        backfill_id=restatements.backfill_id,
        service=restatements.service,
        tenant=restatements.tenant,
        days=days,
        title=f"{restatements.service} of {restatements.tenant}: restated days ({len(days)})",
        tags={RESTATED_TAG: "true"},
    )
