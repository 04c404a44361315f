"""Versions, rollback, backup and restore through Dagster and the command line, on real and simulated data."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from weather_backfill.backfill import rollback as rolling
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import DATASETS
from weather_backfill.dagster.private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.lake.warehouse import create_views
from weather_backfill.model.partitions import PartitionKey
from weather_backfill_tests.conftest import long_on
from weather_backfill_tests.platform import START, Platform
from weather_backfill_tests.servers import until
from weather_backfill_tests.sources.dwd.files import needs_data, tree
from weather_backfill_tests.sources.dwd.test_restatements import STATIONS, independent

REAL = [date(2020, 1, 10) + timedelta(days=n) for n in range(4)]


def add_real(platform: Platform) -> None:
    platform.add_dwd("de", base_url=tree("2020-03-24"), stations=STATIONS)


def raw_key(day: date) -> str:
    return layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(day, "de"))


def load(platform: Platform, service: str, tenant: str, first: date, last: date, *datasets: str) -> None:
    """Materialize a range in this process, a job a dataset, as a native backfill would."""
    definitions = build_definitions(platform.settings, backfill_policy=lambda days: dg.BackfillPolicy.single_run())
    job = definitions.resolve_implicit_global_asset_job_def()
    tags = {ASSET_PARTITION_RANGE_START_TAG: f"{first}|{tenant}", ASSET_PARTITION_RANGE_END_TAG: f"{last}|{tenant}"}
    with platform.instance as instance:
        for dataset in datasets or DATASETS:
            subset = job.get_subset(asset_selection={dg.AssetKey([service, dataset])})
            assert subset.execute_in_process(instance=instance, tags=tags).success


def content(platform: Platform) -> dict[str, str]:
    """Every object of the datasets with its sha256."""
    names = (*DATASETS, layout.REJECTED_OBSERVATIONS)
    keys = [stored.key for name in names for stored in platform.lake.list(name)]
    return {key: hashlib.sha256(platform.lake.get(key)).hexdigest() for key in keys}


def said(platform: Platform, *command: str) -> Any:
    return json.loads(platform.run("weather-backfill", *command, "--json").stdout)


def versions_known(platform: Platform, service: str, tenant: str, day: date, dataset: str) -> list[str]:
    """The data versions of a day's materializations, oldest first."""
    records = dg.AssetRecordsFilter(dg.AssetKey([service, dataset]), asset_partitions=[f"{day}|{tenant}"])
    with platform.instance as instance:
        found = instance.fetch_materializations(records, limit=100, ascending=True).records
    return [(record.asset_materialization.tags or {})["dagster/data_version"] for record in found]  # type: ignore[union-attr]


def stale(platform: Platform, service: str, tenant: str, day: date) -> StaleStatus:
    graph = build_definitions(platform.settings).resolve_asset_graph()
    with platform.instance as instance:
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return resolver.get_status(dg.AssetKey([service, layout.REFINED_15M]), f"{day}|{tenant}")


def test_unchanged_raw_keeps_its_data_version_and_refined_stays_fresh(local_platform: Platform) -> None:
    platform = local_platform
    archive = platform.add_tempest("acme", 1)
    load(platform, "tempest", "acme", START, START)
    load(platform, "tempest", "acme", START, START, layout.RAW_OBSERVATIONS)
    first, second = versions_known(platform, "tempest", "acme", START, layout.RAW_OBSERVATIONS)
    key = layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(START, "acme"))
    assert first == second == hashlib.sha256(platform.lake.get(key)).hexdigest()
    assert stale(platform, "tempest", "acme", START) == StaleStatus.FRESH
    min(path for path in archive.rglob("*") if path.is_file()).unlink()
    load(platform, "tempest", "acme", START, START, layout.RAW_OBSERVATIONS)
    assert versions_known(platform, "tempest", "acme", START, layout.RAW_OBSERVATIONS)[-1] != first
    assert stale(platform, "tempest", "acme", START) == StaleStatus.STALE


@needs_data
def test_a_restated_day_of_dwd_is_rolled_back_and_forth(local_platform: Platform) -> None:
    """Two snapshots of the real server, taken two days apart: a day that DWD has restated in between."""
    platform = local_platform
    day = min(day for day in independent("2020-03-24", "2020-03-26") if day >= date(2020, 1, 10))
    held = []
    for snapshot in ("2020-03-24", "2020-03-26"):
        platform.add_dwd("de", base_url=tree(snapshot), stations=STATIONS)
        load(platform, "dwd", "de", day, day)
        held.append(content(platform))
    old, new = held
    assert {key.split("/")[0] for key in old if old[key] != new[key]} >= {layout.RAW_OBSERVATIONS}
    which = ("--tenant", "de", "--service", "dwd", "--day", str(day))
    listed = said(platform, "versions", *which)
    assert [row["current"] for row in listed] == [True, False]
    refused = platform.run("weather-backfill", "rollback", *which, check=False)
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
    assert content(platform) == new
    done = said(platform, "rollback", *which, "--yes")
    assert done["version"] == listed[1]["version"]
    assert content(platform) == old, "raw, refined and rejects are the pair of that time, byte for byte"
    versions = versions_known(platform, "dwd", "de", day, layout.RAW_OBSERVATIONS)
    assert versions[0] == versions[2] != versions[1]
    assert stale(platform, "dwd", "de", day) == StaleStatus.FRESH
    said(platform, "rollback", *which, "--yes")
    assert content(platform) == new, "a rollback is undone by another"
    actions = [row["action"] for row in said(platform, "log")]
    assert actions == ["rollback", "rollback"]


def written(platform: Platform, dataset: str) -> list[tuple[Any, ...]]:
    """Date, version, first and last observation, rows, time and run of a dataset's objects, by the warehouse."""
    with duckdb.connect() as connection:
        create_views(connection, platform.lake)
        connection.execute("SET TimeZone = 'UTC'")
        query = "SELECT date, version, first_observation, last_observation, rows, created_at, run_id, service, tenant"
        return connection.execute(f"{query} FROM dataset_versions WHERE dataset = '{dataset}' ORDER BY date").fetchall()


@needs_data
def test_dataset_versions_name_content_span_time_and_run(local_platform: Platform) -> None:
    platform, last = local_platform, REAL[1]
    add_real(platform)
    load(platform, "dwd", "de", REAL[0], last, layout.RAW_OBSERVATIONS)
    held = content(platform)
    with platform.instance as instance:
        [run] = instance.get_runs()
    rows = written(platform, layout.RAW_OBSERVATIONS)
    assert [row[0] for row in rows] == list(REAL[:2])
    for day, version, first, final, count, created, run_id, *owner in rows:
        key = layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(day, "de"))
        times = platform.day(layout.RAW_OBSERVATIONS, "de", day, "dwd")["observed_at"].to_pylist()
        assert version == held[key][:16]
        assert (first, final, count) == (min(times), max(times), len(times))
        assert abs((created - platform.lake.head(key).last_modified).total_seconds()) < 1
        assert (run_id, *owner) == (run.run_id, "dwd", "de")
    ledgers = [o for o in platform.lake.list(layout.LEDGER) if o.size]
    assert len(ledgers) == 1, "an object a run"
    # An object that nobody has written down is not taken for the one before it.
    first_key = layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(REAL[0], "de"))
    second = layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(last, "de"))
    platform.lake.put(first_key, platform.lake.get(second))
    assert [row[1] for row in written(platform, layout.RAW_OBSERVATIONS)] == [None, held[second][:16]]


@needs_data
def test_a_killed_rollback_is_finished_and_not_undone(local_platform: Platform, monkeypatch) -> None:
    platform = local_platform
    day = min(day for day in independent("2020-03-24", "2020-03-26") if day >= date(2020, 1, 10))
    held = []
    for snapshot in ("2020-03-24", "2020-03-26"):
        platform.add_dwd("de", base_url=tree(snapshot), stations=STATIONS)
        load(platform, "dwd", "de", day, day)
        held.append(content(platform))
    old, new = held

    def killed(*arguments: Any) -> None:
        raise SystemExit

    with platform.instance as instance:
        desk = BackfillContext(instance, build_definitions(platform.settings), platform.settings)

        def roll_back() -> None:
            rolling.rollback(desk, "dwd", "de", day, rolling.choose_version(desk, "dwd", "de", day, None))

        with monkeypatch.context() as patch:
            patch.setattr(rolling, "refine_day", killed)  # raw is back, refined is not
            with pytest.raises(SystemExit):
                roll_back()
        assert content(platform) != new
        assert platform.lake.list(layout.ROLLBACK), "what was meant is written down"
        roll_back()
        assert content(platform) == old
        assert platform.lake.list(layout.ROLLBACK) == []
    [row] = written(platform, layout.RAW_OBSERVATIONS)
    assert (row[1], row[6]) == (hashlib.sha256(platform.lake.get(raw_key(day))).hexdigest()[:16], None), "by no run"


@pytest.mark.long
@needs_data
def test_real_days_that_were_lost_are_restored_named_and_loaded_again(local_platform: Platform, tmp_path: Path) -> None:
    platform = local_platform
    add_real(platform)
    load(platform, "dwd", "de", REAL[0], REAL[1])
    target = str(tmp_path / "backups")
    said(platform, "backup", "--to", target)
    load(platform, "dwd", "de", REAL[2], REAL[3])
    undisturbed = content(platform)
    config = Path(platform.environment["DAGSTER_HOME"]) / "dagster.yaml"
    kept = config.read_bytes()
    for folder in (tmp_path / "lake", tmp_path / "tenants", config.parent):
        shutil.rmtree(folder)
    config.parent.mkdir()
    config.write_bytes(kept)
    said(platform, "restore", "--from", target)
    span = ("--tenant", "de", "--service", "dwd", "--start", str(REAL[0]), "--end", str(REAL[3]))
    gaps = platform.run("weather-backfill", "gaps", *span, "--json", check=False)
    assert [row["day"] for row in json.loads(gaps.stdout)] == [str(day) for day in REAL[2:]]
    with platform.daemon():
        name = said(platform, "start", *span, "--reprocess", "missing", "--yes")["backfill_id"]
        until(lambda: said(platform, "status", name)["status"] == "completed", 150)
    assert content(platform) == undisturbed
    assert platform.materialized(layout.REFINED_15M, "de", "dwd") == set(REAL)
    assert platform.run("weather-backfill", "gaps", *span).returncode == 0


@long_on("local")
def test_restore_then_gaps_then_backfill_is_the_undisturbed_lake(platform: Platform, tmp_path: Path) -> None:
    last = START + timedelta(days=3)
    platform.add_tempest("acme", 4)
    load(platform, "tempest", "acme", START, START + timedelta(days=1))
    target = str(tmp_path / "backups")
    first = said(platform, "backup", "--to", target)
    assert said(platform, "backup", "--to", target)["copied_objects"] == 0, "nothing has changed"
    load(platform, "tempest", "acme", START + timedelta(days=2), last)
    undisturbed = content(platform)
    config = Path(platform.environment["DAGSTER_HOME"]) / "dagster.yaml"
    kept = config.read_bytes()
    refused = platform.run("weather-backfill", "restore", "--from", target, check=False)
    assert refused.returncode == 2
    assert "restore wants an empty lake" in refused.stderr
    platform.lake.delete([stored.key for stored in platform.lake.list()])
    for folder in (config.parent, tmp_path / "tenants"):
        shutil.rmtree(folder)
    config.parent.mkdir()
    config.write_bytes(kept)
    done = said(platform, "restore", "--from", target)
    assert done["objects"] == done["restored"] == first["objects"]
    assert platform.materialized(layout.RAW_OBSERVATIONS, "acme") == {START, START + timedelta(days=1)}
    span = ("--tenant", "acme", "--service", "tempest", "--start", str(START), "--end", str(last))
    gaps = platform.run("weather-backfill", "gaps", *span, "--json", check=False)
    missing = [START + timedelta(days=2), last]
    assert [row["day"] for row in json.loads(gaps.stdout)] == [str(day) for day in missing]
    load(platform, "tempest", "acme", *missing)
    assert content(platform) == undisturbed
    assert platform.run("weather-backfill", "gaps", *span).returncode == 0
