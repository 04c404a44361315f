"""Two installations on one lake: the second one reads, and is refused whatever launches, reconciles or writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_backfill import reader
from weather_backfill.alerts.reconcile import reconcile_alerts
from weather_backfill.backfill.commands import cancel, resume, retry, start
from weather_backfill.backfill.context import BackfillContext, take_over
from weather_backfill.backfill.daily import fill_gaps, load_daily
from weather_backfill.backfill.manifests import load_manifest
from weather_backfill.backfill.plan import BackfillPlan, build_plan
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.rollback import rollback
from weather_backfill.backfill.status import natives_of, status_of
from weather_backfill.backfill.upgrade import UpgradePlan, upgrade
from weather_backfill.dagster.private import BulkActionStatus, installation_id
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout, owner
from weather_backfill.lake.owner import owner_of
from weather_backfill.model.errors import ForeignLakeError
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, load
from weather_backfill_tests.platform import Platform

ONBOARDING = "onboard-acme-tempest"


@pytest.fixture
def second(context: BackfillContext) -> Iterator[BackfillContext]:
    """Another installation that was pointed at the same lake, and knows none of its tenants."""
    with dg.instance_for_test() as instance:
        yield BackfillContext(instance, context.definitions, context.settings)


def planned(context: BackfillContext) -> BackfillPlan:
    tenant = TenantRegistry(open_tenant_files(context.settings)).get("acme")
    return build_plan(context.instance, context.settings, tenant, "tempest", DAYS[0], DAYS[-1])


REFUSED: dict[str, Callable[[BackfillContext], Any]] = {
    "onboard": lambda at: onboard(at, TODAY),
    "daily": lambda at: load_daily(at, TODAY),
    "gaps": lambda at: fill_gaps(at, TODAY),
    "alerts": reconcile_alerts,
    "start": lambda at: start(at, planned(at)),
    "cancel": lambda at: cancel(at, ONBOARDING),
    "resume": lambda at: resume(at, ONBOARDING),
    "retry": lambda at: retry(at, ONBOARDING),
    "upgrade": lambda at: upgrade(at, UpgradePlan("tempest", "acme", (DAYS[0],), (), 0, 0)),
    "rollback": lambda at: rollback(at, "tempest", "acme", DAYS[0], None),  # type: ignore[arg-type]
}


def test_a_second_installation_changes_nothing_and_reads_all(context: BackfillContext, second: BackfillContext) -> None:
    onboard(context, TODAY)
    load(context, DAYS)
    before = {stored.key: stored.etag for stored in context.store.list()}
    for tenant in ("acme", "acme-2"):  # with tenant files of its own, to it these would be connections that are gone
        open_tenant_files(second.settings).delete(f"{tenant}.yaml")
    for name, command in REFUSED.items():
        if name != "start":
            with pytest.raises(ForeignLakeError, match="belongs to another installation"):
                command(second)
    after = {stored.key: stored.etag for stored in context.store.list()}
    assert after == before
    assert {n.status for n in natives_of(context.instance, ONBOARDING)} == {BulkActionStatus.REQUESTED}
    status = status_of(second.instance, second.graph, second.store, ONBOARDING)
    assert set(status.days) == set(DAYS)
    rows = reader.read_refined(tenant="acme", service="tempest", start=DAYS[0], end=DAYS[-1], settings=second.settings)
    assert len(rows)


def test_a_run_of_a_second_installation_writes_no_day(local_platform: Platform) -> None:
    local_platform.add_tempest("acme", 1)
    owner.claim(local_platform.lake, "the first", "alpha:/srv/dagster")
    with local_platform.instance as instance:
        assert not local_platform.load(instance).success
    assert local_platform.dates(layout.RAW_OBSERVATIONS, "acme") == set()


def test_a_run_of_a_second_installation_writes_no_station_history(local_platform: Platform, tmp_path: Path) -> None:
    local_platform.add_dwd("acme", base_url=tmp_path.as_uri(), stations=["00001"])
    owner.claim(local_platform.lake, "the first", "alpha:/srv/dagster")
    key = dg.AssetKey(["dwd", layout.STATION_HISTORY])
    job = build_definitions(local_platform.settings).resolve_implicit_global_asset_job_def()
    with local_platform.instance as instance:
        result = job.get_subset(asset_selection={key}).execute_in_process(
            instance=instance, partition_key="acme", raise_on_error=False
        )
        [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "ForeignLakeError" in str(failure.step_failure_data.error)
    assert not local_platform.lake.list(layout.STATION_HISTORY)


def test_a_start_is_refused_before_anything_is_written(context: BackfillContext, second: BackfillContext) -> None:
    onboard(context, TODAY)
    finish = {stored.key for stored in context.store.list()}
    with pytest.raises(ForeignLakeError):
        start(second, planned(second))
    assert {stored.key for stored in context.store.list()} == finish
    assert second.instance.get_backfills() == []


def test_records_name_their_installation(context: BackfillContext) -> None:
    onboard(context, TODAY)
    here = installation_id(context.instance)
    known = owner_of(context.store)
    assert known
    assert known.installation == here
    written = json.loads(context.store.get(layout.manifest_key(ONBOARDING)))
    assert written["installation"] == here
    del written["installation"]  # as earlier releases wrote it
    context.store.put(layout.manifest_key(ONBOARDING), json.dumps(written).encode())
    manifest = load_manifest(context.store, ONBOARDING)
    assert manifest
    assert manifest.installation is None


def test_who_takes_over_goes_on_and_the_owner_before_is_refused(
    context: BackfillContext, second: BackfillContext
) -> None:
    onboard(context, TODAY)
    take_over(second)
    with pytest.raises(ForeignLakeError):
        onboard(context, TODAY)
    onboard(second, TODAY)
    assert natives_of(second.instance, ONBOARDING)


def test_an_instance_in_memory_owns_nothing(context: BackfillContext, second: BackfillContext) -> None:
    with dg.DagsterInstance.ephemeral() as passing:
        BackfillContext(passing, context.definitions, context.settings).claim()
        assert owner_of(context.store) is None
        context.claim()
        with pytest.raises(ForeignLakeError):
            BackfillContext(passing, context.definitions, context.settings).claim()
