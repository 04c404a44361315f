"""DWD through Dagster: real files to the lake, damage, and restatements; the truth is computed by pandas."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.coverage import held_days
from weather_backfill.backfill.restatements import find_restatements, launch_restatements
from weather_backfill.backfill.status import natives_of
from weather_backfill.dagster.private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill_tests.backfill.contexts import finish
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.sources.dwd.files import DWD, in_order, member, needs_data, put, tree, truth
from weather_backfill_tests.sources.dwd.server import serve
from weather_backfill_tests.sources.dwd.test_restatements import COLUMNS, STATIONS, independent

FIRST, LAST = date(2018, 9, 24), date(2020, 3, 26)
RAW, REFINED = "dwd/raw_observations", "dwd/refined_15m"
PRODUCT = "hourly/air_temperature"
RECENT = f"{PRODUCT}/recent"

pytestmark = needs_data


def materialize(platform: Platform, select: str, start: date, end: date, check: bool = True) -> str:
    span = ("--partition-range", f"{start}|de...{end}|de")
    command = ("dagster", "asset", "materialize", "-m", "weather_backfill.definitions_single_run", "--select", select)
    done = platform.run(*command, *span, check=check)
    return done.stdout + done.stderr


def in_process(platform: Platform, start: date, end: date) -> None:
    """The same for raw without the seconds that a process of its own costs."""
    definitions = build_definitions(platform.settings, backfill_policy=lambda days: dg.BackfillPolicy.single_run())
    wanted = {dg.AssetKey(RAW.split("/"))}
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=wanted)
    tags = {ASSET_PARTITION_RANGE_START_TAG: f"{start}|de", ASSET_PARTITION_RANGE_END_TAG: f"{end}|de"}
    with platform.instance as instance:
        assert job.execute_in_process(instance=instance, tags=tags).success


@cache
def in_files(snapshot: str, stations: tuple[str, ...] | None = None) -> pd.DataFrame:
    """All rows of the zips, history over recent, by pandas alone."""
    root = DWD / f"cdc-{snapshot}" / PRODUCT
    zips = [*sorted(root.glob("historical/*.zip")), *sorted(root.glob("recent/*.zip"))]
    wanted = [path for path in zips if stations is None or path.name.split("_")[2] in stations]
    rows = pd.concat([truth(member(path), COLUMNS, "QN_9") for path in wanted])
    return rows.drop_duplicates(["station_id", "metric", "observed_at"], keep="first")


def between(rows: pd.DataFrame, start: date, end: date) -> pd.DataFrame:
    begin = datetime.combine(start, datetime.min.time(), UTC)
    finish = datetime.combine(end + timedelta(days=1), datetime.min.time(), UTC)
    read_at = rows["observed_at"] - timedelta(minutes=10)  # of an hourly temperature
    return rows[(read_at >= begin) & (read_at < finish)]


def in_lake(platform: Platform, dataset: str, days: list[date]) -> pd.DataFrame:
    tables = [platform.day(dataset, "de", day, "dwd") for day in days]
    fields = [pa.field(f.name, pa.string()) if pa.types.is_dictionary(f.type) else f for f in tables[0].schema]
    return pa.concat_tables([table.cast(pa.schema(fields)) for table in tables]).to_pandas()


def assert_same(platform: Platform, days: list[date], expected: pd.DataFrame) -> None:
    found = in_order(in_lake(platform, layout.RAW_OBSERVATIONS, days))
    pd.testing.assert_frame_equal(found, in_order(between(expected, days[0], days[-1])))


def metadata_of(platform: Platform, day: date) -> dict[str, Any]:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(RAW.split("/")), asset_partitions=[f"{day}|de"])
    with platform.instance as instance:
        [latest] = instance.fetch_materializations(wanted, limit=1).records
    assert latest.asset_materialization is not None
    return {name: value.value for name, value in latest.asset_materialization.metadata.items()}


@pytest.mark.long
@pytest.mark.timeout(400)
def test_all_stations_of_eighteen_months_in_one_run(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_dwd("de", base_url=tree("2020-03-27"), stations="all")
    materialize(platform, RAW, FIRST, LAST)
    days = days_between(FIRST, LAST)
    assert platform.materialized("raw_observations", "de", "dwd") == set(days)
    expected = in_files("2020-03-27")
    assert expected["station_id"].nunique() == 182
    assert_same(platform, days, expected)
    metadata = metadata_of(platform, days[200])
    assert metadata["rows"] == len(between(expected, days[200], days[200]))
    assert metadata["missing"] == between(expected, days[200], days[200])["value"].isna().sum()

    materialize(platform, REFINED, date(2020, 2, 1), date(2020, 2, 3))
    refined = in_lake(platform, layout.REFINED_15M, days_between(date(2020, 2, 1), date(2020, 2, 3)))
    good = in_lake(platform, layout.RAW_OBSERVATIONS, days_between(date(2020, 2, 1), date(2020, 2, 3)))
    assert refined["sample_count"].sum() == good["value"].notna().sum() - (good["quality"] == 4).sum()


@pytest.mark.long
@pytest.mark.timeout(200)
def test_over_http_each_file_is_fetched_once(local_platform: Platform) -> None:
    platform, start = local_platform, date(2020, 3, 1)
    with serve(DWD / "cdc-2020-03-27") as mirror:
        platform.add_dwd("de", base_url=mirror.url, stations="all")
        materialize(platform, RAW, start, LAST)
        in_process(platform, LAST, LAST)
        sent = {path: count for path, count in mirror.sent.items() if path.endswith(".zip")}
    assert len(sent) == 182
    assert set(sent.values()) == {1}
    assert_same(platform, days_between(start, LAST), in_files("2020-03-27"))
    assert [metadata_of(platform, LAST)[f"rows_{kind}"] for kind in ("inserted", "changed", "removed")] == [0, 0, 0]


@pytest.mark.timeout(200)
def test_a_cut_file_makes_the_days_incomplete_and_keeps_the_other_stations(
    local_platform: Platform, tmp_path: Path
) -> None:
    platform, start, end = local_platform, date(2020, 3, 1), date(2020, 3, 3)
    root = tmp_path / "tree"
    shutil.copytree(DWD / "cdc-2020-03-26", root)
    name = "stundenwerte_TU_02627_akt.zip"
    body = (DWD / "cdc-2020-03-26" / RECENT / name).read_bytes()
    (root / RECENT / name).unlink()
    put(root, f"{RECENT}/{name}", body[:-2000])
    platform.add_dwd("de", base_url=root.as_uri(), stations=STATIONS)
    materialize(platform, RAW, start, end)
    for day in held_days(platform.lake, "dwd", "de").values():
        assert [lack.station for lack in day.lacks] == ["02627"]
        assert "truncated" in str(day.incomplete)
    assert len(platform.materialized("raw_observations", "de", "dwd")) == 3, "the others' rows are there"
    others = [station for station in STATIONS if station != "02627"]
    assert_same(platform, days_between(start, end), in_files("2020-03-26", tuple(others)))

    (root / RECENT / name).write_bytes(body)
    assert set(find_restatements(platform.settings, "dwd", "de").found.days) == set(days_between(start, end))
    in_process(platform, start, end)
    assert_same(platform, days_between(start, end), in_files("2020-03-26", tuple(STATIONS)))


FOLDER = "hourly/air_temperature/historical"
HISTORY = b"""<html><head><title>Index of /</title></head><body><pre><a href="../">../</a>
<a href="stundenwerte_TU_09999_19500101_19991231_hist.zip">stundenwerte_TU_09999_..&gt;</a>    29-Mar-2020 08:55    1234
</pre></body></html>"""
"""A page of history, which the older snapshots lack as a whole: their last days would be no days without data."""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_restatements_are_named_and_only_those_days_are_taken_again(local_platform: Platform) -> None:
    """Three snapshots under one URL, as the real server does it; after it the lake is the last snapshot."""
    platform, start = local_platform, date(2020, 1, 10)
    held = days_between(start, LAST)
    with serve(DWD / "cdc-2020-03-24") as mirror:
        mirror.fault = lambda path: (200, HISTORY) if path == FOLDER and not (mirror.root / path).is_dir() else None
        platform.add_dwd("de", base_url=mirror.url, stations=STATIONS)
        in_process(platform, start, LAST)
        assert named(platform) == {}
        for old, new in (("2020-03-24", "2020-03-26"), ("2020-03-26", "2020-03-27")):
            mirror.root = DWD / f"cdc-{new}"
            expected = {day: counts for day, counts in independent(old, new).items() if day >= start}
            assert (restated if new == "2020-03-26" else named)(platform) == expected
            assert 0 < len(expected) < len(held)
            before = {day: platform.lake.head(raw_key(day)).etag for day in held}
            launched = launch(platform, sorted(expected))
            touched = {day for day in held if platform.lake.head(raw_key(day)).etag != before[day]}
            assert touched == launched == set(expected)
            for day, (inserted, changed, removed) in expected.items():
                found = metadata_of(platform, day)
                counts = (found["rows_inserted"], found["rows_changed"], found["rows_removed"])
                assert counts == (inserted, changed, removed), day
            assert named(platform) == {}
        asked = sum(count for path, count in mirror.sent.items() if path.endswith(".zip"))
        assert asked <= 3 * len(STATIONS) + 1  # each version of a file once
    assert_same(platform, held, in_files("2020-03-27", tuple(STATIONS)))


def restated(platform: Platform) -> dict[date, tuple[int, int, int]]:
    """What the command names."""
    done = platform.run("weather-backfill", "restatements", "--service", "dwd", "--tenant", "de", "--json")
    assert "not compared" not in done.stderr
    rows = json.loads(done.stdout)
    return {date.fromisoformat(r["date"]): (r["inserted"], r["changed"], r["removed"]) for r in rows}


def named(platform: Platform) -> dict[date, tuple[int, int, int]]:
    """The same without a process of its own."""
    found = find_restatements(platform.settings, "dwd", "de").found
    assert not found.problems
    return {day: (c.inserted, c.changed, c.removed) for day, c in found.days.items()}


def launch(platform: Platform, expected: list[date]) -> set[date]:
    """Launch twice, which is one backfill; then run what it targets, as the daemon would, without the wait."""
    found = find_restatements(platform.settings, "dwd", "de")
    with platform.instance as instance:
        desk = BackfillContext(instance, build_definitions(platform.settings), platform.settings)
        [name] = {str(launch_restatements(desk, found)) for _ in range(2)}
        [backfill] = natives_of(instance, name)
        target = targets(backfill)
    assert target == set(expected)
    for run in consecutive(sorted(target)):
        in_process(platform, run[0], run[-1])
    with platform.instance as instance:
        finish(
            BackfillContext(instance, build_definitions(platform.settings), platform.settings)
        )  # as the daemon would say
    return target


def targets(backfill: Any) -> set[date]:
    """The raw days of a backfill."""
    subset = backfill.asset_backfill_data.target_subset
    keys = subset.get_partitions_subset(dg.AssetKey(RAW.split("/"))).get_partition_keys()
    return {date.fromisoformat(key[:10]) for key in keys}


def consecutive(days: list[date]) -> list[list[date]]:
    """Days in runs without a gap."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


def raw_key(day: date) -> str:
    return layout.day_key(layout.RAW_OBSERVATIONS, "dwd", PartitionKey(day, "de"))
