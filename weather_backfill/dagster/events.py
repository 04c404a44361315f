"""Turns days that lie in the lake into Dagster's events of their partitions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import DagsterEvent

from weather_backfill.dagster.asset_attributes import uri_of
from weather_backfill.dagster.private import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    add_partition_metadata,
    check_event,
    materialization_event,
    set_data_version,
    sort_partitions,
    step_of,
)
from weather_backfill.lake import layout
from weather_backfill.model.days import CheckResult, DayRecord
from weather_backfill.model.partitions import PartitionKey


class Recorder:
    """Turns the day records of one step into Dagster events."""

    def __init__(self, context: dg.OutputContext, service: str) -> None:
        self._context = context
        self._step = step_of(context)
        self._asset = context.asset_key
        self._rejects = dg.AssetKey([service, layout.REJECTED_OBSERVATIONS])

    def everything(self, records: list[DayRecord]) -> Iterator[DagsterEvent]:
        """Yield all events of the days, for a step that will fail and for which Dagster records nothing by itself."""
        for record in records:
            tags = data_version_tags(content_version([record]))
            yield self._materialization(self._asset, record, event_metadata(record.metadata), tags)
            yield from self._beside(record)

    def beside_automatic_events(self, records: list[DayRecord]) -> Iterator[DagsterEvent]:
        """Hand Dagster the metadata for the events that it records itself, and yield those that it does not record."""
        metadata = {str(record.key): event_metadata(record.metadata) for record in records}
        add_partition_metadata(self._step, self._asset, metadata)
        sort_partitions(self._context)
        # Dagster takes one data version for all partitions of a run: a day's own content, or that of the whole range.
        # The same range of the same days keeps its version; another range of these days has another, and counts as new.
        set_data_version(self._step, self._asset, content_version(records))
        for record in records:
            yield from self._beside(record)

    def _beside(self, record: DayRecord) -> Iterator[DagsterEvent]:
        if record.reported_rejects:
            metadata = event_metadata({"rows": record.rejects})
            yield self._materialization(self._rejects, record, metadata)
        for result in record.checks:
            yield check_event(self._step, evaluation(self._asset, record.key, result))

    def _materialization(
        self, asset: dg.AssetKey, record: DayRecord, metadata: dict[str, Any], tags: dict[str, str] | None = None
    ) -> DagsterEvent:
        partition = dg.MultiPartitionKey({"date": record.key.date.isoformat(), "tenant": record.key.tenant})
        materialization = dg.AssetMaterialization(asset, partition=partition, metadata=metadata, tags=tags)
        return materialization_event(self._step, materialization)


def content_version(records: Sequence[DayRecord]) -> str:
    """The data version of days: the sha256 of one day's object, or of the days' names and objects."""
    if len(records) == 1:
        return str(records[0].metadata["sha256"])
    lines = sorted(f"{record.key} {record.metadata['sha256']}\n" for record in records)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def data_version_tags(version: str) -> dict[str, str]:
    """The tags by which Dagster knows the data version of an event."""
    return {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}


def evaluation(asset: dg.AssetKey, key: PartitionKey, result: CheckResult) -> dg.AssetCheckEvaluation:
    """A day's check as Dagster's event of that partition."""
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=result.check,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if result.error else dg.AssetCheckSeverity.WARN,
        description=result.description,
        metadata=dict(result.metadata),
        partition=str(key),
    )


def partition_row_counts(rows: int) -> dict[str, int]:
    """The rows of a partition under Dagster's own keys.

    `dagster/partition_row_count` is the exact one; Dagster's pages (1.13) show and plot `dagster/row_count` alone.
    """
    return {"dagster/partition_row_count": rows, "dagster/row_count": rows}


def event_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a day as metadata of its event: without nulls, with Dagster's keys for row counts and the URI."""
    metadata: dict[str, Any] = {}
    for name, value in facts.items():
        if value is None:
            continue
        if name == "rows":
            metadata |= partition_row_counts(value)
        if name == "path":
            metadata["dagster/uri"] = uri_of(value)
        metadata[name] = dg.MetadataValue.path(value) if name == "path" else value
    return metadata
