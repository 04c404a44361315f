"""`weather-backfill tenants check` and `remove`, as an operator runs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import yaml

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.definitions import build_definitions
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.platform import Platform


def connect(platform: Platform, tenant: str, days: int) -> None:
    today = datetime.now(UTC).date()
    archive = platform.folder / "archive" / tenant
    plan = SimulatedArchive(tenant, today - timedelta(days=days), today - timedelta(days=1), 2, 7, 60)
    write_archive(plan, ObjectStore(str(archive)))
    document = {"id": tenant, "services": {"tempest": {"archive_url": str(archive), "lookback_days": days}}}
    open_tenant_files(platform.settings).put(f"{tenant}.yaml", yaml.safe_dump(document).encode())


def test_check_says_what_it_found(local_platform: Platform) -> None:
    platform = local_platform
    connect(platform, "acme", 3)
    [row] = json.loads(platform.run("weather-backfill", "tenants", "check", "acme", "--json").stdout)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert (row["service"], row["enabled"], row["problem"]) == ("tempest", True, None)
    assert (row["first_day"], row["last_day"]) == (str(yesterday - timedelta(days=2)), str(yesterday))
    assert (row["days_with_data"], row["stations"]) == (3, 2)
    assert row["objects"] == len(list((platform.folder / "archive" / "acme").rglob("*.json.gz")))
    assert row["MB"] > 0
    folder = platform.folder / "archive" / "acme" / f"year={yesterday:%Y}/month={yesterday:%m}/day={yesterday:%d}"
    next(folder.rglob("*.json.gz")).write_bytes(b"cut")
    done = platform.run("weather-backfill", "tenants", "check", "acme", "--json", check=False)
    assert done.returncode == 1
    assert "cannot be unpacked" in json.loads(done.stdout)[0]["problem"]


def test_check_of_what_cannot_be_reached(local_platform: Platform) -> None:
    platform = local_platform
    folder = platform.folder / "tenants"
    folder.mkdir()
    (folder / "acme.yaml").write_text("id: acme\nservices: {tempest: {archive_url: nowhere}}\n")
    for exists, problem in ((False, "it is not there"), (True, "no data in the last 30 days")):
        if exists:
            (platform.folder / "nowhere").mkdir()
        done = platform.run("weather-backfill", "tenants", "check", "acme", check=False)
        assert done.returncode == 1
        assert problem in " ".join(done.stdout.split())
        assert (platform.folder / "nowhere").exists() == exists, "a look makes no folder"
    for tenant, message in (("nobody", "'nobody' is not known"), ("../x", "is not allowed")):
        done = platform.run("weather-backfill", "tenants", "check", tenant, check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_remove_stops_the_tenant_and_keeps_its_data(local_platform: Platform) -> None:
    platform = local_platform
    for tenant in ("acme", "acme-2"):
        connect(platform, tenant, 2)
    with platform.instance as instance:
        desk = BackfillContext(instance, build_definitions(platform.settings), platform.settings)
        today = datetime.now(UTC).date()
        onboard(desk, today)
        platform.lake.put("raw_observations/service=tempest/tenant=acme/date=2024-01-01/part.parquet", b"data")
        done = platform.run("weather-backfill", "tenants", "remove", "acme")
        assert "Its data stays" in " ".join(done.stdout.split())
        states = {b.backfill_id: b.status.value for b in instance.get_backfills()}
        assert states == {"onboard-acme-tempest": "CANCELING", "onboard-acme-2-tempest": "REQUESTED"}
        onboard(desk, today)
        assert onboard(desk, today) == [], "the second look at what is gone"
        assert len(instance.get_backfills()) == 2
    assert open_tenant_files(platform.settings).names() == ["acme-2.yaml"]
    assert platform.lake.get("raw_observations/service=tempest/tenant=acme/date=2024-01-01/part.parquet") == b"data"
    [event] = [
        e for e in json.loads(platform.run("weather-backfill", "log", "--json").stdout) if "remove" in e["action"]
    ]
    assert event["parameters"] == {"tenant": "acme"}
    again = platform.run("weather-backfill", "tenants", "remove", "acme", check=False)
    assert again.returncode == 2
    assert "'acme' is not known" in again.stderr
