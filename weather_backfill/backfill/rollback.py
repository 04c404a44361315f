"""Rolling a day back: raw to an earlier version, refined made from it again, both recorded in Dagster and the audit."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any

import dagster as dg

from weather_backfill import __version__
from weather_backfill.backfill.audit import audit
from weather_backfill.backfill.commands import BackfillContext, busy_days
from weather_backfill.dagster.events import data_version_tags, event_metadata
from weather_backfill.lake import layout, parquet, provenance, versions
from weather_backfill.lake.writer import write_day
from weather_backfill.model.errors import ConfigurationError, NotFoundError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.days import refine_day
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents
from weather_backfill.util.retries import retrying


def choose_version(desk: BackfillContext, service: str, tenant: str, day: date, to: str | None) -> versions.Version:
    """The version that a rollback would put back: `to`, else that of one that was cut short, else the one before.

    Raises `ConfigurationError` if there is none or the day is busy.
    """
    key = PartitionKey(day, tenant)
    for name, days in busy_days(desk, service, tenant).items():
        if day in days:
            raise ConfigurationError(f"backfill {name!r} is active over {day}: wait for it or cancel it first.")
    found = versions.versions_of(desk.store, service, key)
    return (None if to else _begun(desk.store, service, key, found)) or versions.choose(
        found, to, f"{key} of {service}"
    )


def _begun(
    store: ObjectStore, service: str, key: PartitionKey, found: list[versions.Version]
) -> versions.Version | None:
    """The version that a rollback has begun to put back, unless the day has been replaced by something else since."""
    name = layout.rollback_key(service, key)
    try:
        data = store.get(name)
    except NotFoundError:
        return None
    with json_documents.reading(f"{store.uri(name)} says of no rollback", "say --to VERSION, or delete it."):
        intent = json_documents.parsed(data)
        before, after, version = intent["from"], intent["to"], intent["version"]
    current = next((v.sha for v in found if v.replaced_at is None), None)
    if current not in (before, after):
        return None
    return next((v for v in found if v.name == version), None) or next((v for v in found if v.sha == after), None)


def rollback(desk: BackfillContext, service: str, tenant: str, day: date, version: versions.Version) -> dict[str, Any]:
    """Make a version current, refine it, record both; the replaced version is kept, so a rollback can be undone.

    Killed at any point, the same call finishes it, and so does one with the version that `choose_version` then gives.
    """
    key = PartitionKey(day, tenant)
    intent = layout.rollback_key(service, key)
    current = versions.current_sha(desk.store, service, key)
    document = {"version": version.name, "from": current, "to": version.sha}
    retrying()(desk.store.put, intent, json.dumps(document).encode())
    data = retrying()(versions.put_back, desk.store, service, key, version)
    refined = retrying()(write_day, desk.store, service, layout.REFINED_15M, refine_day(desk.store, service, key))
    stored = desk.store.head(layout.day_key(layout.RAW_OBSERVATIONS, service, key))
    entries = [provenance.entry(stored, data), *refined.written]
    provenance.save(desk.store, f"rollback-{version.sha}.{service}.{tenant}.{day}", entries)
    metadata = parquet.metadata_of(data)
    raw_facts = {"rows": metadata.num_rows if metadata else 0, "sha256": hashlib.sha256(data).hexdigest()}
    for dataset, facts in ((layout.RAW_OBSERVATIONS, raw_facts), (layout.REFINED_15M, dict(refined.metadata))):
        _record(desk.instance, service, dataset, key, {**facts, "rolled_back_to": version.name})
    outcome = {"service": service, "tenant": tenant, "day": str(day), "version": version.name, **raw_facts}
    audit(desk.store, "rollback", parameters=outcome, code_version=__version__, rows=raw_facts["rows"], outcome="done")
    desk.store.delete(intent)
    return outcome


def _record(instance: dg.DagsterInstance, service: str, dataset: str, key: PartitionKey, facts: dict[str, Any]) -> None:
    partition = dg.MultiPartitionKey({"date": key.date.isoformat(), "tenant": key.tenant})
    event = dg.AssetMaterialization(
        dg.AssetKey([service, dataset]),
        partition=partition,
        metadata=event_metadata(facts),
        tags=data_version_tags(facts["sha256"]),
    )
    instance.report_runless_asset_event(event)
