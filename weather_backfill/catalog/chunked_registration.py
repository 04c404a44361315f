"""Registers many partitions in chunks, with a manifest and a summary in the lake, so that failed chunks run again.

    _catalog/<id>/manifest.json   database, table and the partitions of every chunk
    _catalog/<id>/summary.json    the result of each chunk; written after every chunk, so that a killed
                                  registration continues where it stopped (`retry`)

The id follows from the plan: the same partitions of the same table are the same registration.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from weather_backfill.catalog.client import Catalog
from weather_backfill.catalog.partitions import BATCH, PAGE, RegistrationCounts, Values, existing, register_partitions
from weather_backfill.catalog.tables import Table
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError, NotFoundError, UnreadableObjectError, WeatherError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

_log = logging.getLogger(__name__)
CHUNK = 1000
"""Partitions per chunk; a chunk fails and is run again as a whole."""

_ID = re.compile(r"[a-z0-9_]+-[0-9a-f]{12}")


class ChunkState(StrEnum):
    """The state of a chunk."""

    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class RegistrationPlan:
    """Partitions of one table to register, sorted; `strangers` are folders that are no partitions and are skipped."""

    database: str
    table: Table
    values: tuple[Values, ...]
    strangers: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Table name and a digest of the partitions and their location."""
        text = json.dumps([self.database, self.table.location, self.values])
        return f"{self.table.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def chunks(self) -> list[tuple[Values, ...]]:
        """The partitions a thousand at a time."""
        return [self.values[n : n + CHUNK] for n in range(0, len(self.values), CHUNK)]

    def summary(self) -> dict[str, Any]:
        """The plan in figures: partitions, chunks, and the largest number of Glue calls (listing and creating)."""
        creates = sum(-(-len(chunk) // BATCH) for chunk in self.chunks)
        lists = min(creates, max(1, -(-len(self.values) // PAGE))) if self.values else 0
        return {
            "table": f"{self.database}.{self.table.name}",
            "partitions": len(self.values),
            "first": "/".join(self.values[0]) if self.values else None,
            "last": "/".join(self.values[-1]) if self.values else None,
            "chunks": len(self.chunks),
            "most_calls": creates + lists,
            "skipped_folders": len(self.strangers),
            "location": self.table.location,
        }

    def to_json(self) -> bytes:
        """Encode as the manifest object."""
        chunks = [[list(values) for values in chunk] for chunk in self.chunks]
        document = {"id": self.id, "database": self.database, "table": asdict(self.table), "chunks": chunks}
        return json.dumps({**document, "strangers": self.strangers}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> RegistrationPlan:
        """Decode a manifest object; raises `UnreadableObjectError` if it is none."""
        with json_documents.reading("this is no manifest of a registration", "register anew."):
            document = json_documents.parsed(data)
            table = Table(**{**document["table"], "keys": tuple(document["table"]["keys"])})
            values = tuple(tuple(values) for chunk in document["chunks"] for values in chunk)
            return cls(document["database"], table, values, tuple(document["strangers"]))


@dataclass(slots=True)
class ChunkResult:
    """The result of a chunk: its state and the counts of its partitions."""

    chunk: int
    partitions: int
    state: ChunkState = ChunkState.WAITING
    created: int = 0
    existing: int = 0
    moved: int = 0
    error: str | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


_RESULTS = TypeAdapter(list[ChunkResult])


def register(
    catalog: Catalog, lake: ObjectStore, plan: RegistrationPlan, progress: Callable[[int], None] = lambda _: None
) -> list[ChunkResult]:
    """Register all chunks of a plan; returns their results. A failed chunk is recorded and does not stop the others."""
    lake.put(layout.registration_keys(plan.id)[0], plan.to_json())
    results = [ChunkResult(number, len(chunk)) for number, chunk in enumerate(plan.chunks)]
    return _run(catalog, lake, plan, results, progress)


def retry(
    catalog: Catalog,
    lake: ObjectStore,
    registration_id: str,
    progress: Callable[[int], None] = lambda _: None,
) -> list[ChunkResult]:
    """Run the chunks of a registration that failed or were never reached; returns the results of all chunks."""
    plan, results = load(lake, registration_id)
    return _run(catalog, lake, plan, results, progress)


def load(lake: ObjectStore, registration_id: str) -> tuple[RegistrationPlan, list[ChunkResult]]:
    """Read a registration's plan and the results so far; raises `NotFoundError` for an unknown id.

    Raises `UnreadableObjectError` for a damaged manifest; after a damaged summary all chunks are waiting.
    """
    if not _ID.fullmatch(registration_id):
        raise ConfigurationError(
            f"registration {registration_id[:140]!r} is no id: expected one as `catalog register` prints it."
        )
    manifest, summary = layout.registration_keys(registration_id)
    plan = RegistrationPlan.from_json(lake.get(manifest))
    waiting = [ChunkResult(number, len(chunk)) for number, chunk in enumerate(plan.chunks)]
    try:
        return plan, _results(lake.get(summary), waiting)
    except NotFoundError:
        return plan, waiting
    except UnreadableObjectError as error:  # partitions that are registered already are found in Glue
        _log.error("%s: all chunks are run again: %s", lake.uri(summary), error)
        return plan, waiting


def _results(data: bytes, waiting: Sequence[ChunkResult]) -> list[ChunkResult]:
    with json_documents.reading("this is no summary of a registration", "register anew."):
        results = _RESULTS.validate_python(json_documents.parsed(data)["chunks"])
        if [(r.chunk, r.partitions) for r in results] != [(r.chunk, r.partitions) for r in waiting]:
            raise ValueError("its chunks are not the plan's")
        return results


def _run(
    catalog: Catalog,
    lake: ObjectStore,
    plan: RegistrationPlan,
    results: list[ChunkResult],
    progress: Callable[[int], None],
) -> list[ChunkResult]:
    todo = [result for result in results if result.state != ChunkState.DONE]
    wanted = [values for result in todo for values in plan.chunks[result.chunk]]
    known = existing(catalog, plan.database, plan.table, wanted)
    for result in todo:
        chunk = plan.chunks[result.chunk]
        try:
            counts = register_partitions(catalog, plan.database, plan.table, chunk, known, progress)
            result.state, result.error = ChunkState.DONE, None
        except WeatherError as error:
            counts = RegistrationCounts()
            result.state, result.error = ChunkState.FAILED, str(error)
        result.created, result.existing, result.moved = counts.created, counts.existing, counts.moved
        _save(catalog, lake, plan, results)
    return results


def _save(catalog: Catalog, lake: ObjectStore, plan: RegistrationPlan, results: Sequence[ChunkResult]) -> None:
    document = {
        "id": plan.id,
        "calls": dict(sorted(catalog.calls.items())),
        "throttled": catalog.throttled,
        "chunks": [asdict(result) for result in results],
    }
    lake.put(layout.registration_keys(plan.id)[1], json.dumps(document).encode())
