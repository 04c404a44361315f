"""Writes a day into the lake: rejects first, then observations; refuses to lose rows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import carried, layout, ownership, parquet, provenance, row_diff, versions
from weather_backfill.model import schemas
from weather_backfill.model.days import DayRecord, DayTable
from weather_backfill.model.errors import LostRowsError
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore, StoredObject

SCHEMAS = {
    layout.RAW_OBSERVATIONS: schemas.RAW,
    layout.REFINED_15M: schemas.REFINED,
    layout.QUARTERLY_FEATURES: schemas.FEATURES,
    layout.REJECTED_OBSERVATIONS: schemas.REJECTS,
}


def write_day(store: ObjectStore, service: str, dataset: str, day: DayTable) -> DayRecord:
    """Write a day's objects, rejects first: once the observations exist, the day is whole.

    A raw day replaces the lake's only if each station keeps `row_diff.KEPT_SHARE` of its rows, an incomplete one only
    if each keeps all: else raises `LostRowsError` and writes nothing, unless the day accepts the loss. A replaced raw
    day goes into the version store. Of several writers of a raw day one at a time looks, compares, keeps and writes; a
    writer whose object was replaced meanwhile starts over with the new one, and after `conditional.TRIES` such raises
    `ConflictError`. The record's metadata has counts, sha256, size, path, seconds and row changes.
    """
    started = time.monotonic()
    lineage = {**day.lineage, **({"incomplete": day.incomplete} if day.incomplete else {})}
    lineage |= ownership.owner_of_day(service, day.key)
    file = parquet.encode(day.table, lineage)
    object_key = layout.day_key(dataset, service, day.key)
    if dataset == layout.RAW_OBSERVATIONS:
        stored, replaced, reported, written, file, day = conditional.started_over(
            lambda: _replace_raw(store, service, day, object_key, file, lineage)
        )
    else:
        replaced = {}
        reported, written = _write_rejects(store, service, day)
        stored = store.put(object_key, file.data)
    written.append(provenance.entry(stored, file))
    metadata = {
        **_describe(day.table),
        **day.facts,
        **replaced,
        "bytes": stored.size,
        "sha256": file.sha256,
        "etag": stored.etag,
        "path": store.uri(object_key),
        "seconds": round(day.facts.get("seconds", 0) + time.monotonic() - started, 3),
    }
    rejects = day.rejects.num_rows if day.rejects is not None else 0
    return DayRecord(day.key, object_key, metadata, tuple(day.checks), rejects, reported, written)


def _replace_raw(
    store: ObjectStore, service: str, day: DayTable, object_key: str, file: parquet.Encoded, lineage: dict[str, str]
) -> tuple[StoredObject, dict[str, Any], bool, list[provenance.ProvenanceEntry], parquet.Encoded, DayTable]:
    """Look, compare, keep, write, with no other writer of the day beside.

    Returns the object, the row changes, what `_write_rejects` does, and file and day as written: with the rows that
    `carried.py` keeps.
    """
    kept_share = 0.0 if day.accept_loss else 1.0 if day.incomplete else row_diff.KEPT_SHARE
    with conditional.exclusive(store, object_key) as held:
        seen = held.look()
        previous = seen.data if seen else None
        if day.based_on is not None and (seen is None or seen.etag != day.based_on):
            raise LostRowsError(
                f"{store.uri(object_key)} was replaced while what it lacked was being read: read the day again."
            )
        rows = carried.carried_rows(store, service, day.key, previous, day.table)
        if rows.num_rows:
            day = replace(day, table=carried.with_carried(day.table, rows))
            file = parquet.encode(day.table, {**lineage, carried.CARRIED: str(rows.num_rows)})
        replaced = row_diff.against_previous(previous, file.data, day.table, kept_share, object_key)
        replaced |= {"rows_carried": rows.num_rows} if rows.num_rows else {}
        held.confirm()
        if previous is not None and previous != file.data:
            versions.keep(store, service, day.key, previous)
        reported, written = _write_rejects(store, service, day)
        return held.put(file.data, seen), replaced, reported, written, file, day


def _write_rejects(store: ObjectStore, service: str, day: DayTable) -> tuple[bool, list[provenance.ProvenanceEntry]]:
    """Write or delete a day's rejects; returns whether there is a change to report, and what was written."""
    if day.rejects is None:
        return False, []
    key = layout.day_key(layout.REJECTED_OBSERVATIONS, service, day.key)
    if day.rejects.num_rows:
        file = parquet.encode(day.rejects, ownership.owner_of_day(service, day.key))
        return True, [provenance.entry(store.put(key, file.data), file)]
    if store.exists(key):
        store.delete(key)
        return True, []
    return False, []


def _describe(table: pa.Table) -> dict[str, Any]:
    described: dict[str, Any] = {
        "rows": table.num_rows,
        "stations": len(pc.unique(table["station_id"])),
    }
    if "metric" in table.schema.names:
        described["metrics"] = len(pc.unique(table["metric"]))
    for name, moment in zip(("first_observation", "last_observation"), parquet.span_of(table), strict=True):
        if moment is not None:
            described[name] = moment.isoformat()
    if "quality" in table.schema.names and table.num_rows:
        quality = np.bincount(np.asarray(table["quality"]), minlength=10)
        described["suspect"], described["failed_quality"] = int(quality[schemas.SUSPECT]), int(quality[schemas.FAIL])
        described["missing"] = int(quality[schemas.MISSING])
    return described
