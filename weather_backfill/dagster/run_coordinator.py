"""Dagster's run queue, with tags for tenant and service and a priority on every run.

Limits in `dagster.yaml` are per tag; range runs of a backfill carry only the range. Newest days come first: people
look at last week before they look at 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from dagster import DagsterRun, Field, IntSource, QueuedRunCoordinator, SubmitRunContext

from weather_backfill.dagster.private import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    instance_of_coordinator,
    set_backfill_tick_seconds,
)
from weather_backfill.lake.layout import STATION_HISTORY
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG

_NEWEST_FIRST_BASE = date(2000, 1, 1)
_TICK = "backfill_tick_seconds"
_TICK_SECONDS = 5
_DAGSTER_TICK_SECONDS = 30


class TaggingRunCoordinator(QueuedRunCoordinator):
    """A `QueuedRunCoordinator` that adds `weather/tenant`, `weather/service` and a priority.

    Its setting `backfill_tick_seconds` (1 to 30, default 5) is how often the daemon looks at the backfills that are
    under way. Dagster has no setting for it and looks every 30 s: 30 days that load in seconds are then complete after
    72 s. A look costs the daemon something for each backfill that is under way, and nothing where there is none.
    """

    def __init__(self, backfill_tick_seconds: int | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        seconds = _TICK_SECONDS if backfill_tick_seconds is None else backfill_tick_seconds
        if not 1 <= seconds <= _DAGSTER_TICK_SECONDS:
            raise ConfigurationError(
                f"run_coordinator: {_TICK} is {seconds}; expected 1 to {_DAGSTER_TICK_SECONDS} seconds: correct it in "
                "dagster.yaml."
            )
        set_backfill_tick_seconds(seconds)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The settings of Dagster's coordinator, and ours."""
        description = "How often the daemon looks at the backfills that are under way, in seconds (1 to 30)."
        own = Field(IntSource, is_required=False, description=description)
        return {**super().config_type(), _TICK: own}  # type: ignore[dict-item]

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> TaggingRunCoordinator:
        """Build the coordinator from its part of `dagster.yaml`."""
        return cls(inst_data=inst_data, **config_value)

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
