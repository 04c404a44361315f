"""Days on their way into the lake, and the journal that remembers which a run has finished.

A *day* is the unit that flows: its table to be written, its failure, or the record of a day that an earlier
try of the same run has written already.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from weather_backfill.checks import Outcome
from weather_backfill.errors import NotFoundError, WeatherError
from weather_backfill.lake import documents, layout
from weather_backfill.lake.storage import ObjectStore
from weather_backfill.partitions import PartitionKey


@dataclass(frozen=True, slots=True)
class DayTable:
    """A day to be written: `table` into the asset's dataset, `rejects` into the service's rejects."""

    key: PartitionKey
    table: pa.Table
    lineage: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[Outcome] = ()
    rejects: pa.Table | None = None
    incomplete: str | None = None
    accept_loss: bool = False  # whether rows that the lake holds may go


@dataclass(frozen=True, slots=True)
class DayFailed:
    """A day that could not be made."""

    key: PartitionKey
    error: BaseException


@dataclass(frozen=True, slots=True)
class DayRecord:
    """A day that lies in the lake: the object, and what its materialization says."""

    key: PartitionKey
    object_key: str
    metadata: Mapping[str, Any]
    checks: Sequence[Outcome] = ()
    rejects: int = 0
    reported_rejects: bool = False
    written: Sequence[Mapping[str, Any]] = ()  # entries of the ledger

    def to_json(self) -> bytes:
        """As a journal object."""
        document = asdict(self) | {"key": str(self.key)}
        return json.dumps(document, default=str).encode()

    @classmethod
    def from_json(cls, data: bytes) -> DayRecord:
        """From a journal object; raises `UnreadableObjectError` if it is none."""
        with documents.reading("this is no record of a day", "delete it, and the day is read again."):
            document = documents.parsed(data)
            document["key"] = PartitionKey.parse(document["key"])
            document["checks"] = [Outcome(**outcome) for outcome in document["checks"]]
            record = cls(**document)
            if not isinstance(record.object_key, str) or not isinstance(record.metadata, dict):
                raise TypeError("object_key is a text and metadata a mapping")
            return record


def _record(data: bytes) -> DayRecord | None:
    try:
        return DayRecord.from_json(data)
    except WeatherError:
        return None  # without its evidence a day is read again


Day = DayTable | DayFailed | DayRecord


@dataclass(slots=True)
class DayStream:
    """What an asset hands to the IO manager; `records` and `failures` fill as the days are written."""

    days: Iterator[Day]
    records: list[DayRecord] = field(default_factory=list)
    failures: list[DayFailed] = field(default_factory=list)

    def __iter__(self) -> Iterator[Day]:
        return self.days


@dataclass(frozen=True, slots=True)
class Journal:
    """One small object per finished day under the root run's id: the evidence a resumed run starts from.

    Dagster's own events cannot be that evidence: written at the end of a step they die with a killed process,
    written day by day they are doubled when the step succeeds. The journal goes when the run ends by itself.
    """

    store: ObjectStore
    root_run_id: str
    asset: str

    @property
    def prefix(self) -> str:
        """The folder of this run's journal."""
        return layout.journal_prefix(self.root_run_id, self.asset)

    def finished(self) -> dict[PartitionKey, DayRecord]:
        """The days that earlier tries of this run have written and whose objects are still what they wrote."""
        keys = [stored.key for stored in self.store.list(self.prefix)]
        found = (_record(data) for _, data in self.store.read_many(keys) if isinstance(data, bytes))
        return {record.key: record for record in found if record and self._still_there(record)}

    def _still_there(self, record: DayRecord) -> bool:
        try:
            return self.store.head(record.object_key).etag == record.metadata.get("etag")
        except NotFoundError:
            return False

    def add(self, record: DayRecord) -> None:
        """Remember a written day."""
        self.store.put(self._object(record), record.to_json())

    def clear(self) -> None:
        """Forget the run: it ended by itself."""
        self.store.delete([stored.key for stored in self.store.list(self.prefix)])

    def _object(self, record: DayRecord) -> str:
        return f"{self.prefix}/tenant={record.key.tenant}/{record.key.date.isoformat()}.json"
