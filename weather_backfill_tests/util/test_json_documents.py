"""One damaged object of ours costs what it says and nothing else: it is passed over, named, or counted anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from weather_backfill.alerts.incidents import OPENED, Incident, Register
from weather_backfill.alerts.reconcile import reconcile_alerts
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.manifests import find_manifest, manifests, open_manifests
from weather_backfill.backfill.restatements import held_files
from weather_backfill.backfill.rollback import choose_version
from weather_backfill.catalog.chunked_registration import ChunkState, RegistrationPlan, load
from weather_backfill.catalog.tables import Table
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.lake.writer import write_day
from weather_backfill.maintenance.retention import clean, find
from weather_backfill.model.days import DayTable
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.monitoring.counters import Counters
from weather_backfill.monitoring.exporter import PlatformCollector
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.lake.test_versions import KEY, write
from weather_backfill_tests.maintenance.test_retention import OLD, event
from weather_backfill_tests.platform import START
from weather_backfill_tests.refine.test_windows import raw_table

NOW = datetime(2026, 6, 15, tzinfo=UTC)
DEEP = b"[" * 100_000
BAD = [b"", b"{", b"[]", b"null", b'{"opened_at": 1}', b"\xff\xfe", b'{"sums": NaN}', DEEP]
KNOWN = Incident("kept", "tenant_file", "the tenant file is broken", NOW)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[BackfillContext]:
    settings = Settings(
        storage_url=str(tmp_path / "lake"), tenants_url=str(tmp_path / "tenants"), limits_url=str(tmp_path / "limits")
    )
    with dg.instance_for_test() as instance:
        yield BackfillContext(instance, build_definitions(settings), settings)


def incident_of(desk: BackfillContext) -> Incident:
    """The one incident there is about a broken tenant file."""
    [found] = [incident for incident in Register(desk.store).open_incidents() if incident.kind == "tenant_file"]
    return found


def test_a_damaged_incident_silences_no_other(desk: BackfillContext) -> None:
    register = Register(desk.store)
    assert register.open(KNOWN)
    for number, bad in enumerate(BAD):
        for folder in ("open", "ending"):
            desk.store.put(f"{layout.ALERTS}/{folder}/x{number}.json", bad)
        assert [incident.id for incident in register.open_incidents()] == ["kept"], bad[:20]
        assert register.ending() == [], bad[:20]
    open_tenant_files(desk.settings).put("acme.yaml", b"id: [")
    assert any("acme.yaml is broken" in note for note in reconcile_alerts(desk))


def test_a_damaged_incident_is_opened_anew_and_a_damaged_entry_told_again(desk: BackfillContext) -> None:
    open_tenant_files(desk.settings).put("acme.yaml", b"id: [")
    reconcile_alerts(desk)
    first = incident_of(desk)
    desk.store.put(f"{layout.ALERTS}/open/{first.id}.json", b"{")
    assert any("acme.yaml is broken" in note for note in reconcile_alerts(desk))
    again = incident_of(desk)
    assert again.opened_at > first.opened_at
    assert reconcile_alerts(desk) == []
    [entry] = [o.key for o in desk.store.list(f"{layout.TOLD}/{again.name}")]
    desk.store.put(entry, b'{"sent": ')
    register = Register(desk.store)
    assert register.claim(again, OPENED, "log", datetime.now(UTC)) is not None, "nobody knows whether it was told"


def test_an_incident_that_can_be_read_is_opened_once(desk: BackfillContext) -> None:
    register = Register(desk.store)
    assert register.open(KNOWN)
    assert not register.open(KNOWN)
    assert register.open_incidents() == [KNOWN]


def test_housekeeping_goes_on_past_damaged_incidents_and_archives(desk: BackfillContext) -> None:
    store = desk.store
    for number, bad in enumerate(BAD):
        store.put(f"{layout.ALERTS}/open/x{number}.json", bad)
    event(store, 1, OLD)
    damaged = f"{layout.archive_prefix(layout.AUDIT, f'{OLD:%Y-%m}')}/0000.jsonl"
    store.put(damaged, b"{")
    told = f"{layout.TOLD}/gone/opened.log.1.json"
    store.put(told, b"{}")
    store.put(layout.look_key("gaps", "gone-tempest"), b"{}")
    found = find(desk.instance, store, desk.settings, now=datetime.now(UTC) + timedelta(days=100))
    clean(store, found)
    assert not store.exists(told), "what comes before and after is cleaned up"
    assert store.list(layout.LOOKS) == [], "looks at connections that are gone are nobody's"
    assert store.exists(damaged), "what is damaged is not replaced by what can be read of it"
    events = [o.key for o in store.list(layout.AUDIT)]
    assert layout.audit_key(OLD + timedelta(seconds=1), f"{1:08}") in events, "nor does anything go that it would take"


def test_a_damaged_archive_hides_only_itself(desk: BackfillContext) -> None:
    store = desk.store
    open_manifests(store)
    key = layout.manifest_key("gone")
    line = json.dumps({"key": key, "modified": NOW.isoformat(), "body": {"backfill_id": "gone"}})
    store.put(f"{layout.archive_prefix(layout.BACKFILLS, '2026-01')}/1.jsonl", line.encode())
    store.put(f"{layout.archive_prefix(layout.BACKFILLS, '2026-02')}/2.jsonl", b"{")
    assert manifests(store) == []
    assert find_manifest(store, "another") is None
    with pytest.raises(UnreadableObjectError, match="no manifest of a backfill"):
        find_manifest(store, "gone")


def test_damaged_counters_are_counted_anew(desk: BackfillContext) -> None:
    tally = Counters(desk.instance, desk.store, ["tempest"])
    tally.snapshot.sums = {"days_written|tempest|acme|raw_observations": 3.0}
    tally.save()
    [stored] = desk.store.list(layout.METRICS)
    kept = Counters(desk.instance, desk.store, ["tempest"])
    assert list(kept.totals("days_written")) == [(["tempest", "acme", "raw_observations"], 3.0)]
    for bad in (*BAD, b'{"sums": {"a": 1}}', b'{"sums": {"a|b|c|d": "x"}}', b'{"runs_until": null}'):
        desk.store.put(stored.key, bad)
        PlatformCollector(desk)  # the exporter starts
        assert not list(Counters(desk.instance, desk.store, ["tempest"]).totals("days_written")), bad[:20]


def test_a_damaged_rollback_is_named_and_passed_by_with_a_version(desk: BackfillContext) -> None:
    write(desk.store, 1.0)
    write(desk.store, 2.0)
    intent = layout.rollback_key("dwd", KEY)
    version = choose_version(desk, "dwd", KEY.tenant, KEY.date, None)
    for bad in BAD:
        desk.store.put(intent, bad)
        with pytest.raises(UnreadableObjectError, match="say --to VERSION") as raised:
            choose_version(desk, "dwd", KEY.tenant, KEY.date, None)
        assert desk.store.uri(intent) in str(raised.value)
    assert choose_version(desk, "dwd", KEY.tenant, KEY.date, version.name) == version


@pytest.mark.parametrize("bad", [*BAD, b'{"chunks": []}', b'{"chunks": [{"chunk": 0, "partitions": 1, "state": "?"}]}'])
def test_a_damaged_registration_runs_all_its_chunks(tmp_path: Path, bad: bytes) -> None:
    lake = ObjectStore(str(tmp_path))
    table = Table("raw", "observations", "s3://bucket/raw", {"station_id": "string"}, ("tenant",), {})
    plan = RegistrationPlan("weather", table, (("acme",),))
    manifest, summary = layout.registration_keys(plan.id)
    lake.put(manifest, plan.to_json())
    good = {"chunks": [{"chunk": 0, "partitions": 1, "state": ChunkState.DONE, "created": 1}]}
    lake.put(summary, json.dumps(good).encode())
    assert [result.state for result in load(lake, plan.id)[1]] == [ChunkState.DONE]
    lake.put(summary, bad)
    [result] = load(lake, plan.id)[1]
    assert (result.chunk, result.partitions, result.state) == (0, 1, "waiting")


def test_a_damaged_day_is_not_compared_and_the_others_are(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    table = raw_table([(0, "00001", "air_temperature", 1.0, 1)])
    sources = ['{"a.zip": "01"}', "{", '["a.zip"]']
    for number, lineage in enumerate(sources):
        key = PartitionKey(START + timedelta(days=number), "acme")
        write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(key, table, {"source_objects": lineage}))
    prefix = layout.tenant_prefix(layout.RAW_OBSERVATIONS, "dwd", "acme")
    store.put(f"{prefix}/date=2024-01-09/{layout.FILE}", b"garbage")
    store.put(f"{prefix}/date=today/{layout.FILE}", b"garbage")
    assert held_files(store, "dwd", "acme", START, START + timedelta(days=30)) == {START: {"a.zip": "01"}}
