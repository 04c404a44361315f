"""No tenant touches another's data, whatever its id, file or archive says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import yaml

from weather_backfill.backfill.commands import cancel, start
from weather_backfill.backfill.connection_probe import check_connections
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import register_tenant
from weather_backfill.backfill.manifests import load_manifest
from weather_backfill.backfill.plan import build_plan
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import status_of
from weather_backfill.lake.warehouse import create_views
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.reader import read_refined
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.platform import START, Platform

ALIKE = {"acme": 3, "acme-2": 2, "acme_2": 1, "acme-2-tempest": 1}
"""Ids of which one is the start of another, with the days each has loaded."""
HOSTILE_STATIONS = ("../../acme", "tenant=acme/date=2024-01-01", "..\\..\\x", "'; DROP VIEW refined_15m; --")
LAST = START + timedelta(days=2)


@pytest.fixture
def desk(local_platform: Platform) -> Iterator[BackfillContext]:
    with local_platform.desk() as made:
        yield made


def connect(platform: Platform, tenant: str, seed: int, **connection: object) -> None:
    """An archive of three days with one station, named by the seed, and the tenant's file."""
    archive = platform.folder / "archive" / tenant
    write_archive(SimulatedArchive(tenant, START, LAST, 1, seed, 60), ObjectStore(str(archive)))
    write(platform, tenant, archive_url=str(archive), **connection)


def write(platform: Platform, tenant: str, **connection: object) -> None:
    document = {"id": tenant, "services": {"tempest": {"lookback_days": 3, **connection}}}
    open_tenant_files(platform.settings).put(f"{tenant}.yaml", yaml.safe_dump(document, explicit_end=True).encode())


def load(platform: Platform, desk: BackfillContext, tenant: str, days: int) -> dg.ExecuteInProcessResult:
    """Load a tenant's first days, raw and refined, in this process."""
    register_tenant(desk.instance, "tempest", tenant)
    return platform.load(desk.instance, START, START + timedelta(days=days - 1), tenant)


def files(platform: Platform) -> dict[str, bytes]:
    """All objects of the datasets in the lake, with what they hold."""
    lake = platform.folder / "lake"
    found = {str(p.relative_to(lake)): p for p in lake.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("_")}


def test_ids_alike_share_nothing(local_platform: Platform, desk: BackfillContext) -> None:
    """Files, reading, warehouse, gaps, status, cancel: each tenant's own, and the others' as they were."""
    platform = local_platform
    before: dict[str, bytes] = {}
    plans, names = {}, {}
    for seed, tenant in enumerate(ALIKE, 1):
        connect(platform, tenant, seed, stations=HOSTILE_STATIONS)
        found = TenantRegistry(open_tenant_files(platform.settings)).get(tenant)
        plans[tenant] = build_plan(desk.instance, desk.settings, found, "tempest", START, LAST)
        assert len(plans[tenant].days) == 3, "nobody else's days count as this one's"
        names[tenant] = start(desk, plans[tenant])
        assert load(platform, desk, tenant, ALIKE[tenant]).success
        after = files(platform)
        assert {name: after[name] for name in before} == before, "the others' files are as they were"
        new = after.keys() - before.keys()
        assert new, "the tenant's own are there"
        assert {name.split("/")[2] for name in new} == {f"tenant={tenant}"}
        before = after
    assert len(set(names.values())) == len(ALIKE)
    _check_reading(platform)
    for tenant, days in ALIKE.items():
        found = TenantRegistry(open_tenant_files(platform.settings)).get(tenant)
        gaps = build_plan(desk.instance, desk.settings, found, "tempest", START, LAST).days
        assert len(gaps) == 3 - days
        status = status_of(desk.instance, desk.graph, desk.store, names[tenant])
        assert (status.tenant, len(status.done), len(status.days)) == (tenant, days, 3)
    cancel(desk, names["acme-2"])
    words = {t: status_of(desk.instance, desk.graph, desk.store, name).status for t, name in names.items()}
    assert words == {t: "canceling" if t == "acme-2" else "running" for t in ALIKE}


def _check_reading(platform: Platform) -> None:
    """By the reader and by the warehouse, each tenant has the one station of its own archive."""
    own = {tenant: SimulatedArchive(tenant, START, LAST, 1, seed).station_ids for seed, tenant in enumerate(ALIKE, 1)}
    for tenant, days in ALIKE.items():
        table = read_refined(
            tenant=tenant, service="tempest", start=START, end=START + timedelta(days=days - 1),
            settings=platform.settings,
        )  # fmt: skip
        assert sorted(table["station_id"].unique()) == own[tenant]
    with duckdb.connect() as connection:
        create_views(connection, platform.lake)
        for view in ("raw_observations", "refined_15m"):
            rows = connection.execute(f"SELECT DISTINCT tenant, station_id FROM {view}").fetchall()
            assert sorted(rows) == sorted((tenant, station) for tenant, ids in own.items() for station in ids)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nid: evil\nservices: *b\n"
HOSTILE = {
    "aliases": BOMB,
    "merge keys": "base: &b {archive_url: /x}\nid: evil\nservices:\n  tempest:\n    <<: *b\n",
    "wrong types": "id: evil\nservices: {tempest: {archive_url: [1], lookback_days: {}, stations: 7, enabled: 9}}\n",
    "another's id": "id: acme\nservices: {tempest: {archive_url: /nowhere}}\n",
    "a path as id": "id: ../acme\nservices: {tempest: {archive_url: /nowhere}}\n",
    "python": "!!python/object/apply:os.system ['touch pwned']\n",
    "no archive": "id: evil\nservices: {tempest: {archive_url: /nowhere/at/all, lookback_days: 36500}}\n",
    "far future": "id: evil\nservices: {tempest: {archive_url: /tmp, first_day: 2999-01-01}}\n",
    "no such bucket": "id: evil\nservices: {tempest: {archive_url: 's3://', lookback_days: 1}}\n",
    "no such scheme": "id: evil\nservices: {tempest: {archive_url: 'gopher://x/y'}}\n",
    "no such secret": "id: evil\nservices: {tempest: {archive_url: 's3://b/c', access_key_id: '${NOPE_A}', "
    "secret_access_key: '${NOPE_B}'}}\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_stops_nobody_else(local_platform: Platform, desk: BackfillContext, text: str) -> None:
    platform = local_platform
    connect(platform, "acme", 1)
    (platform.folder / "tenants" / "evil.yaml").write_text(text)
    onboard(desk, LAST + timedelta(days=1))
    notes = onboard(desk, LAST + timedelta(days=1))  # the second look, which believes what it sees
    assert [note for note in notes if note.startswith("evil")], "the tick says what is wrong"
    assert [b.backfill_id for b in desk.instance.get_backfills()] == ["onboard-acme-tempest"]
    assert not list(platform.folder.rglob("pwned"))


def test_a_folder_of_strange_files_stops_nobody(local_platform: Platform, desk: BackfillContext) -> None:
    platform = local_platform
    connect(platform, "acme", 1)
    tenants = platform.folder / "tenants"
    (tenants / "dangling.yaml").symlink_to("/nowhere/at/all")
    (tenants / "borrowed.yaml").symlink_to(tenants / "acme.yaml")
    (tenants / "folder.yaml").mkdir()
    (tenants / "folder.yaml" / "acme.yaml").write_text("id: acme")
    os.mkfifo(tenants / "pipe.yaml")
    for name in ("Acme.yaml", "a|b.yaml", "a b.yaml", ".yaml", "acme.yaml.yaml", "acme...acme.yaml", "new\nline.yaml"):
        (tenants / name).write_text(f"id: {name[:-5]!r}\nservices: {{tempest: {{archive_url: /tmp}}}}\n")
    with (tenants / "huge.yaml").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of zeros, of which nothing is read
    notes = "\n".join(onboard(desk, LAST + timedelta(days=1)))
    assert "a tenant file has at most 65536" in notes
    assert "'Acme' is not allowed" in notes
    assert "expected 'borrowed', as the file is named" in notes
    assert [b.backfill_id for b in desk.instance.get_backfills()] == ["onboard-acme-tempest"]


def places(lake: Path) -> dict[str, str]:
    """Spellings of the lake and of places in it."""
    (lake.parent / "link").symlink_to(lake)
    other = "raw_observations/service=tempest/tenant=acme"
    return {
        "itself": str(lake),
        "slash": f"{lake}/",
        "another's days": f"{lake}/{other}",
        "url": f"file://{lake}/{other}",
        "escaped": f"file://{lake.parent}/%6cake/{other}",
        "dots": f"{lake.parent}/archive/../lake/./{other}",
        "link": f"{lake.parent}/link/{other}",
        "relative": os.path.relpath(lake),
    }


def test_an_archive_in_the_lake_is_refused_at_every_door(local_platform: Platform, desk: BackfillContext) -> None:
    platform = local_platform
    connect(platform, "acme", 1)
    assert load(platform, desk, "acme", 1).success
    before = files(platform)
    for name, url in places(platform.folder / "lake").items():
        write(platform, "evil", archive_url=url)
        [row] = check_connections(desk.settings, "evil", 3)
        assert "lies in the lake" in row["problem"], name
        assert any(n.startswith("evil-tempest: ") and "lies in the lake" in n for n in onboard(desk, date(2024, 1, 4)))
    assert "onboard-evil-tempest" not in {b.backfill_id for b in desk.instance.get_backfills()}
    assert not load(platform, desk, "evil", 1).success, "a run launched by hand"
    assert files(platform) == before
    write(platform, "evil", archive_url=f"{platform.folder}/lake-of-evil")
    [row] = check_connections(desk.settings, "evil", 3)
    assert "it is not there" in row["problem"], "a neighbour whose name starts alike is no part of the lake"


def test_the_command_line_refuses_an_archive_in_the_lake_and_writes_nothing(local_platform: Platform) -> None:
    platform = local_platform
    done = platform.run(
        "weather-backfill", "tenants", "add", "evil", "--tempest", f"{platform.folder}/lake/x", check=False
    )
    assert done.returncode == 2
    assert "evil.yaml: services.tempest.archive_url" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(platform.folder.glob("tenants/*"))
    mirror = f"file://{platform.folder}/lake"
    done = platform.run(
        "weather-backfill", "tenants", "add", "evil", "--dwd-stations", "00433", "--dwd-base-url", mirror, check=False
    )
    assert done.returncode == 2
    assert "services.dwd.base_url" in done.stderr
    write(platform, "evil", archive_url=f"{platform.folder}/lake")
    assert "lies in the lake" in platform.run("weather-backfill", "tenants", "list", "--json").stdout
    assert platform.run("weather-backfill", "tenants", "register", "evil", check=False).returncode == 2


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("s3://weather/lake", True),
        ("s3://weather/lake/", True),
        ("s3://weather//lake/raw_observations", True),
        ("s3://weather/./lake", True),
        ("s3://weather/%6cake", True),
        ("s3://weather/lake2", False),
        ("s3://weather", False),
        ("s3://other/lake", False),
        ("/weather/lake", False),
        ("lake", False),
    ],
)
def test_places_in_a_bucket(url: str, inside: bool) -> None:
    assert ObjectStore("s3://weather/lake").contains(url) is inside


@pytest.mark.parametrize("name", ["../../acme", "a/b", "", "x" * 300, "a\nb"])
def test_a_backfill_id_never_leaves_the_folder(local_platform: Platform, desk: BackfillContext, name: str) -> None:
    assert load_manifest(desk.store, name) is None
    with pytest.raises(ConfigurationError, match="no backfill"):
        cancel(desk, name)
