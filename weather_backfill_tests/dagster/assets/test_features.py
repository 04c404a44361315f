"""The asset `quarterly_features` in Dagster: its partitions, several quarters in a run, a quarter that fails."""

from __future__ import annotations

from datetime import date

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context

from weather_backfill.dagster.assets.features import DAYS_OF_THE_QUARTER
from weather_backfill.dagster.partitions import daily_by_tenant, quarterly_by_tenant
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill_tests.e2e.test_command_line import materialize
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.refine.test_features import fill_lake, random_values


def test_a_quarter_depends_on_its_days_of_the_same_tenant() -> None:
    """Also the first quarter, which begins before the first day."""
    quarters, days = (make("dwd", date(2020, 2, 10)) for make in (quarterly_by_tenant, daily_by_tenant))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("dwd_tenants", ["acme", "borealis"])
        with partition_loading_context(dynamic_partitions_store=instance):
            for quarter, tenant, count in (("2020-04-01", "acme", 91), ("2020-01-01", "borealis", 20 + 31)):
                key = dg.MultiPartitionKey({"date": quarter, "tenant": tenant})
                subset = quarters.empty_subset().with_partition_keys([key])
                upstream = DAYS_OF_THE_QUARTER.get_upstream_mapped_partitions_result_for_partitions(
                    subset, quarters, days
                )
                found = [str(k) for k in upstream.partitions_subset.get_partition_keys()]
                assert len(found) == count
                assert {k.split("|")[1] for k in found} == {tenant}


def test_policies_differ_so_that_runs_do() -> None:
    assets = {
        a.key.path[-1]: a.backfill_policy
        for a in build_definitions().assets or []
        if isinstance(a, dg.AssetsDefinition) and a.key.path[0] == "tempest"
    }
    limits = [assets[name].max_partitions_per_run for name in ("raw_observations", "refined_15m", "quarterly_features")]
    assert len(set(limits)) == 3


def test_a_quarter_that_fails_costs_no_other_and_names_its_command(local_platform: Platform) -> None:
    platform = local_platform
    with platform.instance as instance:
        instance.add_dynamic_partitions("dwd_tenants", ["acme"])
    rows = random_values(3600, stations=1)
    fill_lake(platform.lake, rows[rows.observed_at.dt.day < 3], 3600)
    span = ["--partition-range", "2020-01-01|acme...2020-04-01|acme"]
    text = materialize(platform, "dwd/quarterly_features", *span, check=False)
    assert "1 of 2 days failed" in text
    assert "holds no day of the quarter from 2020-04-01: refine its days first" in text
    assert "--select dwd/quarterly_features --partition '2020-04-01|acme'" in text
    assert platform.materialized(layout.QUARTERLY_FEATURES, "acme", "dwd") == {date(2020, 1, 1)}
