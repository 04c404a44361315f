"""What a tick costs: one question a backfill, no footer twice, one store; and what a tenant's file cannot take."""

from __future__ import annotations

import io
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weather_backfill.backfill.commands import MOST_PARTS, few, start
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launching import unlaunched
from weather_backfill.backfill.manifests import load_manifest
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess, build_plan
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.taken_days import given_up
from weather_backfill.lake import layout
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import RawDay
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.days import refine_day, to_raw_table
from weather_backfill.settings import Settings
from weather_backfill.sources.aceiot.source import AceiotSource
from weather_backfill.sources.base import ClosingSource
from weather_backfill.sources.dwd.source import DwdSource
from weather_backfill.sources.tempest.source import TempestSource
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import Tenant, TenantRegistry, parse_tenant
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, finish, write_tenant

MINE = "onboard-acme-tempest"


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> Counter[str]:
    """How often a method is called, by its first argument."""
    calls: Counter[str] = Counter()
    real = getattr(owner, name)

    def count(self: Any, *rest: Any, **more: Any) -> Any:
        calls[str(rest[0] if rest else "")[:100]] += 1
        return real(self, *rest, **more)

    monkeypatch.setattr(owner, name, count)
    return calls


def load(context: BackfillContext, archive: Path) -> None:
    """Raw and refined of all days, as the runs would write them."""
    for day in TempestSource(ObjectStore(str(archive))).days(DAYS):
        assert isinstance(day, RawDay)
        key = PartitionKey(day.date, "acme")
        write_day(
            context.store,
            "tempest",
            layout.RAW_OBSERVATIONS,
            to_raw_table(key, day, context.settings.limits_of("tempest")),
        )
        write_day(context.store, "tempest", layout.REFINED_15M, refine_day(context.store, "tempest", key))


def test_a_quiet_tick_reads_no_footer_again_and_asks_dagster_once_a_backfill(
    context: BackfillContext, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_tenant_files(context.settings).delete("acme-2.yaml")
    onboard(context, TODAY)
    load(context, archive)
    onboard(context, TODAY)
    tails = counted(monkeypatch, ObjectStore, "tail")
    parts = counted(monkeypatch, dg.DagsterInstance, "get_backfill")
    opened = counted(monkeypatch, ObjectStore, "__init__")
    assert onboard(context, TODAY) == []
    assert tails == {}, "three done days were read by the tick before"
    assert not opened, "the lake and the tenant files are open"
    assert not {f"{MINE}.2", f"{MINE}.3"} & parts.keys(), "parts are not asked for one by one"
    manifest = load_manifest(context.store, MINE)
    assert manifest
    assert unlaunched(context, manifest) == []
    key = layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(DAYS[0], "acme"))
    context.store.put(key, context.store.get(key))
    onboard(context, TODAY)
    assert list(tails.values()) == [1], "an object that was replaced is read once more"


def test_a_plan_reads_each_footer_once_and_again_when_its_object_is_replaced(
    context: BackfillContext, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(context, archive)
    tenant = TenantRegistry(open_tenant_files(context.settings)).get("acme")
    tails = counted(monkeypatch, ObjectStore, "tail")

    def plan() -> BackfillPlan:
        return build_plan(context.instance, context.settings, tenant, "tempest", DAYS[0], DAYS[-1])

    assert set(plan().reasons.values()) == {Reason.DONE}
    assert sum(tails.values()) == 2 * len(DAYS)
    assert plan().days == []
    assert sum(tails.values()) == 2 * len(DAYS), "all footers were read by the plan before"
    key = layout.day_key(layout.REFINED_15M, "tempest", PartitionKey(DAYS[0], "acme"))
    context.store.put(key, context.store.get(key)[:-1])
    assert plan().days == [DAYS[0]]
    assert sum(tails.values()) == 2 * len(DAYS) + 1


@pytest.mark.parametrize("kind", ["cut", "empty", "page", "foreign", "another day's", "raw"])
def test_a_refined_file_that_cannot_be_used_counts_as_missing_and_is_made_again(
    context: BackfillContext, archive: Path, kind: str
) -> None:
    load(context, archive)
    key, other = (PartitionKey(day, "acme") for day in DAYS[:2])
    refined, others = (layout.day_key(layout.REFINED_15M, "tempest", k) for k in (key, other))
    sink = io.BytesIO()
    pq.write_table(pa.table({"window_start": [1]}), sink)
    context.store.put(refined, {
        "cut": context.store.get(refined)[:-200],
        "empty": b"",
        "page": b"<!DOCTYPE html><html><body>Service Unavailable</body></html>",
        "foreign": sink.getvalue(),
        "another day's": context.store.get(others),
        "raw": context.store.get(layout.day_key(layout.RAW_OBSERVATIONS, "tempest", key)),
    }[kind])  # fmt: skip
    tenant = TenantRegistry(open_tenant_files(context.settings)).get("acme")
    plan = build_plan(context.instance, context.settings, tenant, "tempest", DAYS[0], DAYS[-1])
    assert dict(plan.reasons) == {DAYS[0]: Reason.UNREFINED, DAYS[1]: Reason.DONE, DAYS[2]: Reason.DONE}
    assert plan.raw_days == [], "raw is whole: refined alone is made"
    assert set(plan.unusable) == {DAYS[0]}
    assert BackfillPlan.from_json(plan.to_json()).unusable == plan.unusable
    write_day(context.store, "tempest", layout.REFINED_15M, refine_day(context.store, "tempest", key))
    plan = build_plan(context.instance, context.settings, tenant, "tempest", DAYS[0], DAYS[-1])
    assert plan.days == []
    assert plan.unusable == {}


def plan_of(days: list[date], chunk_days: int = 1) -> BackfillPlan:
    return BackfillPlan(
        "tempest", "acme", days[0], days[-1], Reprocess.ALL, Order.NEWEST, chunk_days,
        dict.fromkeys(days, Reason.MISSING), 0, 0, 0, 0.0, False,
    )  # fmt: skip


def test_a_backfill_has_a_hundred_parts_at_most(context: BackfillContext) -> None:
    days = [date(2018, 1, 1) + timedelta(days=n) for n in range(1995)]
    start(context, plan_of(days), backfill_id="long", launch=False)
    manifest = load_manifest(context.store, "long")
    assert manifest
    assert len(manifest.parts) == MOST_PARTS
    assert [day for part in manifest.parts for day in part] == days[::-1], "every day once, newest first"
    assert few([[day] for day in DAYS]) == [[day] for day in DAYS]
    assert few([]) == []


def test_a_forced_restart_says_what_it_leaves(context: BackfillContext, capsys: pytest.CaptureFixture[str]) -> None:
    from weather_backfill.cli.backfill import _cancelled

    onboard(context, TODAY)
    assert given_up(context, plan_of(DAYS[:1])) == {MINE: 2}
    assert given_up(context, plan_of(DAYS)) == {MINE: 0}
    assert "2 other days of it are left" in _cancelled(MINE, 2)
    assert f"weather-backfill resume {MINE}" in _cancelled(MINE, 2)
    assert _cancelled(MINE, 0) == f"cancels {MINE}"
    finish(context)
    onboard(context, TODAY)
    assert given_up(context, plan_of(DAYS)) == {}, "what has ended is not cancelled"


GREEDY = b"""id: acme
services:
  aceiot: {base_url: "https://example.com/api", api_key: "${KEY}", sites: [roof], requests_per_minute: 100000}
  dwd: {base_url: "https://example.com/cdc", stations: ["00433"], requests_per_minute: 100000}
"""


@pytest.mark.parametrize(("bucket", "paces"), [(True, (50, 600)), (False, (100_000, 100_000))])
def test_a_file_in_a_bucket_takes_no_more_than_the_platform_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: bool, paces: tuple[int, int]
) -> None:
    monkeypatch.setenv("KEY", "key")
    settings = Settings(
        storage_url=str(tmp_path / "lake"),
        tenants_url="s3://bucket/tenants" if bucket else str(tmp_path / "tenants"),
        tenant_secrets={"acme": ["KEY"]},
    )
    tenant: Tenant = parse_tenant(GREEDY, "acme.yaml", "acme")
    sources = [
        open_source(tenant, service, open_lake(settings), settings.s3, settings) for service in ("aceiot", "dwd")
    ]
    assert isinstance(sources[0], AceiotSource)
    assert isinstance(sources[1], DwdSource)
    remote: Any = sources[1]._remote
    assert (sources[0].requests_per_minute, remote._client.limiter.rate.requests) == paces
    assert [settings.priority(wanted) for wanted in (100, 0, -5)] == ([0, 0, -5] if bucket else [100, 0, -5])
    assert settings.model_copy(update={"most_priority": 10}).priority(100) == 10


def test_an_estimate_counts_with_the_connections_own_pace(context: BackfillContext, archive: Path) -> None:
    from weather_backfill.model.days import DayInventory

    write_tenant(context.settings, "acme", archive)
    tenant = TenantRegistry(open_tenant_files(context.settings)).get("acme")

    class Paced(ClosingSource):
        """Sixty requests a day at a pace of its own."""

        requests_per_minute = 600

        def inventory(self, first: date, last: date) -> dict[date, DayInventory]:
            return dict.fromkeys(DAYS, DayInventory(1, 1, 60_000))

        def days(self, dates: Any) -> Any:
            raise AssertionError("a plan reads no day")

    plan = build_plan(context.instance, context.settings, tenant, "tempest", DAYS[0], DAYS[-1], opened=Paced)
    assert plan.requests == 180_000
    assert plan.seconds == pytest.approx(180_000 / 600 * 60 + 60)
