"""The freshness check of a service: is every tenant's newest raw day young enough?

A check of our own and no `FreshnessPolicy`, as Dagster 1.13 judges an asset by the time of its last materialization,
whichever partition that was of. Every load of one tenant would make all tenants fresh, and so would a backfill of
1990, or the daily load when it writes a day again that the upstream has stopped following up. This check looks at the
newest day that each tenant has in the lake, names the tenants that are late, and sees a lake that was restored or had
days deleted. A policy would be evaluated without a run, which the check needs; two verdicts of different meaning under
one name would cost more than that saves. Unpartitioned assets have no policy either: `warehouse` holds views, which
see new days at once, and `catalog` needs no run as long as no tenant is added.
"""

from datetime import UTC, datetime

import dagster as dg

from weather_backfill.dagster.resources import LakeResource
from weather_backfill.lake import layout, listing
from weather_backfill.model.partitions import tenants_partition_name
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore


def build_freshness_check(service: str, settings: Settings) -> dg.AssetChecksDefinition:
    """The check `freshness` of `<service>/raw_observations`; warns, and names each tenant's newest day."""

    @dg.asset_check(
        asset=dg.AssetKey([service, layout.RAW_OBSERVATIONS]),
        name="freshness",
        description=f"The newest day of every tenant is at most {settings.freshness_days} days old",
    )
    def freshness(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        tenants = context.instance.get_dynamic_partitions(tenants_partition_name(service))
        today = datetime.now(UTC).date()
        newest = {tenant: newest_day(lake.store, service, tenant) for tenant in tenants}
        stale = sorted(
            tenant
            for tenant, day in newest.items()
            if day is None or (today - datetime.fromisoformat(day).date()).days > settings.freshness_days
        )
        return dg.AssetCheckResult(
            passed=not stale,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"stale: {', '.join(stale)}" if stale else "every tenant is up to date",
            metadata={f"newest day of {tenant}": day or "none" for tenant, day in newest.items()},
        )

    return freshness


def newest_day(store: ObjectStore, service: str, tenant: str) -> str | None:
    """The newest raw day in the lake as YYYY-MM-DD, from one listing of folders; None if there is none."""
    return max(map(str, listing.days(store, layout.RAW_OBSERVATIONS, service, tenant)), default=None)
