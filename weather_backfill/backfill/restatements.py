"""Finds days that the upstream has restated since they were ingested, and launches a backfill over just those."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Protocol, cast

from weather_backfill.backfill.commands import start
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.coverage import file_metadata
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess
from weather_backfill.backfill.taken_days import busy_days
from weather_backfill.lake import layout, ownership, parquet
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.errors import ConfigurationError, WeatherError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import REGISTERED, any_of, service_named
from weather_backfill.sources.restatements import HeldFiles, Restated
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
RESTATED_TAG = "weather/restated"
_THREADS = 8


class Restating(Protocol):
    """A source that can compare held days with its upstream."""

    def restated(self, held: HeldFiles, read: Any) -> Restated:
        """Compare held days with the upstream as it is now; `read` returns a held day's rows."""
        ...


@dataclass(frozen=True, slots=True)
class Restatements:
    """A tenant's restated days (UTC)."""

    service: str
    tenant: str
    found: Restated

    @property
    def to_launch(self) -> list[date]:
        """The days to read again.

        A day whose older rows have partly left the upstream's window is not among them: reading it again would lose
        those rows.
        """
        return [day for day, changes in self.found.days.items() if not changes.expired]

    def id_of(self, days: Iterable[date]) -> str:
        """The id of a backfill over these days: the same for the same days and the same upstream files."""
        evidence = [[day.isoformat() for day in sorted(days)], sorted(self.found.changed_files.items())]
        digest = hashlib.sha256(json.dumps(evidence).encode()).hexdigest()[:12]
        return f"restated-{self.service}-{self.tenant}-{digest}"

    def rows(self) -> list[dict[str, Any]]:
        """One row per day: `date`, the counts of its changes, and `action`: `backfill` or `keep`."""
        launched = set(self.to_launch)
        return [
            {"date": day.isoformat(), **asdict(changes), "action": "backfill" if day in launched else "keep"}
            for day, changes in self.found.days.items()
        ]


def find_restatements(
    settings: Settings, service: str, tenant: str, start: date | None = None, end: date | None = None
) -> Restatements:
    """Compare a tenant's raw days in the lake, from start to end (both included), with the upstream.

    Raises `ConfigurationError` if the service restates nothing, another `WeatherError` if the upstream does not list
    its files; stations that cannot be compared are in `found.problems`.
    """
    store = open_lake(settings)
    registry = TenantRegistry(open_tenant_files(settings))
    if not service_named(service).restates:
        able = any_of(tuple(known.name for known in REGISTERED if known.restates))
        raise ConfigurationError(f"{service!r} does not restate its data: only {able} can be compared.")

    def read(day: date) -> Any:
        key = layout.day_key(layout.RAW_OBSERVATIONS, service, PartitionKey(day, tenant))
        return ownership.decode(store.get(key), key)

    with open_source(registry.get(tenant), service, store, settings.s3, settings) as source:
        held = held_files(store, service, tenant, start or date.min, end or date.max)
        return Restatements(service, tenant, cast("Restating", source).restated(held, read))


def held_files(store: ObjectStore, service: str, tenant: str, start: date, end: date) -> HeldFiles:
    """Read the source files of every held raw day from its footer; damaged days are logged and skipped."""

    def lineage(day: date) -> tuple[date, dict[str, str]] | None:
        stored = days[day]
        try:
            footer = parquet.footer_of(file_metadata(store, stored))
            with json_documents.reading("its source files cannot be read", "materialize the day again."):
                files = json_documents.parsed(footer.get("source_objects", "{}"))
                return day, {str(name): str(digest) for name, digest in files.items()}
        except WeatherError as error:
            if error.retryable:
                raise
            _log.error("%s is passed over: %s", store.uri(stored.key), error)
            return None

    days = day_objects(store, layout.RAW_OBSERVATIONS, service, tenant)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="footer") as pool:
        return dict(entry for entry in pool.map(lineage, (day for day in days if start <= day <= end)) if entry)


def launch_restatements(context: BackfillContext, restatements: Restatements, *, launch: bool = True) -> str | None:
    """Launch a managed backfill over the restated days, as far as capacity allows; returns its id, None without days.

    Days of another active backfill are left to it: what it misses is found by the next comparison. Without `launch`
    it waits for the sensor, which shares capacity between tenants. Idempotent: while days and upstream files are the
    same, all calls give one backfill. One that failed is not started again by itself.
    """
    service, tenant = restatements.service, restatements.tenant
    busy, days = busy_days(context, service, tenant), set(restatements.to_launch)
    # Days of an active restatement backfill stay in at first: if they are all there is, the id is that backfill's.
    prefix = f"restated-{service}-{tenant}-"
    days = days.difference(*(others for name, others in busy.items() if not name.startswith(prefix)))
    if restatements.id_of(days) not in busy:
        days = days.difference(*busy.values())
    if not days:
        return None
    name, first, last = restatements.id_of(days), min(days), max(days)
    plan = BackfillPlan(
        service, tenant, first, last, Reprocess.ALL, Order.OLDEST, context.settings.chunk_days_of(service),
        dict.fromkeys(sorted(days), Reason.DONE), 0, 0, 0, 0.0, False,
    )  # fmt: skip
    return start(context, plan, backfill_id=name, labels={RESTATED_TAG: "true"}, launch=launch)
