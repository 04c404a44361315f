"""Windows of real DWD files against the rule of overlap, computed from the files' text by pandas alone."""

from __future__ import annotations

import io
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from weather_backfill.lake import parquet
from weather_backfill.model.days import RawDay
from weather_backfill.model.partitions import days_between
from weather_backfill.refine.windows import refine_file
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill_tests.refine.by_second import Value, assert_windows
from weather_backfill_tests.sources.dwd.files import DWD, frame, member, needs_data, read_days, tree

ROOT = DWD / "intervals/climate_environment/CDC/observations_germany/climate"


def refined(
    station: str, product: str, resolution: str, days: list[date], folder: Path, url: str = ROOT.as_uri()
) -> pd.DataFrame:
    """The refined rows of the days that the source can read, as it reads them; `date` is their day."""
    connection = DwdConnection(base_url=url, stations=[station], products=[product], resolution=resolution)
    frames = []
    for day in read_days(connection, days):
        if isinstance(day, RawDay):
            path = folder / "raw.parquet"
            path.write_bytes(parquet.encode(day.table, parquet.cadence_lineage(day.cadence)).data)
            frames.append(refine_file(path, day.date).table.to_pandas().assign(date=day.date))
    return pd.concat(frames).astype({"metric": str})


def column(zip_name: str, name: str, form: str) -> pd.Series:
    """A column of a file by stamp, missing rows left out."""
    text = member(next(DWD.rglob(zip_name)))
    wide = pd.read_csv(io.BytesIO(text), sep=";", skipinitialspace=True, na_values=[-999])
    wide.columns = wide.columns.str.strip()
    stamps = pd.to_datetime(wide["MESS_DATUM"].astype(str), format=form, utc=True)
    return pd.Series(wide[name].to_numpy(), stamps).dropna()


@needs_data
@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2024, 4, 1), date(2024, 5, 31)),
        pytest.param(date(2023, 7, 29), date(2024, 8, 31), marks=pytest.mark.long),
    ],
    ids=["two months", "whole file"],
)
def test_quarters_of_an_hour_hold_what_fell_in_them(first: date, last: date, tmp_path: Path) -> None:
    windows = refined("05992", "precipitation", "10_minutes", days_between(first, last), tmp_path)
    rain = windows[windows.metric == "precipitation_amount"]
    assert set(rain.window_seconds) == {900}
    file = column("10minutenwerte_nieder_05992_akt.zip", "RWS_10", "%Y%m%d%H%M")
    middle = file.index - timedelta(minutes=5)
    file = file[pd.Index(middle.date).isin(set(rain.date))]
    middle = file.index - timedelta(minutes=5)
    # Half of ten minutes lies in each of two times five, and these lie whole in a quarter of an hour.
    halves = pd.concat([file.set_axis(file.index - timedelta(minutes=m)) for m in (10, 5)]) / 2
    expected = halves.groupby(halves.index.floor("15min")).sum()
    found = rain.set_index("window_start").partial_sum.dropna()
    assert found.index.is_unique
    pd.testing.assert_series_equal(found, expected, check_names=False, check_index_type=False, check_freq=False)
    whole = rain.set_index("window_start")["sum"].dropna()
    pd.testing.assert_series_equal(whole, expected[whole.index], check_names=False, check_freq=False)
    by_day = rain.groupby("date").partial_sum.sum()
    pd.testing.assert_series_equal(by_day, file.groupby(middle.date).sum(), check_names=False, check_index_type=False)
    assert found.sum() == pytest.approx(file.sum())
    assert rain.sample_count.sum() == len(file)
    quarters = found.groupby(found.index.minute).sum()
    assert quarters.max() < 1.5 * quarters.min(), "by stamp two quarters of four held half of the others"


@needs_data
def test_an_hourly_sum_is_no_quarter_of_an_hour(tmp_path: Path) -> None:
    """01975: 8.6 mm stamped 2021-07-01 00:00 fell from 22:50 to 23:50 on 30 June."""
    days = days_between(date(2021, 6, 29), date(2021, 7, 2))
    rain = refined("01975", "precipitation", "hourly", days, tmp_path).query("metric == 'precipitation_amount'")
    assert set(rain.window_seconds) == {3600}
    file = column("stundenwerte_RR_01975_akt.zip", "R1", "%Y%m%d%H")
    starts = file.index - timedelta(minutes=70)
    expected = file.set_axis(starts)[pd.Index((starts + timedelta(minutes=30)).date).isin(days)]
    found = rain.set_index("window_start")["sum"]
    pd.testing.assert_series_equal(found, expected, check_names=False, check_index_type=False, check_freq=False)
    assert found[pd.Timestamp("2021-06-30T22:50Z")] == 8.6
    assert set(rain[rain.window_start == "2021-06-30T22:50Z"].date) == {date(2021, 6, 30)}
    by_day = rain.groupby("date")["sum"].sum()
    assert (by_day[date(2021, 6, 30)], by_day[date(2021, 7, 1)]) == (pytest.approx(16.3), pytest.approx(13.6))
    assert (rain.completeness == 1).all()


@needs_data
def test_a_reading_of_an_hour_lies_where_it_was_read(tmp_path: Path) -> None:
    """Hourly temperature is read ten minutes before its stamp."""
    days = [date(2021, 6, 30)]
    air = refined("01975", "air_temperature", "hourly", days, tmp_path).query("metric == 'air_temperature'")
    assert set(air.window_seconds) == {900}
    assert list(air.window_start.dt.minute) == [45] * 24
    file = column("stundenwerte_TU_01975_akt.zip", "TT_TU", "%Y%m%d%H")["2021-06-30T01":"2021-07-01T00"]  # type: ignore[misc]
    assert air["mean"].tolist() == file.tolist()


@needs_data
@pytest.mark.parametrize(
    ("url", "station", "product", "day", "columns"),
    [
        (tree("2020-03-27"), "03379", "air_temperature", date(2019, 6, 26),
         {"surface_air_pressure": "PP_10", "air_temperature": "TT_10", "relative_humidity": "RF_10"}),
        (ROOT.as_uri(), "05705", "wind", date(2020, 3, 13), {"wind_speed": "FF_10"}),
    ],
    ids=["03379", "05705"],
)  # fmt: skip
def test_windows_of_ten_minutes_equal_an_integral_by_seconds(
    url: str, station: str, product: str, day: date, columns: dict[str, str], tmp_path: Path
) -> None:
    windows = refined(station, product, "10_minutes", [day], tmp_path, url)
    begin = pd.Timestamp(day, tz="UTC")
    for metric, name in columns.items():
        file = column(f"10minutenwerte_*_{station}_*.zip", name, "%Y%m%d%H%M")
        file = file[(file.index > begin) & (file.index <= begin + timedelta(days=1))]
        assert len(file) >= 143
        starts = (file.index - begin).total_seconds().astype(int) - 600
        rows = [Value(int(start), 600, value) for start, value in zip(starts, file, strict=True)]
        assert_windows(windows[windows.metric == metric].reset_index(drop=True), rows, day)


def raw(url: str, station: str, product: str, resolution: str, days: list[date], metric: str) -> pd.DataFrame:
    """One metric's raw rows that have a value, with the interval `(start, end]` of each."""
    connection = DwdConnection(base_url=url, stations=[station], products=[product], resolution=resolution)
    rows = frame([day for day in read_days(connection, days) if isinstance(day, RawDay) and day.table.num_rows])
    rows = rows[(rows.metric == metric) & rows.value.notna()].set_index("observed_at", drop=False)
    end = rows.observed_at + pd.to_timedelta(rows.interval_end_offset_seconds, unit="s")
    return rows.assign(start=end - pd.to_timedelta(rows.interval_seconds, unit="s"), end=end)


@needs_data
def test_an_hourly_temperature_is_the_ten_minutes_that_end_where_it_was_read() -> None:
    """03379: 18 months in two resolutions."""
    days = days_between(date(2018, 9, 24), date(2020, 3, 26))
    tables = {
        resolution: raw(tree("2020-03-27"), "03379", "air_temperature", resolution, days, "air_temperature")
        for resolution in ("hourly", "10_minutes")
    }
    hourly, fine = tables["hourly"], tables["10_minutes"]
    assert (hourly.start == hourly.end).all()
    assert ((fine.end - fine.start) == timedelta(minutes=10)).all()
    pairs = hourly.set_index("end").value.to_frame("hour").join(fine.set_index("end").value, how="inner")
    assert len(pairs) == 12_959
    assert (pairs.hour == pairs.value).all()


@needs_data
def test_an_hour_of_wind_is_the_mean_of_the_ten_minutes_in_it() -> None:
    """05705: March to December 2020; hours of which all six means are there."""
    days = days_between(date(2020, 3, 12), date(2020, 12, 31))
    hourly = raw(ROOT.as_uri(), "05705", "wind", "hourly", days, "wind_speed")
    fine = raw(ROOT.as_uri(), "05705", "wind", "10_minutes", days, "wind_speed")
    assert ((hourly.end - hourly.start) == timedelta(hours=1)).all()
    assert ((fine.end - fine.start) == timedelta(minutes=10)).all()
    # The hour of an interval: the one whose interval (start, end] holds it; hours follow each other at ten to.
    of_hour = fine.groupby((fine.end + timedelta(minutes=10)).dt.ceil("h") - timedelta(minutes=10)).value
    means = of_hour.mean()[of_hour.count() == 6].rename("mean")
    pairs = hourly.set_index("end").value.to_frame("hour").join(means, how="inner")
    assert len(pairs) == 7_055 - 1, "the first stamp of the file is of a day before its first day: a reject"
    assert (pairs.hour - pairs["mean"]).abs().max() <= 0.05 + 1e-9
