"""What DWD's values stand for, from its files through Dagster to raw and refined.

Expectations are computed here from the files' own text, by the rules of docs/values.md.
"""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from weather_backfill.lake import layout
from weather_backfill.model.partitions import days_between
from weather_backfill.reader import read_refined
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.refine.by_second import midnight
from weather_backfill_tests.sources.dwd.files import DWD, member, needs_data, put, zipped
from weather_backfill_tests.sources.dwd.test_doubles import sunshine_zip

INTERVALS = DWD / "intervals/climate_environment/CDC/observations_germany/climate"
RAIN = "precipitation_amount"
DAY_SECONDS, WINDOW = 86_400, 900


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """One for all tests here: each has a tenant of its own."""
    folder = tmp_path_factory.mktemp("platform")
    return Platform(folder, str(folder / "lake"))


def load(platform: Platform, tenant: str, url: str, start: date, end: date, **connection: Any) -> None:
    """Raw and refined of some days in one run, all of them good."""
    platform.add_dwd(tenant, base_url=url, **connection)
    with platform.instance as instance:
        assert platform.load(instance, start, end, tenant=tenant, service="dwd").success
    assert platform.materialized("refined_15m", tenant, "dwd") == set(days_between(start, end))


def windows(platform: Platform, tenant: str, start: date, end: date, metric: str) -> pd.DataFrame:
    """The windows of one metric that start in some days."""
    wanted = {"start": start, "end": end, "metrics": [metric], "settings": platform.settings}
    rows = read_refined(tenant=tenant, service="dwd", **wanted)
    return rows.sort_values("window_start").reset_index(drop=True)


def of_file(path: Path, position: int) -> tuple[np.ndarray, np.ndarray]:
    """The stamps (epoch seconds) and values of a column of a product in UTC, missing ones left out; numpy alone."""
    lines = [line.split(b";") for line in member(path).splitlines()[1:] if line.strip()]
    text = [line[1].decode().strip().ljust(12, "0") for line in lines]
    iso = [f"{t[:4]}-{t[4:6]}-{t[6:8]}T{t[8:10]}:{t[10:]}" for t in text]
    stamps = np.array(iso, "datetime64[s]").astype("i8")
    values = np.array([float(line[position]) for line in lines])
    return stamps[values != -999], values[values != -999]


def the_file(name: str) -> Path:
    return next(DWD.rglob(name))


@needs_data
@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2024, 5, 31), date(2024, 6, 4)),  # wet days, and the first of a long gap
        pytest.param(date(2023, 7, 29), date(2024, 8, 31), marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
    ids=["some days", "whole file"],
)
def test_rain_of_ten_minutes_lies_where_it_fell(first: date, last: date, platform: Platform, tmp_path: Path) -> None:
    zip_file = the_file("10minutenwerte_nieder_05992_akt.zip")
    folder = tmp_path / "server/10_minutes/precipitation"
    (folder / "recent").mkdir(parents=True)
    shutil.copy(zip_file, folder / "recent")
    # Without any history a gap would be one that is being refilled.
    put(folder, "historical/10minutenwerte_nieder_00001_20100101_20191231_hist.zip", b"")
    wanted = {"stations": ["05992"], "products": ["precipitation"], "resolution": "10_minutes"}
    load(platform, "rain", (tmp_path / "server").as_uri(), first, last, **wanted)

    stamps, rain = of_file(zip_file, 4)
    begin, end = midnight(first), midnight(last) + DAY_SECONDS
    chosen = (stamps - 300 >= begin) & (stamps - 300 < end)
    stamps, rain = stamps[chosen], rain[chosen]
    halves = (np.concatenate([stamps - 600, stamps - 300]) - begin) // WINDOW  # each lies whole in its window
    count = (end - begin) // WINDOW
    expected = np.bincount(halves, np.tile(rain / 2, 2), count)
    covered = np.bincount(halves, minlength=count) / 3

    table = windows(platform, "rain", first, last, RAIN)
    assert set(table.window_seconds) == {WINDOW}
    number = (table.window_start.astype("int64").to_numpy() // 10**6 - begin) // WINDOW
    assert len(np.unique(number)) == len(number)
    found = np.zeros(count)
    found[number] = table.partial_sum.fillna(0)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    completeness = np.zeros(count)
    completeness[number] = table.completeness
    np.testing.assert_allclose(completeness, covered, atol=1e-9)
    whole = table["sum"].notna().to_numpy()
    assert (whole == (covered[number] >= 0.75)).all()
    np.testing.assert_allclose(table["sum"][whole], expected[number][whole], atol=1e-9)
    by_day = np.bincount((stamps - 300 - begin) // DAY_SECONDS, rain, count // 96)
    np.testing.assert_allclose(found.reshape(-1, 96).sum(axis=1), by_day, atol=1e-9)
    assert found.sum() == pytest.approx(rain.sum())
    assert table.sample_count.sum() == len(rain)


@needs_data
def test_an_hour_of_rain_counts_for_the_day_in_which_it_fell(platform: Platform) -> None:
    """01975: 8.6 mm stamped 2021-07-01 00 fell from 22:50 to 23:50 on 30 June."""
    first, last = date(2021, 6, 29), date(2021, 7, 1)
    load(platform, "hours", INTERVALS.as_uri(), first, last, stations=["01975"], products=["precipitation"])
    stamps, rain = of_file(the_file("stundenwerte_RR_01975_akt.zip"), 3)
    days = [platform.day(layout.REFINED_15M, "hours", day, "dwd").to_pandas() for day in days_between(first, last)]
    for day, table in zip(days_between(first, last), days, strict=True):
        hourly = table[table.metric == RAIN]
        assert set(hourly.window_seconds) == {3600}
        own = (stamps > midnight(day)) & (stamps <= midnight(day) + DAY_SECONDS)  # from 01 to 00 of the next day
        assert (hourly.window_start.astype("int64") // 10**6).tolist() == (stamps[own] - 4200).tolist()
        assert hourly["sum"].tolist() == rain[own].tolist()
    at_midnight = days[1][(days[1].metric == RAIN) & (days[1].window_start == "2021-06-30T22:50Z")]
    assert at_midnight["sum"].tolist() == [8.6]
    table = pd.concat(days)
    adds_up = table[table.partial_sum.notna()]
    assert not (adds_up.window_seconds == WINDOW).any(), "no hourly sum stands as one of fifteen minutes"
    read = windows(platform, "hours", date(2021, 6, 30), date(2021, 6, 30), RAIN)
    assert 8.6 in read["sum"].tolist()


def test_two_versions_of_a_history_and_a_past_by_the_sun(platform: Platform, tmp_path: Path) -> None:
    """The newer of two zips is the history, also where it withdrew an hour; sunshine was in true solar time to 1994."""
    body, by_the_sun, by_utc = sunshine_zip(20)
    assert by_the_sun > 100_000
    put(tmp_path, "server/hourly/sun/historical/stundenwerte_SD_00433_19750101_19950102_hist.zip", body)
    air = "hourly/air_temperature/historical/stundenwerte_TU_00433_19750101"
    for end, value, hours in (("19981231", 1.0, range(2, 6)), ("19991231", 2.0, range(2, 5))):
        lines = [f"433;19950101{hour:02};3;{value};80.0;eor" for hour in hours]
        text = "\n".join(["STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor", *lines, ""])
        put(tmp_path, f"server/{air}_{end}_hist.zip", zipped(produkt_tu_stunde__txt=text))
    first, last = date(1994, 12, 31), date(1995, 1, 2)
    wanted = {"stations": ["00433"], "products": ["air_temperature", "sun"]}
    load(platform, "old", (tmp_path / "server").as_uri(), first, last, **wanted)

    raw = [platform.day(layout.RAW_OBSERVATIONS, "old", day, "dwd").to_pandas() for day in days_between(first, last)]
    assert [(day.metric == "air_temperature").sum() for day in raw] == [0, 3, 0]
    assert windows(platform, "old", first, last, "air_temperature")["mean"].tolist() == [2.0] * 3
    assert [(day.metric == "duration_of_sunshine").sum() for day in raw] == [0, by_utc // 2, by_utc // 2]
    rejects = platform.day(layout.REJECTED_OBSERVATIONS, "old", first, "dwd")
    assert rejects["reason"].to_pylist() == ["true_solar_time"] * 17
    sun = windows(platform, "old", first, last, "duration_of_sunshine")
    assert set(sun.window_seconds) == {3600}
    assert sun["sum"].tolist() == [float(hour) for hour in range(4, 21)] * 2
    assert (sun.window_start.dt.hour + 1).tolist() == list(range(4, 21)) * 2
