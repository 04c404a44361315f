"""Helpers of the partitioned assets: the run's partitions, days that an earlier attempt finished, checks of ranges."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

import dagster as dg

from weather_backfill.dagster.private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from weather_backfill.lake.journal import Journal
from weather_backfill.model.days import Day, DayFailure, DayStream
from weather_backfill.model.errors import ProcessDiedError, SchemaError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.checks import summarize

MOST_DEATHS = 2
"""Deaths of the process while at a day, the second alone, after which the day fails. A run is retried so often."""
_log = logging.getLogger(__name__)


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
    days_by_tenant: Mapping[str, list[date]],
    journal: Journal,
    read: Callable[[str, list[date]], Iterator[Day]],
    *,
    ranges: bool = False,
) -> Iterator[Day]:
    """Yield the days of each tenant: first those that earlier attempts of this run wrote, then the rest, read anew.

    A tenant whose source cannot even be opened fails its own days and nobody else's. Days at which an earlier attempt
    died come last, each alone, with nothing read beside it: one that the process dies at again is the one to blame, and
    fails without being tried a third time. `ranges`: all of a tenant's days are read before the first comes.
    """
    finished = journal.finished()
    died = journal.deaths(finished)
    suspects: list[PartitionKey] = []

    def begin(keys: list[PartitionKey]) -> None:
        try:
            journal.begin(keys, died)
        except Exception as error:  # without the note a death costs what it did before there were notes
            _log.warning("the journal does not say that %s began: %s", ", ".join(map(str, keys)), error)

    for tenant, days in days_by_tenant.items():
        remaining = []
        for day in days:
            key = PartitionKey(day, tenant)
            record = finished.get(key)
            if record:
                yield record
            elif key in died:
                suspects.append(key)
            else:
                remaining.append(day)
        if remaining:
            yield from _read_tenant(tenant, remaining, read, begin, ranges)
    for key in suspects:
        if died[key] < MOST_DEATHS:
            yield from _read_tenant(key.tenant, [key.date], read, begin)
        else:
            yield DayFailure(key.date, _died(died[key]), key.tenant)


def _died(times: int) -> ProcessDiedError:
    return ProcessDiedError(
        f"the process died {times} times while at this day: out of memory or killed; the last time the day was alone, "
        "and now it was not tried. Expected a day that a run's memory has room for: look at the size of the day's "
        "objects, give runs more memory, then retry the day."
    )


def _read_tenant(
    tenant: str,
    days: list[date],
    read: Callable[[str, list[date]], Iterator[Day]],
    begin: Callable[[list[PartitionKey]], None],
    ranges: bool = False,
) -> Iterator[Day]:
    yielded: set[date] = set()
    problem: Exception = SchemaError("the source gave no such day: this is a fault of its module, not of the upstream.")
    keys = [PartitionKey(day, tenant) for day in days]
    try:
        stream = iter(read(tenant, days))
        for number in itertools.count():
            under_way = keys[number : number + (1 if ranges else 2)]  # the next, and the one that is read ahead of it
            if under_way and not (ranges and number == 0):
                begin(under_way)
            day = next(stream, None)
            if day is None:
                break
            if ranges and number == 0:  # reading the range is no single day's fault
                begin(under_way)
            yielded.add(day.key.date)
            yield day
            del day  # its table, before the next is read
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
