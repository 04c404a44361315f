"""Rolls a day back: raw to an earlier version, refined made from it again, both recorded in Dagster and the audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg

from weather_backfill import __version__
from weather_backfill.backfill.audit import audit
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.taken_days import busy_days
from weather_backfill.dagster.events import data_version_tags, event_metadata
from weather_backfill.lake import layout, parquet, provenance, versions
from weather_backfill.lake.writer import write_day
from weather_backfill.model.errors import ConfigurationError, NotFoundError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.days import refine_day
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents
from weather_backfill.util.retries import retrying


def choose_version(context: BackfillContext, service: str, tenant: str, day: date, to: str | None) -> versions.Version:
    """Choose the version to put back: `to`, else that of an unfinished rollback, else the one before the current.

    Raises `ConfigurationError` if there is none or a backfill is active over the day, `UnreadableObjectError` for a
    damaged record of an unfinished rollback (unless `to` is given).
    """
    key = PartitionKey(day, tenant)
    for name, days in busy_days(context, service, tenant).items():
        if day in days:
            raise ConfigurationError(f"backfill {name!r} is active over {day}: wait for it or cancel it first.")
    stored = versions.versions_of(context.store, service, key)
    unfinished = None if to else _unfinished(context.store, service, key, stored)
    return unfinished or versions.choose(stored, to, f"{key} of {service}")


def _unfinished(
    store: ObjectStore, service: str, key: PartitionKey, stored: list[versions.Version]
) -> versions.Version | None:
    """The version of a rollback that was cut short, unless the day has been replaced by something else since."""
    name = layout.rollback_key(service, key)
    try:
        data = store.get(name)
    except NotFoundError:
        return None
    with json_documents.reading(f"{store.uri(name)} is no record of a rollback", "say --to VERSION, or delete it."):
        intent = json_documents.parsed(data)
        before, after, version = intent["from"], intent["to"], intent["version"]
    current = next((v.sha for v in stored if v.replaced_at is None), None)
    if current not in (before, after):
        return None
    return next((v for v in stored if v.name == version), None) or next((v for v in stored if v.sha == after), None)


def rollback(
    context: BackfillContext, service: str, tenant: str, day: date, version: versions.Version
) -> dict[str, Any]:
    """Make a version current, refine it, record both; the replaced version is kept, so a rollback can be undone.

    After a kill at any point the same call finishes it; `choose_version` then gives the same version. Returns
    `service`, `tenant`, `day`, `version`, `rows` and `sha256`.
    """
    context.claim()
    key = PartitionKey(day, tenant)
    intent = layout.rollback_key(service, key)
    current = versions.current_sha(context.store, service, key)
    document = {"version": version.name, "from": current, "to": version.sha}
    retrying()(context.store.put, intent, json.dumps(document).encode())
    file = parquet.Encoded.of(retrying()(versions.put_back, context.store, service, key, version))
    refined = retrying()(write_day, context.store, service, layout.REFINED_15M, refine_day(context.store, service, key))
    stored = context.store.head(layout.day_key(layout.RAW_OBSERVATIONS, service, key))
    entries = [provenance.entry(stored, file), *refined.written]
    provenance.save(context.store, f"rollback-{version.sha}.{service}.{tenant}.{day}", entries)
    metadata = parquet.metadata_of(file.data)
    raw_facts = {"rows": metadata.num_rows if metadata else 0, "sha256": file.sha256}
    for dataset, facts in ((layout.RAW_OBSERVATIONS, raw_facts), (layout.REFINED_15M, dict(refined.metadata))):
        record_by_hand(context.instance, service, dataset, key, {**facts, "rolled_back_to": version.name})
    outcome = {"service": service, "tenant": tenant, "day": str(day), "version": version.name, **raw_facts}
    audit(
        context.store, "rollback", parameters=outcome, code_version=__version__, rows=raw_facts["rows"], outcome="done"
    )
    context.store.delete(intent)
    return outcome


def record_by_hand(
    instance: dg.DagsterInstance, service: str, dataset: str, key: PartitionKey, facts: Mapping[str, Any]
) -> None:
    """Record a day that no run has written as a materialization, with the data version of its content."""
    partition = dg.MultiPartitionKey({"date": key.date.isoformat(), "tenant": key.tenant})
    event = dg.AssetMaterialization(
        dg.AssetKey([service, dataset]),
        partition=partition,
        metadata=event_metadata(facts),
        tags=data_version_tags(facts["sha256"]),
    )
    instance.report_runless_asset_event(event)
