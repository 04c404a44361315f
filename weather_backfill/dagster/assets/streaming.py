"""What the daily assets share: skipping days an earlier try has finished, and checks for runs over ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date

import dagster as dg

from weather_backfill.lake.journal import Journal
from weather_backfill.model.days import Day, DayFailure, DayStream
from weather_backfill.model.errors import SchemaError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.checks import summarize


def skip_finished(
    wanted: Mapping[str, list[date]], journal: Journal, read: Callable[[str, list[date]], Iterator[Day]]
) -> Iterator[Day]:
    """Days of all tenants: first what earlier tries of this run have written, then the rest, read anew.

    A tenant whose source cannot even be opened fails its own days and nobody else's.
    """
    finished = journal.finished()
    for tenant, days in wanted.items():
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
    seen: set[date] = set()
    broken: Exception = SchemaError("the source gave no such day: this is a fault of its module, not of the upstream.")
    try:
        for day in read(tenant, days):
            seen.add(day.key.date)
            yield day
    except Exception as error:
        broken = error
    for missing in days:
        if missing not in seen:  # Dagster would take every day of a run that succeeds for written
            yield DayFailure(missing, broken, tenant)


def check_specs(asset: dg.AssetKey, checks: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    """Specs of checks that the asset itself evaluates, day by day."""
    return [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in checks.items()]


def check_results(asset: dg.AssetKey, checks: Mapping[str, str], stream: DayStream) -> Iterator[dg.AssetCheckResult]:
    """One result a check for the whole run; the days' own outcomes are on their partitions."""
    for name in checks:
        outcomes = [(str(r.key), outcome) for r in stream.records for outcome in r.checks if outcome.check == name]
        passed, error, description = summarize(name, outcomes)
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN,
            description=description,
            metadata={"days": len(outcomes)},
        )
