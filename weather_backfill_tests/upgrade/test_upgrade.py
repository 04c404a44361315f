"""What the first release wrote is opened with today's code: instance, lake, tenants; `make.py` says how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from weather_backfill import reader
from weather_backfill.backfill.audit import audit_events
from weather_backfill.backfill.commands import BackfillContext
from weather_backfill.backfill.manifests import manifests
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import active_backfills
from weather_backfill.lake import layout
from weather_backfill.model.partitions import days_between
from weather_backfill.reader import connect_warehouse
from weather_backfill_tests.backfill.contexts import target_days
from weather_backfill_tests.e2e.test_operator import word
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.servers import until
from weather_backfill_tests.upgrade.make import unpack

TODAY = date(2024, 1, 6)
D1, D2, D3, D4, D5 = days_between(date(2024, 1, 1), date(2024, 1, 5))
DONE = {"acme": {D1, D2, D4}, "borealis": {D1}}
FAILED, WHOLE = "tempest-acme-20240101-20240104-1", "tempest-borealis-20240101-20240101-1"
CANCELED, QUEUED = "tempest-borealis-20240102-20240102-1", "tempest-borealis-20240103-20240103-1"
PAUSED = "tempest-acme-20240105-20240105-1"

ALL = {FAILED, WHOLE, CANCELED, QUEUED, PAUSED}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    unpack("v0.1.0", tmp_path)
    return Platform(tmp_path, str(tmp_path / "lake"))


@pytest.fixture
def desk(platform: Platform) -> Iterator[BackfillContext]:
    with platform.desk() as made:
        yield made


def natives(desk: BackfillContext) -> set[str]:
    return {native.backfill_id for native in desk.instance.get_backfills()}


def weather(platform: Platform, *arguments: str, code: int = 0) -> Any:
    done = platform.run("weather-backfill", *arguments, "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def span(tenant: str, first: date = D1, last: date = D5) -> tuple[str, ...]:
    return "--tenant", tenant, "--service", "tempest", "--start", str(first), "--end", str(last)


def test_days_are_read_and_count_as_done(platform: Platform) -> None:
    platform.run("dagster", "instance", "migrate")
    for tenant, days in DONE.items():
        for dataset in ("raw_observations", "refined_15m"):
            assert platform.materialized(dataset, tenant) == platform.dates(dataset, tenant) == days
    rows = reader.read_refined(tenant="acme", service="tempest", start=D1, end=D2, settings=platform.settings)
    assert set(rows["window_start"].dt.date) == {D1, D2}
    assert rows["mean"].notna().any()
    assert weather(platform, "gaps", *span("acme"), code=1) == [
        {"day": str(D3), "reason": "failed"}, {"day": str(D5), "reason": "missing"},
    ]  # fmt: skip
    assert weather(platform, "plan", *span("acme", D1, D2))["days_total"] == 0


def test_backfills_and_audit_are_read(platform: Platform, desk: BackfillContext) -> None:
    assert {m.backfill_id for m in manifests(desk.store)} == ALL
    assert {name: word(desk, name) for name in (FAILED, WHOLE, CANCELED, QUEUED, PAUSED)} == {
        FAILED: "completed with failures", WHOLE: "completed", CANCELED: "canceling", QUEUED: "running",
        PAUSED: "pausing",
    }  # fmt: skip
    status = weather(platform, "status", FAILED)
    assert (list(status["failed_days"]), status["days_completed"]) == ([str(D3)], 3)
    assert len(weather(platform, "status")) == 5
    log = [(event["action"], event.get("backfill_id")) for event in weather(platform, "log")]
    assert {("start", FAILED), ("cancel", CANCELED), ("pause", PAUSED)} <= set(log)
    report = weather(platform, "report", "--service", "tempest", "--start", str(D1), "--end", str(D5))
    assert {row["tenant"]: row["refined"] for row in report} == {"acme": 3, "borealis": 1}
    [version] = weather(platform, "versions", "--tenant", "acme", "--service", "tempest", "--day", str(D1))
    assert (version["current"], version["code_version"]) == (True, "0.1.0")


def test_views_hold_what_the_old_files_say(platform: Platform) -> None:
    command = ("asset", "materialize", "-m", "weather_backfill.definitions_single_run", "--select", "warehouse")
    platform.run("dagster", *command)
    with connect_warehouse(settings=platform.settings) as views:

        def rows(query: str) -> list[tuple]:
            return views.sql(query).fetchall()

        assert rows("SELECT tenant, count(DISTINCT date) FROM refined_15m GROUP BY ALL ORDER BY ALL") == [
            ("acme", 3), ("borealis", 1),
        ]  # fmt: skip
        written = rows("SELECT dataset, count(*), count(version), any_value(schema_version) FROM dataset_versions "
                       "WHERE dataset IN ('raw_observations', 'refined_15m') GROUP BY 1 ORDER BY 1")  # fmt: skip
        # No release before the ledger says which run wrote a file: its version is null, as docs/operations.md says.
        assert written == [("raw_observations", 4, 0, "1"), ("refined_15m", 4, 0, "1")]
        # As the old release left it: nothing of its sensors ran, so that its summaries are those of the start.
        assert {name for (name,) in rows("SELECT backfill_id FROM backfill_log")} == ALL


def test_the_reconciler_launches_nothing_again(platform: Platform, desk: BackfillContext) -> None:
    """It takes the one day that failed; the others are done, or those of backfills that are under way."""
    before = natives(desk)
    onboard(desk, TODAY)
    assert natives(desk) - before == {"onboard-acme-tempest"}
    assert target_days(desk, "onboard-acme-tempest") == [D3]
    assert {(event["action"], event.get("backfill_id")) for event in audit_events(desk.store)} >= {
        ("ended", FAILED), ("ended", WHOLE),
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_was_under_way_is_gone_on_with(platform: Platform, desk: BackfillContext) -> None:
    """What was under way ends, what failed is retried, what was paused is resumed, and a new backfill follows."""
    cut = platform.folder / "upstream" / "acme" / "year=2024/month=01/day=03/hour=12/cut-off.json.gz"
    cut.unlink()
    with platform.daemon():
        until(lambda: not active_backfills(desk.instance), 250, 0.5)
        assert {name: word(desk, name) for name in (CANCELED, QUEUED, PAUSED)} == {
            CANCELED: "canceled", QUEUED: "completed", PAUSED: "paused",
        }  # fmt: skip
        weather(platform, "retry", FAILED)
        weather(platform, "resume", PAUSED)
        new = weather(platform, "start", *span("borealis", D2, D2), "--yes")["backfill_id"]
        until(lambda: all(word(desk, name) == "completed" for name in (FAILED, PAUSED, new)), 250, 0.5)
    for tenant, days in (("acme", {D1, D2, D3, D4, D5}), ("borealis", {D1, D2, D3})):
        assert platform.materialized("refined_15m", tenant) == platform.dates("refined_15m", tenant) == days
    assert weather(platform, "gaps", *span("acme")) == []
    before = natives(desk)
    onboard(desk, TODAY)
    assert natives(desk) == before, "there is nothing left to do"
    for name in (*ALL - {CANCELED}, new):
        assert json.loads(desk.store.get(layout.summary_key(name)))["status"] == "completed"


def test_a_day_of_the_old_release_is_replaced_and_comes_back(platform: Platform) -> None:
    """Byte for byte."""
    key = f"raw_observations/service=tempest/tenant=acme/date={D1}/part.parquet"
    before = platform.lake.get(key)
    folder = platform.folder / "upstream" / "acme" / "year=2024/month=01/day=01"
    hour = folder / "hour=23" / "station.json"
    hour.write_text(hour.read_text().replace(", 1012, ", ", 1000, "))
    one = ("--select", "tempest/raw_observations,tempest/refined_15m", "--partition", f"{D1}|acme")
    platform.run("dagster", "asset", "materialize", "-m", "weather_backfill.definitions_single_run", *one)
    assert platform.lake.get(key) != before
    day = ("--tenant", "acme", "--service", "tempest", "--day", str(D1))
    weather(platform, "rollback", *day, "--yes")
    assert platform.lake.get(key) == before
    assert len(weather(platform, "versions", *day)) >= 2


def test_old_records_are_archived_and_read_from_there(platform: Platform, desk: BackfillContext) -> None:
    before = len(audit_events(desk.store, 1000))
    done = {row["what"]: row["objects"] for row in weather(platform, "housekeeping", "--days", "0", "--yes")}
    assert done["audit events"] == before
    assert len(audit_events(desk.store, 1000)) == before + 1, "and the clean-up itself"
    assert {FAILED, WHOLE} <= {m.backfill_id for m in manifests(desk.store)}
