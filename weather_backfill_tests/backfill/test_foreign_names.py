"""Foreign names in the lake's folders: passed over everywhere, named once, neither deleted nor archived."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from weather_backfill.alerts.incidents import Incident, Register
from weather_backfill.backfill.audit import audit, audit_events
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.coverage import held_days
from weather_backfill.backfill.manifests import ended_summaries, held_manifests, manifests, open_manifests
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.rollback import choose_version
from weather_backfill.dagster.checks.freshness import newest_day
from weather_backfill.lake import compaction, layout, listing, versions
from weather_backfill.lake.journal import Journal
from weather_backfill.lake.warehouse import create_views
from weather_backfill.maintenance import backup, retention
from weather_backfill.model.days import DayRecord
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.quarters import make_quarter
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, finish, load

DAY = "service=tempest/tenant=acme/date=2024-01-01"
STRAYS = [
    *(f"{folder}/{name}" for folder in ("_open", "_held") for name in (".DS_Store", ".nfs000001", "x~", "a/.b")),
    *(f"{folder}/{name}" for folder in ("_backfills", "_audit", "_ledger", "_looks", "_journal", "_versions",
      "_alerts/open", "_alerts/ending", "_alerts/told", "_archive", "_archive/audit/2024-01") for name in
      ("x", ".DS_Store", ".nfs000001", "x~")),
    "_backfills/.hidden/manifest.json", "_backfills/.y/summary.json", "_backfills/onboard-acme-tempest/manifest.json~",
    "_audit/date=2024-01-01/.DS_Store", "_audit/date=2024-01-01/._120000.000000-abcdef01.json",
    "_ledger/date=2024-01-01/._run.json", f"_versions/raw_observations/{DAY}/.DS_Store",
    f"_versions/raw_observations/{DAY}/x.parquet",
    "_journal/run/raw/tenant=acme/.nfs0001", "_cache/dwd/.DS_Store", "_cache/dwd/x/y",
    *(f"{dataset}/service=tempest/tenant=acme/{name}" for dataset in ("raw_observations", "refined_15m") for name in
      (".DS_Store", "x~", "date=x/part.parquet", "date=2024-13-45/part.parquet", "date=2024-01-01/part.parquet~",
       "date=2024-01-01/._part.parquet", "date=2024-01-01/old/part.parquet", "old/date=2024-01-02/part.parquet")),
    "raw_observations/service=tempest/tenant=x~/date=2024-01-01/part.parquet",
]  # fmt: skip


@pytest.fixture
def littered(context: BackfillContext, archive: Path) -> BackfillContext:
    """Two tenants, one onboarded over three loaded days; then foreign files in every folder of records."""
    onboard(context, TODAY)
    load(context, DAYS)
    finish(context)
    audit(context.store, "plan")
    put_strays(context.store)
    return context


def put_strays(store: ObjectStore) -> None:
    for key in STRAYS:
        store.put(key, b"of somebody else")


def test_the_reconciler_loads_everybody(context: BackfillContext) -> None:
    put_strays(context.store)
    tenants = open_tenant_files(context.settings)
    for name in ("._acme.yaml", ".nfs0001.yaml", "acme.yaml~", "README"):
        tenants.put(name, b"of somebody else")
    assert TenantRegistry(tenants).ids() == ["acme-2", "acme"]
    notes = onboard(context, TODAY)
    assert {note for note in notes if "onboarding" in note} == {
        "acme-tempest: onboarding 3 days", "acme-2-tempest: onboarding 3 days"
    }  # fmt: skip
    assert not [note for note in notes if "Error" in note]
    assert {b.backfill_id.split(".")[0] for b in context.instance.get_backfills()} == {
        "onboard-acme-tempest", "onboard-acme-2-tempest"
    }  # fmt: skip


def test_records_are_read_as_if_nothing_lay_beside(littered: BackfillContext) -> None:
    store = littered.store
    assert {m.backfill_id for m in manifests(store)} == {"onboard-acme-tempest", "onboard-acme-2-tempest"}
    assert {m.backfill_id for m in open_manifests(store)} <= {m.backfill_id for m in manifests(store)}
    assert held_manifests(store) == []
    ended_summaries(store)
    assert "plan" in {event["action"] for event in audit_events(store)}
    assert compaction.read(store, layout.AUDIT) == {}
    assert compaction.months(store, layout.AUDIT) == ["2024-01"]
    assert Register(store).open_incidents() == Register(store).ending() == []
    assert sorted(held_days(store, "tempest", "acme")) == DAYS
    assert newest_day(store, "tempest", "acme") == str(DAYS[-1])
    assert listing.tenants(store, layout.RAW_OBSERVATIONS, "tempest") == ["acme"]
    assert make_quarter(store, "tempest", PartitionKey(date(2024, 1, 1), "acme")).facts["source_objects"] == 3


def test_a_day_is_rolled_back_and_refused_for_its_own_reason_alone(littered: BackfillContext) -> None:
    with pytest.raises(ConfigurationError, match=r"has no earlier version"):
        choose_version(littered, "tempest", "acme", DAYS[0], None)
    assert len(versions.versions_of(littered.store, "tempest", PartitionKey(DAYS[0], "acme"))) == 1


def test_views_show_our_files_alone(littered: BackfillContext) -> None:
    with duckdb.connect() as connection:
        create_views(connection, littered.store)
        for view in ("raw_observations", "refined_15m"):
            days = connection.sql(f"SELECT DISTINCT tenant, date FROM {view} ORDER BY ALL").fetchall()
            assert days == [("acme", day) for day in DAYS]
        connection.sql("FROM dataset_versions").fetchall()
        connection.sql("FROM backfill_log").fetchall()


def test_housekeeping_leaves_foreign_files_where_they_are(littered: BackfillContext) -> None:
    much_later = datetime.now(UTC) + timedelta(days=5000)
    found = retention.find(littered.instance, littered.store, littered.settings, now=much_later)
    taken = {key for keys in found.deleted.values() for key in keys}
    taken |= {stored.key for months in found.archived.values() for objects in months.values() for stored in objects}
    assert not taken & set(STRAYS)
    retention.clean(littered.store, found)
    left = {stored.key for stored in littered.store.list()}
    assert set(STRAYS) <= left


def test_a_notification_is_claimed_beside_foreign_files(store: ObjectStore) -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    incident, register = Incident("id", "kind", "summary", now), Register(store)
    store.put(f"_alerts/told/{incident.name}/opened.hook.tmp", b"")
    assert register.claim(incident, "opened", "hook", now)


def test_a_run_clears_its_own_journal_alone(store: ObjectStore) -> None:
    journal = Journal(store, "run", "tempest/raw")
    journal.add(DayRecord(PartitionKey(DAYS[0], "acme"), "k", {}))
    stray = f"{journal.prefix}/tenant=acme/.nfs0001"
    store.put(stray, b"")
    journal.clear()
    assert [stored.key for stored in store.list("_journal")] == [stray]


def test_a_backup_has_its_own_snapshots(store: ObjectStore) -> None:
    store.put("snapshots/20240101T000000.000000Z.json", b"{}")
    for name in ("._20240101T000000.json", "copy of 20240101T000000.json", "x.json"):
        store.put(f"snapshots/{name}", b"")
    assert backup.snapshots(store) == ["snapshots/20240101T000000.000000Z.json"]


def test_a_foreign_name_is_logged_once(store: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put("_open/x~", b"")
    store.put("_open/.marked", b"")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert open_manifests(store) == []
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{store.uri('_open/x~')} has no name of ours and is passed over: move it out of this folder."]
