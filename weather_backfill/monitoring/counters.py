"""Counters that outlive runs and exporters: sums over the metadata of materializations and over ended runs.

They are read from Dagster's records from where the last reading stopped, and kept with the cursors in one small object
of the lake: a restart neither reads everything again nor starts from zero, and deleting old runs in Dagster lowers no
counter. Two exporters each write a whole snapshot: the last one stays, and both are right.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import dagster as dg
from dagster import DagsterRunStatus
from pydantic import ConfigDict, FiniteFloat, StringConstraints, TypeAdapter

from weather_backfill.dagster.private import SqlRunStorage
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError, NotFoundError, UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
DATASETS = (layout.RAW_OBSERVATIONS, layout.REFINED_15M, layout.QUARTERLY_FEATURES)
# Each counter with the entry of a materialization's metadata that it sums.
WRITTEN = {
    "rows_written": "rows",
    "bytes_written": "bytes",
    "day_seconds": "seconds",
    "rows_rejected": "rejects",
    "retries": "retries",
    "limiter_wait_seconds": "limiter_wait_seconds",
}
DAYS_WRITTEN, RUNS_ENDED = "days_written", "runs_ended"
SETTLED = timedelta(seconds=2)
"""Younger records are left for later: a database assigns ids before it commits, and the cursor must not skip one."""
AHEAD = timedelta(minutes=1)
"""Records further in the future are of a clock that was wrong: nothing waits until their time has come."""
_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_PAGE = 500
_REMEMBERED = 5000

SumKey = Annotated[str, StringConstraints(pattern=r"^[^|]*(\|[^|]*){3}$")]


@dataclass
class Snapshot:
    """Sums by `counter|service|tenant|dataset or status`, and the positions up to which records were read.

    `runs_until` is in seconds since 1970 (UTC).
    """

    sums: dict[SumKey, FiniteFloat] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    runs_until: FiniteFloat = 0.0
    runs_counted: list[str] = field(default_factory=list)
    __pydantic_config__ = ConfigDict(extra="forbid")

    @classmethod
    def from_json(cls, data: bytes) -> Snapshot:
        """Decode the counters' object; raises `UnreadableObjectError` if it is none."""
        return json_documents.read(_SNAPSHOT, data, "these are no counters", "delete them: they are counted anew.")


_SNAPSHOT = TypeAdapter(Snapshot)


class Counters:
    """The counters of one instance."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: ObjectStore,
        services: Sequence[str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._instance, self._store, self._services, self._clock = instance, store, services, clock
        storage = instance.run_storage
        assert isinstance(storage, SqlRunStorage), "every storage of Dagster's is one, and has an id of its own"
        self._key = f"{layout.METRICS}/{storage.get_run_storage_id()}.json"
        self._saved: str | None = None
        self.snapshot = self._load()

    def _load(self) -> Snapshot:
        try:
            return Snapshot.from_json(self._store.get(self._key))
        except NotFoundError:
            return Snapshot()
        except UnreadableObjectError as error:  # what Dagster still records is counted again
            _log.error("%s: counting anew: %s", self._store.uri(self._key), error)
            return Snapshot()

    def save(self) -> None:
        """Write sums and cursors to the lake, if they have changed."""
        text = json.dumps(asdict(self.snapshot))
        if text != self._saved:
            self._store.put(self._key, text.encode())
            self._saved = text

    def advance(self, pages: int = 20) -> bool:
        """Count new records, at most `pages` pages of each kind; returns whether there are more."""
        more = False
        latest = self._instance.event_log_storage.get_maximum_record_id() or 0
        for name, cursor in self.snapshot.cursors.items():
            self.snapshot.cursors[name] = min(cursor, latest)  # SQLite reuses the newest id once it is deleted
        for service in self._services:
            for dataset in DATASETS:
                more |= self._materializations(service, dataset, pages)
        return self._runs(pages) or more

    def totals(self, counter: str) -> Iterator[tuple[list[str], float]]:
        """The labels (service, tenant, dataset or status) and sums of a counter."""
        for key, total in sorted(self.snapshot.sums.items()):
            name, *labels = key.split("|")
            if name == counter:
                yield labels, total

    def _add(self, counter: str, service: str, tenant: str, which: str, amount: float) -> None:
        key = f"{counter}|{service}|{tenant}|{which}"
        self.snapshot.sums[key] = self.snapshot.sums.get(key, 0.0) + amount

    def _materializations(self, service: str, dataset: str, pages: int) -> bool:
        asset = dg.AssetKey([service, dataset])
        name = asset.to_user_string()
        now = self._clock()
        settled, ahead = (now - SETTLED).timestamp(), (now + AHEAD).timestamp()
        for _ in range(pages):
            after = dg.AssetRecordsFilter(asset_key=asset, after_storage_id=self.snapshot.cursors.get(name, 0))
            records = self._instance.fetch_materializations(after, limit=_PAGE, ascending=True).records
            for record in records:
                if settled < record.timestamp <= ahead:
                    return False
                self._count(service, dataset, record)
                self.snapshot.cursors[name] = record.storage_id
            if len(records) < _PAGE:
                return False
        return True

    def _count(self, service: str, dataset: str, record: dg.EventLogRecord) -> None:
        materialization = record.asset_materialization
        try:
            tenant = PartitionKey.parse(str(record.partition_key)).tenant
        except ConfigurationError:
            return  # an event of a partition that is none of ours
        metadata: Any = materialization.metadata if materialization else {}
        self._add(DAYS_WRITTEN, service, tenant, dataset, 1)
        for counter, entry in WRITTEN.items():
            value = metadata[entry].value if entry in metadata else None
            if isinstance(value, (int, float)):
                self._add(counter, service, tenant, dataset, value)

    def _runs(self, pages: int) -> bool:
        """Count ended runs in the order of their last update, each once; returns whether there are more."""
        now = self._clock().timestamp()
        if self.snapshot.runs_until > now + AHEAD.total_seconds():
            self.snapshot.runs_until = self._true_position(now)
        for _ in range(pages):
            before = self.snapshot.runs_until
            since = datetime.fromtimestamp(before, UTC) - SETTLED
            records = self._instance.get_run_records(
                dg.RunsFilter(statuses=_ENDED, updated_after=since),
                limit=_PAGE,
                order_by="update_timestamp",
                ascending=True,
            )
            counted = set(self.snapshot.runs_counted)
            new = [record for record in records if record.dagster_run.run_id not in counted]
            for record in new:
                run = record.dagster_run
                labels = run.tags.get(SERVICE_TAG, ""), run.tags.get(TENANT_TAG, "")
                self._add(RUNS_ENDED, *labels, run.status.value.lower(), 1)
            self._remember(records, now)
            if len(records) < _PAGE or (not new and self.snapshot.runs_until == before):
                return False
        return True

    def _remember(self, records: Sequence[dg.RunRecord], now: float) -> None:
        """Move the position up to these runs, past none in the future: those are found again, and remembered last."""
        past = [at for record in records if (at := _seconds(record.update_timestamp)) <= now]
        self.snapshot.runs_until = max(self.snapshot.runs_until, *past, 0.0)
        found = dict.fromkeys(record.dagster_run.run_id for record in records)
        others = [run for run in self.snapshot.runs_counted if run not in found]
        self.snapshot.runs_counted = [*others, *found][-_REMEMBERED:]

    def _true_position(self, now: float) -> float:
        """The last update of the runs counted last that is not in the future; now, where none of them is left."""
        runs = dg.RunsFilter(run_ids=self.snapshot.runs_counted[-_PAGE:])
        updates = [_seconds(record.update_timestamp) for record in self._instance.get_run_records(runs)]
        return max((at for at in updates if at <= now), default=now)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
