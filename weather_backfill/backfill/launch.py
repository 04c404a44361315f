"""Launches native backfills from code: visible on Dagster's Backfills page, idempotent by their id."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import date

import dagster as dg
from sqlalchemy.exc import IntegrityError

from weather_backfill.dagster.private import (
    AssetGraphSubset,
    AssetKeyPartitionKey,
    PartitionBackfill,
    get_current_timestamp,
)
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey, tenants_partition_name, validate_tenant_id
from weather_backfill.model.tags import SERVICE_TAG, TENANT_TAG

LONGEST_ID = 32  # characters of a backfill's id that Dagster's PostgreSQL and MySQL tables hold; SQLite has no limit
LONGEST_TITLE = 100  # Dagster refuses longer ones, and a tenant's id alone may have 63 characters
DATASETS = (layout.RAW_OBSERVATIONS, layout.REFINED_15M)


def register_tenant(instance: dg.DagsterInstance, service: str, tenant: str) -> bool:
    """Make a tenant a partition of a service; returns whether it was new."""
    name = tenants_partition_name(service)
    if validate_tenant_id(tenant) in instance.get_dynamic_partitions(name):
        return False
    instance.add_dynamic_partitions(name, [tenant])
    return True


def native_id(name: str) -> str:
    """The id of the native backfill called `name`: the name, or its start and a hash where the name is too long."""
    if len(name) <= LONGEST_ID:
        return name
    return f"{name[: LONGEST_ID - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _fitting(*titles: str | None) -> str:
    """The first title that is short enough for Dagster, else the last one, cut."""
    candidates = [title for title in titles if title]
    return next((title for title in candidates if len(title) <= LONGEST_TITLE), candidates[-1][:LONGEST_TITLE])


def native_of(instance: dg.DagsterInstance, name: str) -> PartitionBackfill | None:
    """The native backfill called `name`; releases up to v0.1.0 gave long names to Dagster as they are."""
    short = native_id(name)
    return instance.get_backfill(short) or (instance.get_backfill(name) if short != name else None)


def launch_backfill(
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    *,
    backfill_id: str,
    service: str,
    tenant: str,
    days: Sequence[date],
    refined_only: Collection[date] = (),
    title: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Launch raw and refined of a tenant's days as one native backfill; returns its id, `native_id(backfill_id)`.

    Days in `refined_only` get refined alone. One backfill per tenant, because Dagster groups a mixed selection into
    runs that can cross tenants. A backfill that exists under the id is left as it is. Raises
    `ConfigurationError` for a tenant that is not registered and for no days at all.
    """
    if existing := native_of(instance, backfill_id):
        return existing.backfill_id
    backfill_id = native_id(backfill_id)
    if tenant not in instance.get_dynamic_partitions(tenants_partition_name(service)):
        raise ConfigurationError(
            f"tenant {tenant!r} is not registered for {service!r}: add it with `weather-backfill tenants add`."
        )
    if not days:
        raise ConfigurationError(f"there are no days to backfill for tenant {tenant!r}: give at least one.")
    partitions = {
        AssetKeyPartitionKey(dg.AssetKey([service, dataset]), str(PartitionKey(day, tenant)))
        for dataset in DATASETS
        for day in days
        if dataset != layout.RAW_OBSERVATIONS or day not in refined_only
    }
    graph = definitions.resolve_asset_graph()
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=backfill_id,
        asset_graph_subset=AssetGraphSubset.from_asset_partition_set(partitions, graph),
        backfill_timestamp=get_current_timestamp(),
        tags={SERVICE_TAG: service, TENANT_TAG: tenant, **(tags or {})},
        dynamic_partitions_store=instance,
        title=_fitting(title, f"{service} of {tenant}: {min(days)} to {max(days)}"),
        description=None,
        run_config=None,
    )
    try:
        instance.add_backfill(backfill)
    except IntegrityError:  # another process has launched it just now
        if instance.get_backfill(backfill_id) is None:
            raise
    return backfill_id
