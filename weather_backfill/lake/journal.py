"""The journal of a run: the days it has finished, from which a resumed run continues, and those it is at."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from weather_backfill.lake import layout, listing
from weather_backfill.model.days import CheckResult, DayRecord
from weather_backfill.model.errors import NotFoundError, UnreadableObjectError, WeatherError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

BEGUN = "begun"
"""The name of the object that says which days are under way."""
_log = logging.getLogger(__name__)


def record_to_json(record: DayRecord) -> bytes:
    """Encode a day's record as a journal object."""
    return json.dumps(asdict(record) | {"key": str(record.key)}, default=str).encode()


def record_from_json(data: bytes) -> DayRecord:
    """Parse a journal object; raises `UnreadableObjectError` if it is not a record."""
    with json_documents.reading("this is not the record of a day", "delete it, and the day is read again."):
        document = json_documents.parsed(data)
        document["key"] = PartitionKey.parse(document["key"])
        document["checks"] = [CheckResult(**result) for result in document["checks"]]
        record = DayRecord(**document)
        if not isinstance(record.object_key, str) or not isinstance(record.metadata, dict):
            raise TypeError("expected object_key to be a text and metadata a mapping")
        return record


def _record(data: bytes) -> DayRecord | None:
    try:
        return record_from_json(data)
    except WeatherError:
        return None  # a day without a record is read again


def _begun_from_json(data: bytes) -> tuple[list[PartitionKey], dict[PartitionKey, int]]:
    with json_documents.reading("does not say which days had begun", "all days are read as usual."):
        document = json_documents.parsed(data)
        begun = [PartitionKey.parse(key) for key in document["begun"]]
        return begun, {PartitionKey.parse(key): int(times) for key, times in document["died"].items()}


@dataclass(frozen=True, slots=True)
class Journal:
    """One small object per finished day under the root run's id: the evidence from which a resumed run continues.

    Dagster's own events cannot be that evidence: written at the end of a step they are lost with a killed process,
    written day by day they are doubled when the step succeeds. The journal is deleted when the run ends by itself.
    """

    store: ObjectStore
    root_run_id: str
    asset: str

    @property
    def prefix(self) -> str:
        """The folder of this run's journal."""
        return layout.journal_prefix(self.root_run_id, self.asset)

    def finished(self) -> dict[PartitionKey, DayRecord]:
        """The days that earlier attempts of this run have written, if their objects have not changed since."""
        keys = [key for key in self._keys() if key != self._begun]
        records = (_record(data) for _, data in self.store.read_many(keys) if isinstance(data, bytes))
        return {record.key: record for record in records if record and self._unchanged(record)}

    def _unchanged(self, record: DayRecord) -> bool:
        try:
            return self.store.head(record.object_key).etag == record.metadata.get("etag")
        except NotFoundError:
            return False

    def add(self, record: DayRecord) -> None:
        """Record a written day."""
        self.store.put(self._key(record), record_to_json(record))

    def begin(self, days: Iterable[PartitionKey], died: Mapping[PartitionKey, int]) -> None:
        """Record the days that are read or written from now on, and what `deaths` said: a later try needs both."""
        document = {"begun": [str(key) for key in days], "died": {str(key): times for key, times in died.items()}}
        self.store.put(self._begun, json.dumps(document).encode())

    def deaths(self, finished: Collection[PartitionKey]) -> dict[PartitionKey, int]:
        """How many times the process of this run died while at a day, for the days that have not been finished since.

        Each of the days that were under way counts: of two, one may be innocent.
        """
        try:
            begun, died = _begun_from_json(self.store.get(self._begun))
        except NotFoundError:
            return {}  # the first try, or one of a release that notes nothing
        except UnreadableObjectError as error:
            _log.warning("%s %s", self.store.uri(self._begun), error)
            return {}
        for key in begun:
            died[key] = died.get(key, 0) + 1
        return {key: times for key, times in died.items() if key not in finished}

    def clear(self) -> None:
        """Delete the journal: the run ended by itself."""
        self.store.delete(self._keys())

    def _keys(self) -> list[str]:
        below = self.prefix.removeprefix(f"{layout.JOURNAL}/")
        return [stored.key for stored in listing.records(self.store, layout.JOURNAL, below)]

    @property
    def _begun(self) -> str:
        return f"{self.prefix}/{BEGUN}"

    def _key(self, record: DayRecord) -> str:
        return f"{self.prefix}/tenant={record.key.tenant}/{record.key.date.isoformat()}.json"
