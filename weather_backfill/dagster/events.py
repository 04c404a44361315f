"""From days that lie in the lake to Dagster's events of their partitions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from dagster import DagsterEvent

from weather_backfill.dagster.private import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DefaultPartitionsSubset,
)
from weather_backfill.lake import layout
from weather_backfill.model.days import CheckResult, DayRecord
from weather_backfill.model.partitions import PartitionKey


class Recorder:
    """Turns day records into Dagster events."""

    def __init__(self, context: dg.OutputContext, service: str) -> None:
        self._context = context
        self._step = context.step_context
        self._asset = context.asset_key
        self._rejects = dg.AssetKey([service, layout.REJECTED_OBSERVATIONS])

    def everything(self, records: list[DayRecord]) -> Iterator[DagsterEvent]:
        """All events of the days, for a step that will not succeed and so records nothing by itself."""
        for record in records:
            tags = data_version_tags(content_version([record]))
            yield self._materialization(self._asset, record, _values(record.metadata), tags)
            yield from self._beside(record)

    def beside_automatic_events(self, records: list[DayRecord]) -> Iterator[DagsterEvent]:
        """Hand Dagster each partition's metadata for the events of its own, and log what it does not log."""
        # `add_asset_metadata` lists the whole range for every call to see that the partition is in it (9 of 95 s
        # for 550 days of one tenant); here each record is one of the run's partitions. It keeps what it is given
        # in this accumulator.
        accumulated = self._step._metadata_accumulator
        for record in records:
            values = _values(record.metadata)
            accumulated = accumulated.with_additional_asset_metadata(self._asset, str(record.key), values)
        self._step._metadata_accumulator = accumulated
        self._in_order()
        # For all partitions of a run Dagster knows one data version: a day's own content, or that of the whole range.
        # The same days again have the same one; another range of the same days has not, and counts as new.
        self._step.set_data_version(self._asset, dg.DataVersion(content_version(records)))
        for record in records:
            yield from self._beside(record)

    def _in_order(self) -> None:
        # Dagster's own events come in the order of a set. If the backfill daemon looks while they are written, it
        # launches what hangs on those it sees: 126 runs of a few days for a year, where in order two are enough.
        subset = self._context._asset_partitions_subset
        if subset is not None:
            self._context._asset_partitions_subset = DefaultPartitionsSubset(_InOrder(subset.get_partition_keys()))

    def _beside(self, record: DayRecord) -> Iterator[DagsterEvent]:
        if record.reported_rejects:
            metadata = _values({"rows": record.rejects})
            yield self._materialization(self._rejects, record, metadata)
        for outcome in record.checks:
            yield DagsterEvent.asset_check_evaluation(self._step, evaluation(self._asset, record.key, outcome))

    def _materialization(
        self, asset: dg.AssetKey, record: DayRecord, metadata: dict[str, Any], tags: dict[str, str] | None = None
    ) -> DagsterEvent:
        key = dg.MultiPartitionKey({"date": record.key.date.isoformat(), "tenant": record.key.tenant})
        event = dg.AssetMaterialization(asset, partition=key, metadata=metadata, tags=tags)
        return DagsterEvent.asset_materialization(self._step, event)


class _InOrder(frozenset[str]):
    """Partition keys, iterated by date."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__()))


def content_version(records: Sequence[DayRecord]) -> str:
    """The data version of days: the sha256 of one day's object, or of the days' names and objects."""
    if len(records) == 1:
        return str(records[0].metadata["sha256"])
    lines = sorted(f"{record.key} {record.metadata['sha256']}\n" for record in records)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def data_version_tags(version: str) -> dict[str, str]:
    """The tags by which Dagster knows the data version of an event."""
    return {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}


def evaluation(asset: dg.AssetKey, key: PartitionKey, outcome: CheckResult) -> dg.AssetCheckEvaluation:
    """A day's check as Dagster's event of that partition."""
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=outcome.check,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.ERROR if outcome.error else dg.AssetCheckSeverity.WARN,
        description=outcome.description,
        metadata=dict(outcome.metadata),
        partition=str(key),
    )


def _values(metadata: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in metadata.items():
        if value is None:
            continue
        if name == "rows":
            values["dagster/row_count"] = value
        values[name] = dg.MetadataValue.path(value) if name == "path" else value
    return values
