"""Days that the upstream has restated since they were ingested, and the backfill that takes just those."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Protocol, runtime_checkable

from weather_backfill.backfill.commands import BackfillContext, busy_days, start
from weather_backfill.backfill.coverage import file_metadata
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess
from weather_backfill.lake import layout, parquet
from weather_backfill.model.errors import ConfigurationError, WeatherError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.settings import Settings
from weather_backfill.sources.dwd.restatements import HeldFiles, Restated
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
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

    def id_of(self, days: Iterable[date]) -> str:
        """What a backfill over these days is called: the same for the same days and the same upstream files."""
        evidence = [[day.isoformat() for day in sorted(days)], sorted(self.found.changed_files.items())]
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
    store = open_lake(settings)
    registry = TenantRegistry(open_tenant_files(settings))
    source = open_source(registry.get(tenant), service, store, settings.s3, settings)
    if not isinstance(source, Restating):
        raise ConfigurationError(f"{service!r} does not restate what it has sent: only dwd can be compared.")
    held = held_files(store, service, tenant, start or date.min, end or date.max)

    def read(day: date) -> Any:
        return parquet.decode(store.get(layout.day_key(layout.RAW_OBSERVATIONS, service, PartitionKey(day, tenant))))

    return Restatements(service, tenant, source.restated(held, read))


def held_files(store: ObjectStore, service: str, tenant: str, start: date, end: date) -> HeldFiles:
    """The source files of every held raw day, from the footers; a day that is damaged cannot be compared."""

    def lineage(stored: StoredObject) -> tuple[date, dict[str, str]] | None:
        try:
            day = layout.date_of(stored.key)
            if not start <= day <= end:
                return None
            footer = parquet.footer_of(file_metadata(store, stored))
            with json_documents.reading("its source files cannot be read", "materialize the day again."):
                files = json_documents.parsed(footer.get("source_objects", "{}"))
                return day, {str(name): str(digest) for name, digest in files.items()}
        except WeatherError as error:
            if error.retryable:
                raise
            _log.error("%s is passed over: %s", store.uri(stored.key), error)
            return None

    objects = store.list(layout.tenant_prefix(layout.RAW_OBSERVATIONS, service, tenant))
    wanted = [stored for stored in objects if stored.key.endswith(layout.FILE)]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="footer") as pool:
        return dict(found for found in pool.map(lineage, wanted) if found)


def launch_restatements(context: BackfillContext, restatements: Restatements, *, launch: bool = True) -> str | None:
    """A managed backfill over the restated days, launched as far as capacity allows; None if there are none.

    Days that another backfill is at are left to it: what it misses is found by the next look. Without `launch` it
    waits for the sensor, which shares capacity between tenants. Idempotent: while days and upstream files are the
    same it is one backfill, however often this is called. One that failed is not started again by itself.
    """
    service, tenant = restatements.service, restatements.tenant
    busy, days = busy_days(context, service, tenant), set(restatements.to_launch)
    # Days that a backfill of ours is at count as its own while nothing else is to be done, so that it is found again.
    mine = f"restated-{service}-{tenant}-"
    days = days.difference(*(taken for other, taken in busy.items() if not other.startswith(mine)))
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
