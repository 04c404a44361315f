"""What old releases wrote is opened with today's code: instance, lake, tenants; `make.py` says how it was made."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from weather_backfill import reader
from weather_backfill.backfill.audit import audit_events
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import native_id
from weather_backfill.backfill.manifests import manifests
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import active_backfills
from weather_backfill.lake import layout
from weather_backfill.reader import connect_warehouse
from weather_backfill_tests.backfill.contexts import target_days
from weather_backfill_tests.e2e.test_operator import word
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.servers import until
from weather_backfill_tests.upgrade.archived import (
    ARCHIVES,
    D1,
    D2,
    D3,
    D5,
    GAPS,
    Archived,
    materialize,
    natives,
    span,
    weather,
)
from weather_backfill_tests.upgrade.make import unpack


@pytest.fixture(
    params=[pytest.param(old, marks=[] if old.name == "1160759" else [pytest.mark.long]) for old in ARCHIVES], ids=str
)
def old(request: pytest.FixtureRequest) -> Archived:
    return request.param


@pytest.fixture
def platform(old: Archived, tmp_path: Path) -> Platform:
    unpack(old.name, tmp_path)
    return Platform(tmp_path, str(tmp_path / "lake"))


@pytest.fixture
def desk(platform: Platform) -> Iterator[BackfillContext]:
    with platform.desk() as made:
        yield made


def test_days_are_read_and_count_as_done(old: Archived, platform: Platform) -> None:
    platform.run("dagster", "instance", "migrate")
    for tenant, days in old.done.items():
        assert platform.materialized("refined_15m", tenant) == platform.dates("refined_15m", tenant) == days
        assert platform.materialized("raw_observations", tenant) == days
        assert platform.dates("raw_observations", tenant) == days | old.unrecorded.get(tenant, set())
    rows = reader.read_refined(tenant="acme", service="tempest", start=D1, end=D2, settings=platform.settings)
    assert set(rows["window_start"].dt.date) == {D1, D2}
    assert rows["mean"].notna().any()
    assert weather(platform, "gaps", *span("acme"), code=1) == GAPS
    assert weather(platform, "plan", *span("acme", D1, D2))["days_total"] == 0


def test_backfills_and_audit_are_read(old: Archived, platform: Platform, desk: BackfillContext) -> None:
    assert {m.backfill_id for m in manifests(desk.store)} == old.words.keys()
    assert {name: word(desk, name) for name in old.words} == old.words
    status = weather(platform, "status", old.failed)
    assert (list(status["failed_days"]), status["days_completed"]) == ([str(D3)], 3)
    assert {row["backfill_id"] for row in weather(platform, "status")} == old.words.keys()
    assert {(event["action"], event.get("backfill_id")) for event in weather(platform, "log")} >= old.log
    report = weather(platform, "report", "--service", "tempest", "--start", str(D1), "--end", str(D5))
    assert {row["tenant"]: row["refined"] for row in report} == {name: len(days) for name, days in old.done.items()}
    [version] = weather(platform, "versions", "--tenant", "acme", "--service", "tempest", "--day", str(D1))
    assert (version["current"], version["code_version"]) == (True, "0.1.0")


def test_views_hold_what_the_old_files_say(old: Archived, platform: Platform) -> None:
    materialize(platform, "warehouse")
    with connect_warehouse(settings=platform.settings) as views:

        def rows(query: str) -> list[tuple]:
            return views.sql(query).fetchall()

        days = (
            "SELECT tenant, count(DISTINCT date) FROM refined_15m WHERE service = 'tempest' GROUP BY ALL ORDER BY ALL"
        )
        assert rows(days) == [(tenant, len(done)) for tenant, done in sorted(old.done.items())]
        written = rows("SELECT dataset, count(*), count(version), any_value(schema_version) FROM dataset_versions "
                       "WHERE dataset IN ('raw_observations', 'refined_15m') GROUP BY 1 ORDER BY 1")  # fmt: skip
        assert written == old.versions
        # As the old release left it: nothing of today's sensors ran, so that its summaries are its own.
        assert {name for (name,) in rows("SELECT backfill_id FROM backfill_log")} == old.words.keys()


def test_the_reconciler_launches_nothing_again(old: Archived, platform: Platform, desk: BackfillContext) -> None:
    """It takes the one day that failed, and what waited; the others are done, put off, or under way."""
    onboard(desk, old.today)  # the first look at files that do not say where they end
    before = natives(desk)
    onboard(desk, old.today)
    assert natives(desk) - before == {"onboard-acme-tempest"} | set(map(native_id, old.waiting)) | old.onboarded
    assert target_days(desk, "onboard-acme-tempest") == [D3]
    ended = {name for name, how in old.words.items() if how.startswith("completed")}
    told = Counter(event.get("backfill_id") for event in audit_events(desk.store, 1000) if event["action"] == "ended")
    assert {name: told[name] for name in ended} == dict.fromkeys(ended, 1)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_was_under_way_is_gone_on_with(old: Archived, platform: Platform, desk: BackfillContext) -> None:
    """What was under way ends, what failed is retried, what was paused is resumed, and a new backfill follows."""
    cut = platform.folder / "upstream" / "acme" / "year=2024/month=01/day=03/hour=12/cut-off.json.gz"
    cut.unlink()
    written = {}
    for tenant, days in old.unrecorded.items():  # not fetched again: the archive no longer has it
        for day in days:
            written |= {
                o.key: platform.lake.get(o.key) for o in platform.lake.list("raw_observations") if str(day) in o.key
            }
            for hour in (platform.folder / "upstream" / tenant / f"{day:year=%Y/month=%m/day=%d}").glob("hour=[01]?"):
                shutil.rmtree(hour)
    canceled, free = old.canceled
    with platform.daemon():
        until(lambda: not active_backfills(desk.instance), 250, 0.5)
        assert {name: word(desk, name) for name in old.settled} == old.settled
        weather(platform, "retry", old.failed)
        weather(platform, "resume", old.paused)
        new = weather(platform, "start", *span("borealis", free, free), "--yes")["backfill_id"]
        onboard(desk, old.today)  # the first look, as above
        before = natives(desk)
        onboard(desk, old.today)
        assert natives(desk) - before == set(map(native_id, old.waiting))
        names = {old.failed, old.paused, new, *old.waiting}
        until(lambda: all(word(desk, name) == "completed" for name in names), 250, 0.5)
    for tenant, days in old.upstream.items():
        assert platform.materialized("refined_15m", tenant) == platform.dates("refined_15m", tenant) == days
    assert weather(platform, "gaps", *span("acme")) == []
    assert {name: platform.lake.get(name) for name in written} == written
    assert platform.lake.list("_journal") == []
    before = natives(desk)
    onboard(desk, old.today)
    assert natives(desk) == before, "there is nothing left to do"
    for name in (*old.words.keys() - {canceled}, new):
        assert json.loads(desk.store.get(layout.summary_key(name)))["status"] == "completed"


def test_a_day_of_the_old_release_is_replaced_and_comes_back(platform: Platform) -> None:
    """Byte for byte."""
    key = f"raw_observations/service=tempest/tenant=acme/date={D1}/part.parquet"
    before = platform.lake.get(key)
    folder = platform.folder / "upstream" / "acme" / "year=2024/month=01/day=01"
    hour = folder / "hour=23" / "station.json"
    hour.write_text(hour.read_text().replace(", 1012, ", ", 1000, "))
    materialize(platform, "tempest/raw_observations,tempest/refined_15m", "--partition", f"{D1}|acme")
    assert platform.lake.get(key) != before
    day = ("--tenant", "acme", "--service", "tempest", "--day", str(D1))
    weather(platform, "rollback", *day, "--yes")
    assert platform.lake.get(key) == before
    assert len(weather(platform, "versions", *day)) >= 2


def test_old_records_are_archived_and_read_from_there(old: Archived, platform: Platform, desk: BackfillContext) -> None:
    before = len(audit_events(desk.store, 1000))
    done = {row["what"]: row["objects"] for row in weather(platform, "housekeeping", "--days", "0", "--yes")}
    assert done["audit events"] == before
    assert len(audit_events(desk.store, 1000)) == before + 1, "and the clean-up itself"
    assert old.words.keys() <= {m.backfill_id for m in manifests(desk.store)}
    assert old.log <= {(event["action"], event.get("backfill_id")) for event in audit_events(desk.store, 1000)}
