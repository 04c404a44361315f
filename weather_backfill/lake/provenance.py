"""Provenance: which run wrote which object, and when. A file cannot hold it, as the same input gives the same bytes.

    _ledger/date=YYYY-MM-DD/<run>.<service>.<dataset>.json     one object per step, written at its end

The view `dataset_versions` joins it by key and by the file's own `content`, so that it never describes bytes that
were replaced. A killed step leaves its entries in its journal: the run that resumes it takes them over, or else
retention does before it deletes the journal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from weather_backfill.lake import layout
from weather_backfill.lake.parquet import Encoded
from weather_backfill.storage.object_store import ObjectStore, StoredObject

ProvenanceEntry = Mapping[str, str | None]
"""One written object: `object` (its key), `content`, `sha256`, `created_at` (UTC, ISO text), `run_id`."""


def entry(stored: StoredObject, file: Encoded, run_id: str | None = None) -> ProvenanceEntry:
    """The entry of an object that was just written; `created_at` is the store's time, UTC as ISO text."""
    return {
        "object": stored.key,
        "content": file.content,
        "sha256": file.sha256,
        "created_at": stored.last_modified.isoformat(),
        "run_id": run_id,
    }


def save(store: ObjectStore, writer: str, entries: Sequence[ProvenanceEntry]) -> None:
    """Save the entries of `writer` (a run's step, a rollback), if there are any. Safe to call again."""
    if entries:
        document = {"written": [dict(written) for written in entries]}
        store.put(layout.ledger_key(datetime.now(UTC), writer), json.dumps(document).encode())
