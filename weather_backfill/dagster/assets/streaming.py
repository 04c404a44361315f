"""Helpers of the partitioned assets: the run's partitions, days that an earlier attempt finished, checks of ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

import dagster as dg

from weather_backfill.dagster.private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from weather_backfill.lake.journal import Journal
from weather_backfill.model.days import Day, DayFailure, DayStream
from weather_backfill.model.errors import SchemaError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.checks import summarize


def selected_partitions(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The partition keys of a run; raises `dagster.Failure` where there are none, which Dagster would call a success.

    Dagster finds the ends of a range in each dimension by their place: days in order of time, tenants in order of
    registration. A range whose first lies after its last is empty.
    """
    asset, tags = context.asset_key.to_user_string(), context.run.tags
    ends = [tags.get(name, "none") for name in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)]
    try:
        keys = context.partition_keys
        problem = f"the range {'...'.join(ends)} of {asset} holds no partition, its first lies after its last"
    except dg.DagsterInvariantViolationError as error:
        keys, problem = [], f"the run of {asset} names no partition ({error})"
    if keys:
        return keys
    raise dg.Failure(
        f"Nothing was written: {problem}. Expected a first day that is not after the last, and a first tenant that is "
        "the last or was registered before it: exchange the ends, or ask for one tenant at a time (tags "
        f"{ASSET_PARTITION_RANGE_START_TAG} and {ASSET_PARTITION_RANGE_END_TAG}).",
        allow_retries=False,
    )


def skip_finished(
    days_by_tenant: Mapping[str, list[date]], journal: Journal, read: Callable[[str, list[date]], Iterator[Day]]
) -> Iterator[Day]:
    """Yield the days of each tenant: first those that earlier attempts of this run wrote, then the rest, read anew.

    A tenant whose source cannot even be opened fails its own days and nobody else's.
    """
    finished = journal.finished()
    for tenant, days in days_by_tenant.items():
        remaining = []
        for day in days:
            record = finished.get(PartitionKey(day, tenant))
            if record:
                yield record
            else:
                remaining.append(day)
        if remaining:
            yield from _read_tenant(tenant, remaining, read)


def _read_tenant(tenant: str, days: list[date], read: Callable[[str, list[date]], Iterator[Day]]) -> Iterator[Day]:
    yielded: set[date] = set()
    problem: Exception = SchemaError("the source gave no such day: this is a fault of its module, not of the upstream.")
    try:
        for day in read(tenant, days):
            yielded.add(day.key.date)
            yield day
    except Exception as error:
        problem = error
    for missing in days:
        if missing not in yielded:  # Dagster would take every day of a run that succeeds for written
            yield DayFailure(missing, problem, tenant)


def check_specs(asset: dg.AssetKey, checks: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    """Specs of checks that the asset itself evaluates, day by day."""
    return [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in checks.items()]


def check_results(asset: dg.AssetKey, checks: Mapping[str, str], stream: DayStream) -> Iterator[dg.AssetCheckResult]:
    """One result per check for the whole run; the days' own results are recorded on their partitions."""
    for name in checks:
        results = [(str(r.key), result) for r in stream.records for result in r.checks if result.check == name]
        passed, error, description = summarize(name, results)
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN,
            description=description,
            metadata={"days": len(results)},
        )
