"""Housekeeping shows first, deletes what is old on demand, and leaves journals of runs that are still going."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from weather_backfill.alerts.incidents import Incident, Register
from weather_backfill.backfill.audit import audit, audit_events
from weather_backfill.backfill.manifests import (
    ManifestState,
    close,
    find_manifest,
    load_manifest,
    manifests,
    open_manifests,
    save_manifest,
)
from weather_backfill.dagster.schedules import build_housekeeping
from weather_backfill.lake import compaction, layout
from weather_backfill.lake.warehouse import create_views
from weather_backfill.maintenance.retention import clean, find
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.backfill.test_open_manifests import manifest
from weather_backfill_tests.lake.test_versions import OBJECT, Dying, Killed, write
from weather_backfill_tests.platform import Platform


def said(platform: Platform, *options: str) -> Any:
    return json.loads(platform.run("weather-backfill", "housekeeping", *options, "--json").stdout)


def counts(rows: Any) -> dict[str, int]:
    return {row["what"]: row["objects"] for row in rows}


def test_a_dry_run_first_and_only_what_is_old(local_platform: Platform) -> None:
    platform, store = local_platform, local_platform.lake
    write(store, 1.0, rejects=1)
    current = write(store, 2.0)
    with platform.instance as instance:
        ended = create_run_for_test(instance, status=DagsterRunStatus.SUCCESS).run_id
        going = create_run_for_test(instance, status=DagsterRunStatus.STARTED).run_id
    journals = [f"{layout.journal_prefix(run, 'tempest/x')}/tenant=acme/2024-01-01.json" for run in (ended, going)]
    for key in journals:
        store.put(key, b"{}")
    assert set(counts(said(platform, "--yes")).values()) == {0}, "nothing is 30 days old"
    old = {"versions": 2, "journals": 1}
    assert old.items() <= counts(said(platform, "--days", "0")).items()
    assert len(store.list(layout.VERSIONS)) == 2
    assert old.items() <= counts(said(platform, "--days", "0", "--yes")).items()
    assert dict.fromkeys(old, 0).items() <= counts(said(platform, "--days", "0", "--yes")).items()
    assert (store.list(layout.VERSIONS), store.get(OBJECT)) == ([], current)
    assert not store.exists(journals[0])
    assert store.exists(journals[1]), "a run that is going may still resume from its journal"


NOW = datetime(2026, 6, 15, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=40), NOW - timedelta(days=10)


def date_all(store: ObjectStore, prefix: str, moment: datetime) -> None:
    """Set the time of all objects below a prefix."""
    assert store.folder
    for stored in store.list(prefix):
        os.utime(store.folder / stored.key, (moment.timestamp(),) * 2)


def ended(store: ObjectStore, name: str, moment: datetime, state: str = "active") -> None:
    save_manifest(store, replace(manifest(name), state=state))
    store.put(layout.summary_key(name), json.dumps({"backfill_id": name, "status": "completed"}).encode())
    close(store, name)
    date_all(store, f"{layout.BACKFILLS}/{name}", moment)


def event(store: ObjectStore, number: int, moment: datetime) -> None:
    key = layout.audit_key(moment + timedelta(seconds=number), f"{number:08}")
    store.put(key, json.dumps({"action": "old", "number": number}).encode())
    date_all(store, key.rsplit("/", 1)[0], moment)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def lake(tmp_path) -> ObjectStore:
    """Records of every age and kind, in a local folder whose times can be set."""
    store = ObjectStore(str(tmp_path / "lake"))
    open_manifests(store)  # a lake of this release has its markers
    for name in ("done-1", "done-2", "onboard-acme-tempest"):
        ended(store, name, OLD)
    ended(store, "young", YOUNG)
    ended(store, "held", OLD, ManifestState.CANCELED)
    save_manifest(store, manifest("open"))
    date_all(store, f"{layout.BACKFILLS}/open", OLD)
    for number in range(3):
        event(store, number, OLD)
    event(store, 3, YOUNG)
    return store


def log_of(store: ObjectStore) -> list[str]:
    with duckdb.connect() as connection:
        create_views(connection, store)
        return [row[0] for row in connection.execute("SELECT backfill_id FROM backfill_log ORDER BY 1").fetchall()]


def seen(store: ObjectStore) -> tuple[list[str], list[str], list[int]]:
    """What operators see: backfills by the view and by id, the audit newest first."""
    numbers = [e["number"] for e in audit_events(store) if e["action"] == "old"]
    return log_of(store), sorted(m.backfill_id for m in manifests(store)), numbers


def run(instance: dg.DagsterInstance, store: ObjectStore, listed: ObjectStore | None = None) -> dict[str, Any]:
    found = find(instance, listed or store, Settings(), now=NOW)
    clean(store, found)
    return found.counts()


def test_old_records_are_archived_and_read_as_before(instance: dg.DagsterInstance, lake: ObjectStore) -> None:
    before = seen(lake)
    assert before[0] == ["done-1", "done-2", "held", "onboard-acme-tempest", "young"]
    done = run(instance, lake)
    assert (done["backfills"], done["audit events"]) == (("archive", 4), ("archive", 3))
    kept = {o.key.split("/")[1] for o in lake.list(layout.BACKFILLS)} - {layout.NOTHING}
    assert kept == {"onboard-acme-tempest", "young", "held", "open"}
    assert seen(lake) == before
    assert [e["number"] for e in audit_events(lake, 3) if e["action"] == "old"] == [3, 2], "the clean-up's comes first"
    assert load_manifest(lake, "done-1") is None
    assert find_manifest(lake, "done-1") == manifest("done-1")
    assert run(instance, lake)["backfills"] == ("archive", 0)
    save_manifest(lake, replace(manifest("done-1"), state="paused"))  # somebody goes on with it
    assert (find_manifest(lake, "done-1") or manifest("x")).state == "paused"
    assert seen(lake) == before


def test_months_are_one_archive_and_the_latest_line_counts(instance: dg.DagsterInstance, lake: ObjectStore) -> None:
    run(instance, lake)
    ended(lake, "done-1", OLD + timedelta(hours=1), ManifestState.CANCELED)
    lake.delete(layout.held_key("done-1"))
    ended(lake, "done-3", OLD + timedelta(hours=2))
    run(instance, lake)
    [month] = compaction.months(lake, layout.BACKFILLS)
    assert len(lake.list(layout.archive_prefix(layout.BACKFILLS, month))) == 1
    found = find_manifest(lake, "done-1")
    assert found is not None
    assert found.state == ManifestState.CANCELED
    assert find_manifest(lake, "done-3") is not None


class DyingAtDelete(Dying):
    """A store whose process is killed just before its nth deletion."""

    def put(self, key: str, data: bytes) -> Any:
        return ObjectStore.put(self, key, data)

    def delete(self, keys: Any) -> None:
        for key in [keys] if isinstance(keys, str) else keys:
            self.left -= 1
            if self.left < 0:
                raise Killed
            super().delete(key)


@pytest.mark.parametrize("kind", [Dying, DyingAtDelete])
@pytest.mark.parametrize("left", range(4))
def test_killed_anywhere_nothing_is_lost_or_doubled(
    instance: dg.DagsterInstance, lake: ObjectStore, kind: type[Dying], left: int
) -> None:
    before = seen(lake)
    dying = kind(lake.url)
    dying.left = left
    try:
        run(instance, dying, lake)
    except Killed:
        assert seen(lake) == before
    run(instance, lake)
    assert seen(lake) == before
    assert not lake.list(f"{layout.BACKFILLS}/done-1")


def test_what_was_told_of_what_is_over_goes(instance: dg.DagsterInstance, tmp_path) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    register = Register(store)
    lasting, over = (Incident(name, "kind", "summary", OLD) for name in ("lasting", "over"))
    for incident in (lasting, over):
        register.open(incident)
        key = register.claim(incident, "opened", "log", OLD)
        assert key
        register.sent(key, "text")
    register.end(over)
    date_all(store, layout.TOLD, OLD)
    assert run(instance, store)["told alerts"] == ("delete", 0), "not every channel knows the end yet"
    register.forget(over)
    assert run(instance, store)["told alerts"] == ("delete", 1)
    assert register.told(lasting, "opened", "log"), "else it would be told again"


def test_the_schedule_runs_the_same(instance: dg.DagsterInstance, tmp_path) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    audit(store, "old", number=1)
    settings = Settings(storage_url=store.url, keep_records_days=0)
    schedule = build_housekeeping(settings)
    assert (schedule.cron_schedule, schedule.default_status) == ("30 5 * * *", dg.DefaultScheduleStatus.RUNNING)
    stopped = build_housekeeping(Settings(automation=False))
    assert stopped.default_status == dg.DefaultScheduleStatus.STOPPED
    job = schedule.job
    assert isinstance(job, dg.JobDefinition)
    assert job.execute_in_process(instance=instance).success
    assert [e["action"] for e in audit_events(store)] == ["housekeeping", "old"]
    assert len(store.list(layout.AUDIT)) == 1, "the old one is in the archive"


def test_what_a_killed_write_has_left_goes_and_a_write_that_is_going_stays(
    instance: dg.DagsterInstance, tmp_path
) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    for name, age in (("old", timedelta(days=2)), ("going", timedelta(minutes=5))):
        store.put(f"_staging/{name}", b"half a day")
        moment = (datetime.now(UTC) - age).timestamp()
        os.utime(tmp_path / "lake/_staging" / name, (moment, moment))
    found = find(instance, store, Settings(), days=0)
    assert found.counts()["unfinished writes"] == ("delete", 1)
    clean(store, found)
    assert [o.key for o in store.list("_staging")] == ["_staging/going"]
