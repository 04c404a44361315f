"""Dagster's run queue, with tags for tenant and service and a priority on every run.

Limits in `dagster.yaml` are per tag; range runs of a backfill carry only the range. Newest days come first: people
look at last week before they look at 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from dagster import DagsterRun, QueuedRunCoordinator, SubmitRunContext

from weather_backfill.dagster.private import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    instance_of_coordinator,
)
from weather_backfill.lake.layout import STATION_HISTORY
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG

_NEWEST_FIRST_BASE = date(2000, 1, 1)


class TaggingRunCoordinator(QueuedRunCoordinator):
    """A `QueuedRunCoordinator` that adds `weather/tenant`, `weather/service` and a priority."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Add the tags that the run lacks, then queue it."""
        run = context.dagster_run
        tags = run_tags(run.tags, [key.path for key in run.asset_selection or ()])
        missing = {name: value for name, value in tags.items() if name not in run.tags}
        if missing:
            instance_of_coordinator(self).add_run_tags(run.run_id, missing)
            run = run.with_tags({**run.tags, **missing})
            context = SubmitRunContext(run, context.workspace)
        return super().submit_run(context)


def run_tags(tags: Mapping[str, str], assets: Iterable[Sequence[str]]) -> dict[str, str]:
    """The tags that follow from a run's partition or range and its assets; none where it has neither."""
    added: dict[str, str] = {}
    paths = [list(path) for path in assets]
    services = sorted({path[0] for path in paths if len(path) > 1})
    if len(services) == 1:
        added[SERVICE_TAG] = services[0]
    ends = [tags[name] for name in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG) if tags.get(name)]
    keys = ends or [tags[name] for name in (PARTITION_NAME_TAG,) if tags.get(name)]
    if paths and all(path[-1] == STATION_HISTORY for path in paths):  # its partitions are tenants, without days
        return added | ({TENANT_TAG: keys[0]} if keys and len(set(keys)) == 1 else {})
    try:
        days = [PartitionKey.parse(key) for key in keys]
    except ConfigurationError:
        return added  # another asset's partitions
    tenants = {day.tenant for day in days}
    if len(tenants) == 1:
        added[TENANT_TAG] = tenants.pop()
    if days:
        added[PRIORITY_TAG] = str((max(days).date - _NEWEST_FIRST_BASE).days)
    return added
