"""A tenant file appears, and everything else happens by itself: real daemon, real sensors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from weather_backfill.backfill.commands import pause
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import load_daily
from weather_backfill.backfill.launch import native_id
from weather_backfill.backfill.plan import Reprocess, build_plan
from weather_backfill.backfill.status import active_backfills, status_of
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.sources.tempest.source import day_folder
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.clocks import NO_LIBRARY, faketime_library, on_faked_clock
from weather_backfill_tests.e2e.test_operator import weather
from weather_backfill_tests.platform import PROJECT, Platform
from weather_backfill_tests.servers import until

LOOKBACK = 2


@pytest.fixture
def desk(local_platform: Platform) -> Iterator[BackfillContext]:
    local_platform.environment["WEATHER_AUTOMATION"] = "true"
    with local_platform.desk() as made:
        yield made


def today() -> date:
    return datetime.now(UTC).date()


def connect(platform: Platform, tenant: str, lookback: int = LOOKBACK, **connection: Any) -> Path:
    """Put an archive of the last days and a tenant file in place; nothing else. The archive's folder."""
    archive = platform.folder / "archive" / tenant
    plan = SimulatedArchive(tenant, today() - timedelta(days=lookback), today() - timedelta(days=1), 1, 3, 60)
    write_archive(plan, ObjectStore(str(archive)))
    write_tenant(platform.folder / "tenants", tenant, archive, lookback, **connection)
    return archive


def write_tenant(folder: Path, tenant: str, archive: Path, lookback: int, **connection: Any) -> None:
    folder.mkdir(exist_ok=True)
    tempest = {"archive_url": str(archive), "lookback_days": lookback, **connection}
    # In one step, as a careful person would: a tick must not see half a file.
    (folder / f"{tenant}.new").write_text(
        yaml.safe_dump({"id": tenant, "services": {"tempest": tempest}}, explicit_end=True)
    )
    (folder / f"{tenant}.new").rename(folder / f"{tenant}.yaml")


def window(lookback: int = LOOKBACK) -> set[date]:
    return set(days_between(today() - timedelta(days=lookback), today() - timedelta(days=1)))


class Watch:
    """Looks at the instance all the time: the most backfills that were active at once, and who was."""

    def __init__(self, desk: BackfillContext) -> None:
        self.desk, self.most, self._stop = desk, 0, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.wait(0.2):
            self.most = max(self.most, len(active_backfills(self.desk.instance)))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def word(desk: BackfillContext, tenant: str) -> str:
    return status_of(desk.instance, desk.graph, desk.store, f"onboard-{tenant}-tempest").status


def gaps(desk: BackfillContext, platform: Platform, tenant: str) -> list[date]:
    found = TenantRegistry(open_tenant_files(platform.settings)).get(tenant)
    return build_plan(
        desk.instance, desk.settings, found, "tempest", min(window()), max(window()), reprocess=Reprocess.INCOMPLETE
    ).days


def ticks(desk: BackfillContext) -> int:
    """How often `new_connections` has looked."""
    for state in desk.instance.all_instigator_state():
        if state.instigator_name == "new_connections":
            return len(desk.instance.get_ticks(state.instigator_origin_id, state.selector_id))
    return 0


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_waves_of_eight_by_themselves_and_every_verb(local_platform: Platform, desk: BackfillContext) -> None:
    """Sixteen tenants complete untouched. Four more are handled by a person: one whose day is broken, one that is
    paused while it runs, two that are paused and cancelled while they wait.
    """
    platform, waves = local_platform, [[f"tenant-{wave}{n}" for n in range(8)] for wave in (1, 2)]
    platform.environment |= {"WEATHER_AUTOMATION": "false"}  # onboarding alone is looked at, whatever the hour
    platform.run("dagster", "sensor", "start", "new_connections", "-m", "weather_backfill.definitions")
    handled = {"broken-day": 50, "paused-midway": 50, "patient": -50, "quits": -50}
    for tenant in waves[0]:
        connect(platform, tenant)
    archives = {tenant: connect(platform, tenant, priority=priority) for tenant, priority in handled.items()}
    cut = archives["broken-day"] / day_folder(max(window())) / "hour=12" / "cut-off.json.gz"
    cut.write_bytes(b"\x1f\x8b\x08 no more")
    (platform.folder / "tenants" / "broken.yaml").write_text("id: broken\nservices: {tempest: {archive: nowhere}}\n")
    with platform.daemon(), Watch(desk) as watch:
        until(lambda: desk.instance.get_backfill("onboard-paused-midway-tempest"), 120, 0.05)
        assert pause(desk, "onboard-paused-midway-tempest").status in ("pausing", "paused")
        assert weather(platform, "pause", "onboard-patient-tempest")["status"] == "paused"
        assert weather(platform, "cancel", "onboard-quits-tempest")["status"] == "canceled"
        for tenant in waves[1]:
            connect(platform, tenant)
        _mend_and_retry(platform, desk, cut)
        until(lambda: all(word(desk, t) == "completed" for t in [*waves[0], *waves[1]]), 500, 1)
        seen = ticks(desk)
        until(lambda: ticks(desk) >= seen + 2, 60, 0.5)
        assert {t: word(desk, t) for t in archives} == {
            "broken-day": "completed", "paused-midway": "paused", "patient": "paused", "quits": "canceled",
        }  # fmt: skip
        for tenant in ("paused-midway", "patient"):
            _insist(platform, "resume", tenant)
        until(lambda: all(word(desk, t) == "completed" for t in ("paused-midway", "patient")), 200, 1)
        until(lambda: not active_backfills(desk.instance), 120, 0.5)
    assert 1 < watch.most <= 5
    complete = sorted({*waves[0], *waves[1], *archives} - {"quits"})
    natives = [b.backfill_id for b in desk.instance.get_backfills()]
    onboarding = [b for b in natives if b.startswith("onboard-")]
    assert sorted(onboarding) == sorted(
        [f"onboard-{t}-tempest" for t in complete]
        + [native_id("onboard-broken-day-tempest.retry1"), native_id("onboard-paused-midway-tempest.resume1")]
    ), "one native backfill a connection, one more for each time a person asked, none for the one that was cancelled"
    for tenant in complete:
        assert gaps(desk, platform, tenant) == []
        assert platform.dates("refined_15m", tenant) >= window()
    assert sorted(gaps(desk, platform, "quits")) == sorted(window())
    _check_records(platform, complete)


def _insist(platform: Platform, verb: str, tenant: str) -> None:
    """Give a verb by the command line until it is accepted: it is refused while five are active."""

    def accepted() -> bool:
        done = platform.run("weather-backfill", verb, f"onboard-{tenant}-tempest", check=False)
        assert done.returncode == 0 or "5 backfills are active" in " ".join(done.stderr.split()), done.stderr
        return done.returncode == 0

    until(accepted, 240, 1)


def _mend_and_retry(platform: Platform, desk: BackfillContext, cut: Path) -> None:
    """The broken day by the command line: its gap, its retry."""
    name, day = "onboard-broken-day-tempest", max(window())
    until(lambda: word(desk, "broken-day") == "completed with failures", 240, 1)
    assert list(weather(platform, "status", name)["failed_days"]) == [str(day)]
    span = ("--tenant", "broken-day", "--service", "tempest", "--start", str(min(window())), "--end", str(day))
    found = platform.run("weather-backfill", "gaps", *span, "--json", check=False)
    assert (found.returncode, json.loads(found.stdout)) == (1, [{"day": str(day), "reason": "failed"}])
    cut.unlink()
    _insist(platform, "retry", "broken-day")
    until(lambda: word(desk, "broken-day") == "completed", 240, 1)
    assert json.loads(platform.run("weather-backfill", "gaps", *span, "--json").stdout) == []


def _check_records(platform: Platform, complete: list[str]) -> None:
    """The audit names every request that was accepted once, and the report every day."""
    events = weather(platform, "log", "--limit", "500")
    log = [(e["action"], e.get("backfill_id")) for e in events if not str(e.get("outcome")).startswith("refused")]
    for tenant in [*complete, "quits"]:
        assert log.count(("start", f"onboard-{tenant}-tempest")) == 1
    for action, tenant in (
        ("pause", "paused-midway"),
        ("resume", "patient"),
        ("cancel", "quits"),
        ("retry", "broken-day"),
    ):
        assert log.count((action, f"onboard-{tenant}-tempest")) == 1
    page = platform.folder / "report.html"
    span = ("--start", str(min(window())), "--end", str(max(window())))
    rows = weather(platform, "report", "--service", "tempest", *span, "--to", str(page))
    assert {row["tenant"]: row["refined"] for row in rows} == dict.fromkeys(complete, LOOKBACK) | {"quits": 0}
    assert page.read_text().count("<tr>") == len(rows) + 1
    assert page.with_suffix(".png").stat().st_size > 1000


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_next_days_load_follows(local_platform: Platform, desk: BackfillContext) -> None:
    """The daemon and everything it starts live on a clock that we set: tomorrow, four in the morning."""
    if faketime_library() is None:
        pytest.skip(NO_LIBRARY)
    platform, clock, first = local_platform, local_platform.folder / "clock", today()
    archive = connect(platform, "acme")
    write_archive(SimulatedArchive("acme", first, first, 1, 3, 60), ObjectStore(str(archive)))  # what today will bring
    clock.write_text("+0\n")
    platform.environment |= {
        **on_faked_clock(clock), "FAKETIME_NO_CACHE": "1",
        "PYTHONPATH": f"{PROJECT / 'weather_backfill_tests' / 'faked_clock'}:{PROJECT}",
    }  # fmt: skip
    onboarded = set(days_between(first - timedelta(days=LOOKBACK), first - timedelta(days=1)))
    with platform.daemon():
        until(lambda: platform.dates("refined_15m", "acme") == onboarded, 240, 0.5)
        until(lambda: not active_backfills(desk.instance), 120, 0.5)
        assert desk.instance.get_backfill(f"daily-acme-tempest-{first}") is None, "today is not over"
        morning = datetime.combine(first + timedelta(days=1), time(4), UTC)
        clock.write_text(f"+{(morning - datetime.now(UTC)).total_seconds():.0f}\n")
        until(lambda: desk.instance.get_backfill(f"daily-acme-tempest-{first}"), 120, 0.5)
        until(lambda: platform.dates("refined_15m", "acme") == onboarded | {first}, 240, 0.5)
        until(lambda: not active_backfills(desk.instance), 120, 0.5)
    [native] = [b for b in desk.instance.get_backfills() if b.backfill_id == f"daily-acme-tempest-{first}"]
    assert native.status == BulkActionStatus.COMPLETED_SUCCESS
    assert platform.materialized("refined_15m", "acme") == onboarded | {first}
    found = TenantRegistry(open_tenant_files(platform.settings)).get("acme")
    plan = build_plan(
        desk.instance, desk.settings, found, "tempest", min(onboarded), first, reprocess=Reprocess.INCOMPLETE
    )
    assert plan.days == [], "no gap at the seam"


@pytest.mark.timeout(600)
def test_a_daemon_that_dies_launches_nothing_twice(local_platform: Platform, desk: BackfillContext) -> None:
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


def test_the_daily_load_covers_yesterday_and_late_days_once(local_platform: Platform, desk: BackfillContext) -> None:
    from weather_backfill.backfill.reconciler import onboard

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


def test_a_longer_lookback_launches_just_the_missing_days(local_platform: Platform, desk: BackfillContext) -> None:
    from weather_backfill.backfill.reconciler import onboard

    platform = local_platform
    connect(platform, "acme", lookback=5)
    write_tenant(platform.folder / "tenants", "acme", platform.folder / "archive" / "acme", 2)
    onboard(desk, today())
    for day in window(2):
        platform.run(
            "dagster", "asset", "materialize", "-m", "weather_backfill.definitions_single_run", "--select",
            "tempest/raw_observations,tempest/refined_15m", "--partition", f"{day}|acme",
        )  # fmt: skip
    write_tenant(platform.folder / "tenants", "acme", platform.folder / "archive" / "acme", 5)
    onboard(desk, today())
    again = {d for part in _manifest_parts(desk, "onboard-acme-tempest.again1") for d in part}
    assert again == window(5) - window(2)


def _manifest_parts(desk: BackfillContext, name: str) -> list[list[date]]:
    from weather_backfill.backfill.manifests import load_manifest

    manifest = load_manifest(desk.store, name)
    assert manifest is not None
    return manifest.parts
