"""The reconciler dies at every point, runs twice at once, is cancelled meanwhile: each connection is launched once.

No daemon: passes of `onboard` over a real instance. What dies is the process as a whole, so the injected crash is a
`BaseException`, raised before or after every single write to the lake and to Dagster.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_backfill.backfill import launching
from weather_backfill.backfill.audit import audit_events
from weather_backfill.backfill.commands import cancel, pause, resume, retry
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import fill_gaps, load_daily
from weather_backfill.backfill.manifests import load_manifest, manifests
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import natives_of, status_of, target_of
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, finish, load, opened, target_days, write_tenant
from weather_backfill_tests.backfill.killing import killed_at_every_write, on_every_write

IDS = ["onboard-acme-tempest", "onboard-acme-tempest.2", "onboard-acme-tempest.3", "onboard-acme-2-tempest"]


def check_launched_once(context: BackfillContext) -> None:
    """One manifest a connection, its parts launched once each over its days, one audit event, and no leftovers."""
    found = {m.backfill_id: m for m in manifests(context.store)}
    assert sorted(found) == ["onboard-acme-2-tempest", "onboard-acme-tempest"]
    assert found["onboard-acme-tempest"].parts == [[day] for day in DAYS[::-1]]
    assert found["onboard-acme-2-tempest"].parts == [DAYS[::-1]]
    natives = context.instance.get_backfills()
    assert sorted(native.backfill_id for native in natives) == sorted(IDS)
    targets = Counter(str(key) for native in natives for key in target_of(native, context.graph))
    assert targets == Counter(f"{day}|{tenant}" for day in DAYS for tenant in ("acme", "acme-2"))
    started = Counter(event["backfill_id"] for event in audit_events(context.store) if event["action"] == "start")
    assert started == Counter(found.keys())
    assert all(context.store.exists(layout.summary_key(name)) for name in found)


def test_an_undisturbed_pass_and_nothing_new_after_it(context: BackfillContext) -> None:
    onboard(context, TODAY)
    check_launched_once(context)
    assert onboard(context, TODAY) == []
    check_launched_once(context)


@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.long), "after"])
def test_killed_at_every_write_and_run_again(
    tmp_path: Path, archive: Path, definitions: dg.Definitions, moment: str
) -> None:
    writes = 0
    for context in killed_at_every_write(
        moment,
        lambda number: opened(tmp_path / str(number), archive, definitions),
        lambda context: onboard(context, TODAY),
    ):
        onboard(context, TODAY)
        check_launched_once(context)
        onboard(context, TODAY)
        check_launched_once(context)
        writes += 1
    assert writes >= 12, "a pass writes manifests, events, summaries, partitions and backfills"


def test_passes_at_once_launch_once(context: BackfillContext) -> None:
    """Three passes begin at once; of manifests and of launches, no two are written at one time."""
    begin, counting = threading.Barrier(3), threading.Lock()
    under_way, most = Counter[str](), Counter[str]()

    def count(by: int, target: str) -> None:
        kind = "launch" if "PartitionBackfill" in target else target if "manifest" in target else ""
        with counting:
            under_way[kind] += by
            most[kind] = max(most[kind], under_way[kind])

    def one_pass() -> None:
        begin.wait(60)
        onboard(context, TODAY)

    with on_every_write(partial(count, 1), partial(count, -1)), ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(one_pass) for _ in range(3)]:
            future.result()
    onboard(context, TODAY)
    check_launched_once(context)
    del most[""]
    assert len(most) == 3, "two manifests, and the launches"
    assert set(most.values()) == {1}


def test_days_of_a_run_that_died_have_failed(context: BackfillContext) -> None:
    name = "onboard-acme-2-tempest"
    onboard(context, TODAY)
    load(context, DAYS[:1], tenant="acme-2")
    native = context.instance.get_backfill(name)
    assert native
    context.instance.update_backfill(native.with_status(BulkActionStatus.COMPLETED_FAILED).with_end_timestamp(1.0))
    status = status_of(context.instance, context.graph, context.store, name)
    assert status.status == "completed with failures"
    assert sorted(status.failed) == DAYS[1:]
    assert "killed" in status.failed[DAYS[1]]
    assert retry(context, name).status == "running"
    assert target_days(context, f"{name}.retry1") == DAYS[1:]
    assert status_of(context.instance, context.graph, context.store, name).failed == {}, "they are being tried again"


def test_a_cancelled_onboarding_stays_cancelled(context: BackfillContext) -> None:
    """By us or by a click in Dagster: neither the sensor nor the daily load nor the gap filler takes its days."""
    onboard(context, TODAY)
    assert cancel(context, "onboard-acme-tempest").status == "canceling"
    [other] = natives_of(context.instance, "onboard-acme-2-tempest")
    assert other.status == BulkActionStatus.REQUESTED, "the other tenant's goes on"
    context.instance.update_backfill(other.with_status(BulkActionStatus.CANCELING))  # the click
    finish(context)
    notes = onboard(context, TODAY)
    assert "onboard-acme-tempest: canceled" in notes
    for name in ("onboard-acme-tempest", "onboard-acme-2-tempest"):
        assert status_of(context.instance, context.graph, context.store, name).status == "canceled"
    assert onboard(context, TODAY) == []
    fill_gaps(context, TODAY)
    assert len(context.instance.get_backfills()) == len(IDS)
    load_daily(context, TODAY + timedelta(days=1))
    assert target_days(context, "daily-acme-tempest-2024-01-04") == [TODAY], "what comes after it is loaded"
    with pytest.raises(ConfigurationError, match="ended already: there is nothing to cancel"):
        cancel(context, "onboard-acme-tempest")
    assert resume(context, "onboard-acme-tempest").status == "running", "until a person wants it again"
    assert target_days(context, "onboard-acme-tempest.resume3") == DAYS


def test_a_paused_onboarding_waits_for_resume(tmp_path: Path, archive: Path, definitions: dg.Definitions) -> None:
    with opened(tmp_path, archive, definitions, max_active_backfills=2) as context:
        onboard(context, TODAY)
        assert len(context.instance.get_backfills()) == 2, "one of each tenant"
        assert pause(context, "onboard-acme-tempest").status == "pausing"
        with pytest.raises(ConfigurationError, match="still pausing"):
            resume(context, "onboard-acme-tempest")
        finish(context)
        with pytest.raises(ConfigurationError, match=r"is paused: .*resume"):
            retry(context, "onboard-acme-tempest")
        onboard(context, TODAY)
        fill_gaps(context, TODAY)
        mine = [b.backfill_id for b in context.instance.get_backfills() if "-acme-tempest" in b.backfill_id]
        assert mine == ["onboard-acme-tempest"], "nothing goes on by itself"
        assert status_of(context.instance, context.graph, context.store, "onboard-acme-tempest").status == "paused"
        assert resume(context, "onboard-acme-tempest").status == "running"
        finish(context)
        onboard(context, TODAY)
        natives = natives_of(context.instance, "onboard-acme-tempest")
        days = Counter(key.date for native in natives for key in target_of(native, context.graph))
        assert days == Counter({DAYS[2]: 2, DAYS[1]: 1, DAYS[0]: 1}), "the day that was cut short, and the rest"


def test_a_cancel_between_a_look_and_a_launch_wins(context: BackfillContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass has read an active manifest; before its launch is there, a person cancels and sees nothing to cancel."""
    launch = launching.launch_backfill

    def cancelled_meanwhile(*args: Any, **more: Any) -> str:
        if more["tenant"] == "acme" and load_manifest(context.store, "onboard-acme-tempest").state == "active":  # type: ignore[union-attr]
            cancel(context, "onboard-acme-tempest")
        return launch(*args, **more)

    monkeypatch.setattr(launching, "launch_backfill", cancelled_meanwhile)
    onboard(context, TODAY)
    assert {n.status for n in natives_of(context.instance, "onboard-acme-tempest")} == {BulkActionStatus.CANCELING}
    assert {n.status for n in natives_of(context.instance, "onboard-acme-2-tempest")} == {BulkActionStatus.REQUESTED}


def test_a_service_that_is_switched_off_stops_and_on_again_loads_what_is_missing(
    context: BackfillContext, archive: Path
) -> None:
    settings = context.settings
    onboard(context, TODAY)
    write_tenant(settings, "acme", archive, chunk_days=1, enabled=False)
    open_tenant_files(settings).delete("acme-2.yaml")
    open_tenant_files(settings).put("broken.yaml", b"id: [")
    notes = onboard(context, TODAY) + onboard(context, TODAY)  # a file that is gone counts at the second look
    assert len([note for note in notes if "stopped" in note]) == 2
    assert {b.status for b in context.instance.get_backfills()} == {BulkActionStatus.CANCELING}
    finish(context)
    assert status_of(context.instance, context.graph, context.store, "onboard-acme-2-tempest").status == "stopped"
    onboard(context, TODAY)
    assert len(context.instance.get_backfills()) == len(IDS), "nothing is launched while it is off"
    write_tenant(settings, "acme", archive)
    onboard(context, TODAY)
    assert target_days(context, "onboard-acme-tempest.again1") == DAYS
    onboard(context, TODAY)
    assert len(context.instance.get_backfills()) == len(IDS) + 1, "once"


def test_an_end_is_told_once_and_a_tenant_that_is_gone_is_not_gone_on_with(
    context: BackfillContext, archive: Path
) -> None:
    """A done onboarding is marked when its tenant goes and comes back; a stopped one takes no resume and no retry."""

    def ends() -> Counter[str]:
        return Counter(e["backfill_id"] for e in audit_events(context.store) if e["action"] == "ended")

    onboard(context, TODAY)
    load(context, DAYS, tenant="acme-2")
    finish(context, "onboard-acme-2-tempest")
    onboard(context, TODAY)
    done = Counter(["onboard-acme-2-tempest"])
    assert ends() == done
    files = open_tenant_files(context.settings)
    text = files.get("acme.yaml")
    for name in ("acme-2.yaml", "acme.yaml"):
        files.delete(name)
    files.put("broken.yaml", b"id: [")
    onboard(context, TODAY)
    onboard(context, TODAY)
    finish(context)
    onboard(context, TODAY)
    stopped = done + Counter(["onboard-acme-tempest"])
    assert ends() == stopped
    for go_on in (resume, retry):
        with pytest.raises(ConfigurationError, match="tenant 'acme' is not known"):
            go_on(context, "onboard-acme-tempest")
    files.put("acme.yaml", text.replace(b"chunk_days", b"enabled: false\n    chunk_days"))
    with pytest.raises(ConfigurationError, match="switched 'tempest' off"):
        resume(context, "onboard-acme-tempest")
    write_tenant(context.settings, "acme-2", archive)
    onboard(context, TODAY)
    onboard(context, TODAY)
    assert ends() == stopped
    assert status_of(context.instance, context.graph, context.store, "onboard-acme-2-tempest").status == "completed"


def test_a_broken_file_stops_nothing_that_runs(context: BackfillContext) -> None:
    onboard(context, TODAY)
    open_tenant_files(context.settings).put("acme.yaml", b"id: [")
    [note] = onboard(context, TODAY)
    assert "acme.yaml is not YAML" in note
    assert {b.status for b in context.instance.get_backfills()} == {BulkActionStatus.REQUESTED}


def test_a_connection_without_data_yet_is_looked_at_again(
    context: BackfillContext, archive: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    write_tenant(context.settings, "acme", empty)
    assert any("has upstream data" in note for note in onboard(context, TODAY))
    write_archive(SimulatedArchive("acme", DAYS[1], DAYS[2], 1, 3, 60), ObjectStore(str(empty)))
    onboard(context, TODAY, datetime.now(UTC) + timedelta(minutes=1))
    assert target_days(context, "onboard-acme-tempest") == DAYS[1:]


def test_a_lookback_beyond_the_first_partition_ends_there(
    tmp_path: Path, archive: Path, definitions: dg.Definitions
) -> None:
    with opened(tmp_path, archive, definitions, first_day={"tempest": "2024-01-02"}) as context:
        write_tenant(context.settings, "acme", archive, lookback_days=36_500)
        onboard(context, TODAY)
        assert target_days(context, "onboard-acme-tempest") == DAYS[1:]


def test_tenant_files_that_are_all_gone_stop_nothing_and_are_told_of(context: BackfillContext, tmp_path: Path) -> None:
    """A folder that is not mounted is not there, or it is there and empty."""
    onboard(context, TODAY)
    folder = open_tenant_files(context.settings).folder
    assert folder
    folder.rename(tmp_path / "elsewhere")
    for mount_point in (False, True):
        if mount_point:
            folder.mkdir()
        for reconcile in (onboard, load_daily, fill_gaps):
            notes = reconcile(context, TODAY)
            assert any(("is it mounted" if mount_point else "is not there: mount it") in note for note in notes), notes
        assert {b.status for b in context.instance.get_backfills()} == {BulkActionStatus.REQUESTED}
        assert folder.exists() == mount_point
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    assert not any("mount" in note for note in onboard(context, TODAY))


def test_an_archive_that_is_not_there_is_no_archive_without_data(context: BackfillContext, tmp_path: Path) -> None:
    write_tenant(context.settings, "acme", tmp_path / "not-mounted")
    assert any("not-mounted" in note and "it is not there" in note for note in onboard(context, TODAY))
    assert not (tmp_path / "not-mounted").exists()
