"""What Tempest's values stand for, from an archive through Dagster to raw and refined.

Expectations are computed here from the archive's own messages, by the rules of docs/values.md.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from weather_backfill.backfill.launch import register_tenant
from weather_backfill.lake import layout
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.platform import START, Platform
from weather_backfill_tests.refine.by_second import Value, assert_windows, midnight
from weather_backfill_tests.sources.tempest.test_source import message, report

RAIN = "precipitation_amount"
POSITIONS = {"air_temperature": 7, RAIN: 12, "wind_speed": 2, "wind_speed_of_gust": 3}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """One for all tests here: each has a tenant of its own."""
    folder = tmp_path_factory.mktemp("platform")
    return Platform(folder, str(folder / "lake"))


def day_of(platform: Platform, dataset: str, tenant: str, day: date) -> pd.DataFrame:
    return platform.day(dataset, tenant, day).to_pandas().astype({"station_id": str, "metric": str})


def reports(archive: Path) -> Iterator[list[float | None]]:
    """Every report of a simulated archive of one station once; what is no JSON is left out."""
    seen = set()
    for file in sorted(archive.rglob("*.json.gz")):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            try:
                [found] = json.loads(line)["obs"]
            except ValueError:
                continue
            if found[0] not in seen:
                yield found
            seen.add(found[0])


def test_minutes_that_lie_across_windows_and_days(platform: Platform) -> None:
    """Two wet days, stamped 21 and 16 s after the minute: one report in fifteen is split between two windows, and the
    first one of each day is the last of the day before.
    """
    archive = platform.add_tempest("acme", 4)
    days = [START + timedelta(days=2), START + timedelta(days=3)]
    with platform.instance as instance:
        assert platform.load(instance, *days).success
    of_archive = list(reports(archive))
    assert len(of_archive) < 4 * 1440, "some minutes are missing"
    assert {stamp % 60 for stamp, *_ in of_archive if stamp >= midnight(days[0])} == {21, 16}  # type: ignore[operator]
    for day in days:
        raw, refined = (day_of(platform, name, "acme", day) for name in (layout.RAW_OBSERVATIONS, layout.REFINED_15M))
        assert not (raw.quality == 4).any()
        own = [found for found in of_archive if 0 <= found[0] - 30 - midnight(day) < 86_400]  # type: ignore[operator]
        for metric, position in POSITIONS.items():
            said = [(int(f[0]) - 60 - midnight(day), f[position]) for f in own]  # type: ignore[arg-type]
            rows = [Value(start, 60, value) for start, value in said if value is not None]
            assert 1300 < len(rows) < 1440
            assert raw[raw.metric == metric].value.dropna().tolist() == [row.value for row in rows]
            assert_windows(refined[refined.metric == metric].reset_index(drop=True), rows, day)
        rain = math.fsum(found[POSITIONS[RAIN]] or 0 for found in own)
        assert rain > 10
        assert refined[refined.metric == RAIN].partial_sum.sum() == pytest.approx(rain)


DAY = date(2024, 3, 10)
SIX = midnight(DAY) + 6 * 3600


def buckets(minutes: int, stamps: range, rain: float, serial: str) -> bytes:
    """A REST answer in buckets, stamped at their ends."""
    rows = [report(stamp, e12=rain, e17=minutes) for stamp in stamps]
    return json.dumps({"serial_number": serial, "type": "obs_st", "bucket_step_minutes": minutes, "obs": rows}).encode()


def test_reports_that_overlap_are_coarse_or_say_less(platform: Platform, tmp_path: Path) -> None:
    """One station a case, objects received in the order of their names; what a report is silent on takes nothing."""
    minutes = [report(SIX + 17 + 60 * n, e12=0.1) for n in range(15)]
    fives = range(SIX + 300, SIX + 901, 300)
    bodies = {
        "1-minutes": message(*minutes, serial="ST-OVER"),
        "2-gap": buckets(5, fives, 0.5, "ST-OVER"),
        "1-gap": buckets(5, fives, 0.5, "ST-UNDER"),
        "2-minutes": message(*minutes, serial="ST-UNDER"),
        "five": buckets(5, fives, 0.5, "ST-FIVE"),
        "long": buckets(180, range(SIX + 10_800, SIX + 10_801), 45.0, "ST-LONG"),
        "1-websocket": message(report(SIX + 17, e12=0.1, e19=0.3, e20=0.4), serial="ST-LESS"),
        "2-udp": message(report(SIX + 17, e12=0.1)[:18], serial="ST-LESS"),
        "3-null": message(report(SIX + 17, e12=None, e13=None), serial="ST-LESS"),
    }
    for name, body in bodies.items():
        file = tmp_path / f"archive/year=2024/month=03/day=10/hour=06/{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    connection = TempestConnection(archive_url=str(tmp_path / "archive"))
    TenantRegistry(open_tenant_files(platform.settings)).put(Tenant(id="mixed", services=Services(tempest=connection)))
    with platform.instance as instance:
        register_tenant(instance, "tempest", "mixed")
        assert platform.load(instance, DAY, tenant="mixed").success
        wanted = dg.AssetRecordsFilter(
            dg.AssetKey(["tempest", layout.RAW_OBSERVATIONS]), asset_partitions=[f"{DAY}|mixed"]
        )
        [record] = instance.fetch_materializations(wanted, limit=9).records
    facts = {name: value.value for name, value in record.asset_materialization.metadata.items()}  # type: ignore[union-attr]
    assert (facts["reports_kept"], facts["duplicates"]) == (15 + 15 + 3 + 1 + 1, 2)
    assert facts["covered_by_finer"] == 2 * 3 * 21, "by value: all three buckets of two stations"

    raw = day_of(platform, layout.RAW_OBSERVATIONS, "mixed", DAY)
    rain = raw[raw.metric == RAIN].groupby("station_id").value.sum()
    assert rain.to_dict() == pytest.approx(
        {"ST-FIVE": 1.5, "ST-LESS": 0.1, "ST-LONG": 45, "ST-OVER": 1.5, "ST-UNDER": 1.5}
    )
    assert set(raw.quality) == {1}
    less = raw[raw.station_id == "ST-LESS"].set_index("metric").value
    nearcast = ["precipitation_amount_nearcast", "precipitation_amount_of_local_day_nearcast"]
    assert less[[*nearcast, "precipitation_type"]].tolist() == [0.12, 0.13, 1]

    refined = day_of(platform, layout.REFINED_15M, "mixed", DAY)
    windows = refined[refined.metric == RAIN].set_index("station_id")
    assert windows.groupby("station_id").partial_sum.sum().to_dict() == pytest.approx(rain.to_dict())
    whole = windows.loc["ST-FIVE"]
    assert (whole.window_start, whole.completeness, whole.quality) == (pd.Timestamp(SIX, unit="s", tz="UTC"), 1, 1)
    assert whole["sum"] == pytest.approx(1.5)
    hours = windows.loc["ST-LONG"]
    assert (hours.window_start, hours.window_seconds) == (pd.Timestamp(SIX, unit="s", tz="UTC"), 10_800)
    assert (hours["sum"], hours.completeness, hours.quality) == (45.0, 1, 1)
