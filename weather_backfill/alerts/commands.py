"""The command lines that an alert recommends as its fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import dagster as dg

from weather_backfill.backfill.status import MANAGED_TAG
from weather_backfill.dagster.private import BACKFILL_ID_TAG


def retry_command(
    instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun], service: str, tenant: str, days: Sequence[date]
) -> str:  # fmt: skip
    """The commands that run the failed days again: a retry of each backfill they belong to, else a new backfill."""
    names = set()
    for run in runs:
        native = instance.get_backfill(run.tags.get(BACKFILL_ID_TAG, ""))
        names.add(native.tags.get(MANAGED_TAG, native.backfill_id) if native else None)
    if None in names and days:
        return start_command(service, tenant, days, "failed")
    return "\n".join(f"weather-backfill retry {name}" for name in sorted(name for name in names if name))


def start_command(service: str, tenant: str, days: Sequence[date], reprocess: str) -> str:
    """The command that launches the days in state `reprocess` from the first to the last of `days`."""
    first, last = min(days), max(days)
    return (
        f"weather-backfill start --tenant {tenant} --service {service} --start {first} --end {last} "
        f"--reprocess {reprocess} --max-days {(last - first).days + 1} --yes"
    )
