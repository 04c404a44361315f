"""What a plan says of each day, and what is launched of it: above all nothing that would lose what the lake holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from weather_backfill.backfill.commands import start
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.plan import BackfillPlan, Reason, Reprocess, build_plan
from weather_backfill.backfill.status import target_of
from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.sources.tempest.source import day_folder
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.backfill.contexts import load
from weather_backfill_tests.platform import START, Platform

DAYS = days_between(START, START + timedelta(days=4))


@pytest.fixture
def archive(local_platform: Platform) -> Path:
    return local_platform.add_tempest("acme", len(DAYS))


@pytest.fixture
def context(local_platform: Platform, archive: Path) -> Iterator[BackfillContext]:
    with local_platform.desk() as made:
        yield made


def plan(context: BackfillContext, reprocess: Reprocess = Reprocess.MISSING, **settings: object) -> BackfillPlan:
    tenant, used = (
        TenantRegistry(open_tenant_files(context.settings)).get("acme"),
        context.settings.model_copy(update=settings),
    )
    return build_plan(context.instance, used, tenant, "tempest", DAYS[0], DAYS[-1], reprocess=reprocess)


def test_what_is_gone_upstream_is_never_taken_again(context: BackfillContext, archive: Path) -> None:
    load(context, DAYS[:2])
    load(context, [DAYS[2]], refine=False)
    for day in DAYS[:4]:
        shutil.rmtree(archive / day_folder(day))
    found = plan(context, Reprocess.ALL)
    assert [found.reasons[day] for day in DAYS] == [
        Reason.KEPT, Reason.KEPT, Reason.UNREFINED, Reason.NO_UPSTREAM, Reason.MISSING,
    ]  # fmt: skip
    assert sorted(found.days) == [DAYS[2], DAYS[4]]
    assert found.raw_days == [DAYS[4]]
    assert found.chunks == [[DAYS[4]]]
    assert found.summary()["days_gone_upstream"] == 2


def test_a_plan_without_days_guesses_nothing(context: BackfillContext) -> None:
    load(context, DAYS)
    found = plan(context)
    assert (found.days, found.seconds, found.summary()["expected_from"]) == ([], 0, "nothing is to be done")
    assert BackfillPlan.from_json(found.to_json()) == found


def test_what_lacks_only_refined_is_refined_alone(context: BackfillContext) -> None:
    load(context, DAYS[:1])
    load(context, DAYS[1:3], refine=False)
    found = plan(context)
    assert sorted(found.days) == DAYS[1:]
    name = start(context, found)
    [native] = context.instance.get_backfills()
    target = native.get_asset_backfill_data(context.graph).target_subset
    asked = {
        asset.path[-1]: sorted(key[:10] for key in target.get_partitions_subset(asset).get_partition_keys())
        for asset in target.asset_keys
    }
    assert asked == {
        "raw_observations": [str(day) for day in DAYS[3:]], "refined_15m": [str(day) for day in DAYS[1:]],
    }  # fmt: skip
    assert [key.date for key in target_of(native, context.graph)] == DAYS[1:], name


def test_an_incomplete_day_without_refined_is_taken_whole(context: BackfillContext) -> None:
    load(context, DAYS[:2])
    load(context, DAYS[2:3], refine=False)
    found = plan(context, completeness_target=1.1)  # no day is complete
    assert [found.reasons[day] for day in DAYS[:3]] == [Reason.INCOMPLETE, Reason.INCOMPLETE, Reason.MISSING]
    assert sorted(found.raw_days) == DAYS[2:], "raw too, as the upstream may have more by now"


def test_all_reads_raw_again_where_refined_is_missing(context: BackfillContext) -> None:
    load(context, DAYS[:4])
    load(context, DAYS[4:], refine=False)
    assert plan(context).raw_days == []
    assert sorted(plan(context, Reprocess.ALL).raw_days) == DAYS


def test_only_refined_is_launched_where_raw_is_whole(context: BackfillContext) -> None:
    load(context, DAYS, refine=False)
    start(context, plan(context))
    [native] = context.instance.get_backfills()
    assert native.asset_selection == [dg.AssetKey(["tempest", "refined_15m"])]


def test_a_damaged_day_is_planned_again_and_hinders_no_other(context: BackfillContext) -> None:
    load(context, DAYS[:3])
    context.store.put(layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(DAYS[1], "acme")), b"garbage")
    assert plan(context).reasons[DAYS[1]] is Reason.INCOMPLETE
    assert sorted(plan(context, Reprocess.INCOMPLETE).days) == [DAYS[1], DAYS[3], DAYS[4]]
    load(context, [DAYS[1]])
    assert plan(context).reasons[DAYS[1]] is Reason.DONE
