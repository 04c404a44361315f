"""A tenant file appears, and everything else happens by itself: real daemon, real sensors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from weather_backfill.backfill.onboarding import load_daily
from weather_backfill.backfill.operations import Desk
from weather_backfill.backfill.plan import Reprocess, build_plan
from weather_backfill.backfill.status import active_backfills, status_of
from weather_backfill.definitions import build_definitions
from weather_backfill.lake.storage import ObjectStore
from weather_backfill.partitions import days_between
from weather_backfill.simulate.tempest import Archive, write_archive
from weather_backfill.tenants import TenantRegistry
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.servers import until

LOOKBACK = 3


@pytest.fixture
def desk(local_platform: Platform) -> Iterator[Desk]:
    local_platform.environment["WEATHER_AUTOMATION"] = "true"
    settings = local_platform.settings
    with local_platform.instance as instance:
        yield Desk(instance, build_definitions(settings), settings)


def today() -> date:
    return datetime.now(UTC).date()


def connect(platform: Platform, tenant: str, lookback: int = LOOKBACK) -> None:
    """Put an archive of the last days and a tenant file in place; nothing else."""
    archive = platform.folder / "archive" / tenant
    plan = Archive(tenant, today() - timedelta(days=lookback), today() - timedelta(days=1), 1, 3, 60)
    write_archive(plan, ObjectStore(str(archive)))
    write_tenant(platform.folder / "tenants", tenant, archive, lookback)


def write_tenant(folder: Path, tenant: str, archive: Path, lookback: int) -> None:
    folder.mkdir(exist_ok=True)
    text = f"id: {tenant}\nservices:\n  tempest:\n    archive_url: {archive}\n    lookback_days: {lookback}\n"
    (folder / f"{tenant}.yaml").write_text(text)


def window(lookback: int = LOOKBACK) -> set[date]:
    return set(days_between(today() - timedelta(days=lookback), today() - timedelta(days=1)))


@pytest.mark.timeout(900)
def test_eight_tenants_at_once_by_themselves(local_platform: Platform, desk: Desk) -> None:
    platform = local_platform
    tenants = [f"tenant-{n}" for n in range(8)]
    for tenant in tenants:
        connect(platform, tenant)
    (platform.folder / "tenants" / "broken.yaml").write_text("id: broken\nservices: {tempest: {archive: nowhere}}\n")
    most = 0

    def complete() -> bool:
        nonlocal most
        most = max(most, len(active_backfills(desk.instance)))
        return all(platform.dates("refined_15m", tenant) == window() for tenant in tenants)

    with platform.daemon():
        until(complete, 400, 0.5)
        until(lambda: not active_backfills(desk.instance), 120, 0.5)
    assert 1 < most <= 5
    backfills = [b.backfill_id for b in desk.instance.get_backfills()]
    assert sorted(b for b in backfills if b.startswith("onboard-")) == [f"onboard-{t}-tempest" for t in tenants]
    for tenant in tenants:
        found = TenantRegistry(platform.settings.tenant_files()).get(tenant)
        plan = build_plan(
            desk.instance, desk.settings, found, "tempest", min(window()), max(window()), reprocess=Reprocess.INCOMPLETE
        )
        assert plan.days == [], "no gaps"
        status = status_of(desk.instance, desk.graph, desk.store, f"onboard-{tenant}-tempest").to_json()
        assert (status["status"], status["days_completed"]) == ("completed", LOOKBACK)


@pytest.mark.timeout(600)
def test_a_daemon_that_dies_launches_nothing_twice(local_platform: Platform, desk: Desk) -> None:
    platform = local_platform
    connect(platform, "acme")
    with platform.daemon() as daemon:
        until(lambda: desk.instance.get_backfill("onboard-acme-tempest"), 120, 0.05)
        daemon.kill()
    with platform.daemon():
        until(lambda: platform.dates("refined_15m", "acme") == window(), 200, 0.5)
        until(lambda: not active_backfills(desk.instance), 120, 0.5)
    onboarding = [b for b in desk.instance.get_backfills() if b.backfill_id.startswith("onboard-")]
    assert len(onboarding) == 1
    raw = dg.AssetKey(["tempest", "raw_observations"])
    assert {r.partition_key[-4:] for r in desk.instance.fetch_materializations(raw, limit=50).records} == {"acme"}


def test_the_daily_load_covers_yesterday_and_late_days_once(local_platform: Platform, desk: Desk) -> None:
    from weather_backfill.backfill.onboarding import onboard

    connect(local_platform, "acme")
    yesterday = today() - timedelta(days=1)
    onboard(desk, yesterday)
    assert len(load_daily(desk, today())) == 1
    assert load_daily(desk, today()) == [], "once a day"
    during = {d for part in _manifest_parts(desk, f"daily-acme-tempest-{yesterday}") for d in part}
    assert during == {yesterday}, "the late days are still the onboarding's: no gap and no overlap at the seam"
    for backfill in desk.instance.get_backfills():
        desk.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    load_daily(desk, today() + timedelta(days=1))
    later = {d for part in _manifest_parts(desk, f"daily-acme-tempest-{today()}") for d in part}
    assert later == {yesterday - timedelta(days=1), yesterday}, "late data is read again; today has no data yet"


def test_a_longer_lookback_launches_just_the_missing_days(local_platform: Platform, desk: Desk) -> None:
    from weather_backfill.backfill.onboarding import onboard

    platform = local_platform
    connect(platform, "acme", lookback=5)
    write_tenant(platform.folder / "tenants", "acme", platform.folder / "archive" / "acme", 2)
    onboard(desk, today())
    for day in window(2):
        platform.run(
            "dagster", "asset", "materialize", "-m", "weather_backfill.command_line", "--select",
            "tempest/raw_observations,tempest/refined_15m", "--partition", f"{day}|acme",
        )  # fmt: skip
    write_tenant(platform.folder / "tenants", "acme", platform.folder / "archive" / "acme", 5)
    onboard(desk, today())
    again = {d for part in _manifest_parts(desk, "onboard-acme-tempest.again1") for d in part}
    assert again == window(5) - window(2)


def _manifest_parts(desk: Desk, name: str) -> list[list[date]]:
    from weather_backfill.backfill.records import load_manifest

    manifest = load_manifest(desk.store, name)
    assert manifest is not None
    return manifest.parts
