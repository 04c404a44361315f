"""Clocks: the seam of 1999/2000, and the metadata of real hourly stations."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.metadata import ParameterEntry
from weather_backfill.sources.dwd.product_parser import parse_product
from weather_backfill.sources.dwd.products import Period, ProductFile, product
from weather_backfill.sources.dwd.time_reference import (
    UNKNOWN_ZONE,
    HourlyClock,
    SubHourlyHistoryClock,
    UtcClock,
    clock_for,
    zone_offset,
)
from weather_backfill.sources.dwd.zip_file import open_archive
from weather_backfill_tests.sources.dwd.files import DWD, frame, good, needs_data, put, read_days, zipped

TU10 = product("10_minutes", "air_temperature")
HOUR = 3_600_000_000


def micros(*stamps: str) -> np.ndarray:
    return np.array(stamps, dtype="datetime64[us]").astype(np.int64)


def ten_minutes(stamps: pd.DatetimeIndex, values: np.ndarray) -> bytes:
    lines = ["STATIONS_ID;MESS_DATUM;  QN;PP_10;TT_10;TM5_10;RF_10;TD_10;eor"]
    for stamp, value in zip(stamps, values, strict=True):
        lines.append(f"  3;{stamp:%Y%m%d%H%M};  3;-999;{value:.1f};-999;-999;-999;eor")
    return "\n".join(lines).encode() + b"\n"


def air(text: bytes, end: date | None) -> pd.Series:
    start = date(1993, 4, 28) if end and end.year < 2000 else date(2000, 1, 1)
    file = ProductFile("x", "00003", Period.HISTORICAL, start if end else None, end)
    parsed = parse_product(text, TU10, clock_for("10_minutes", file, []))
    assert parsed.rejects.num_rows == 0
    series = next(s for s in parsed.series if s.metric == "air_temperature")
    return pd.Series(series.values, pd.to_datetime(series.times, unit="us", utc=True))


@pytest.fixture(scope="module")
def truth() -> pd.Series:
    """Every ten minutes of UTC around the turn of the millennium, each with its own value."""
    times = pd.date_range("1999-12-31 12:00", "2000-01-01 12:00", freq="10min", tz="UTC")
    return pd.Series(np.arange(len(times)) / 10, times)


def as_written(truth: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The stamps before and after the change: MEZ for what was before 2000-01-01 00:00 UTC, then UTC."""
    old, new = truth[truth.index < "2000-01-01"], truth[truth.index >= "2000-01-01"]
    return old.set_axis(old.index + pd.Timedelta("1h")), new


def test_the_seam_of_two_decade_files_has_neither_gap_nor_collision(truth) -> None:
    old, new = as_written(truth)
    read = [
        air(ten_minutes(old.index, old.to_numpy()), date(1999, 12, 31)),
        air(ten_minutes(new.index, new.to_numpy()), date(2009, 12, 31)),
    ]
    found = pd.concat(read)
    assert found.index.is_unique
    pd.testing.assert_series_equal(found, truth, check_freq=False, check_index_type=False)


@pytest.mark.parametrize("cut", ["1999-12-31 23:00", "1999-12-31 23:30", "2000-01-01 00:00"])
def test_the_seam_holds_wherever_the_files_meet(truth, cut, tmp_path) -> None:
    """The old file may run past its midnight, the new one may begin before its own, and both may overlap."""
    old, new = truth[truth.index < cut], truth[truth.index >= "1999-12-31 23:00"]
    folder = "10_minutes/air_temperature/historical/10minutenwerte_TU_00003"
    for part, shift, years in ((old, "1h", "19930428_19991231"), (new, "0h", "20000101_20091231")):
        text = ten_minutes(part.index + pd.Timedelta(shift), part.to_numpy())
        put(tmp_path, f"{folder}_{years}_hist.zip", zipped(produkt_zehn_min_tu__txt=text))
    connection = DwdConnection(base_url=tmp_path.as_uri(), resolution="10_minutes", stations=["00003"])
    rows = frame(good(read_days(connection, [date(1999, 12, 31), date(2000, 1, 1)])))
    found = rows[rows["metric"] == "air_temperature"].set_index("observed_at")["value"]
    assert found.index.is_unique
    assert found.tolist() == truth.tolist()
    assert (found.index == truth.index).all()


def test_the_seam_inside_one_file_has_neither_gap_nor_collision(truth) -> None:
    old, new = as_written(truth)
    written = pd.concat([old, new])
    found = air(ten_minutes(written.index, written.to_numpy()), None)
    pd.testing.assert_series_equal(found, truth, check_freq=False, check_index_type=False)


def test_stamps_by_the_plain_rule_switch_at_midnight() -> None:
    clock = SubHourlyHistoryClock()
    stamps = micros("1999-12-31T23:40", "1999-12-31T23:50", "2000-01-01T00:00", "2000-01-01T00:10")
    assert (stamps - clock.offsets(stamps, "TT_10")).tolist() == micros(
        "1999-12-31T22:40", "1999-12-31T22:50", "2000-01-01T00:00", "2000-01-01T00:10"
    ).tolist()


def test_summer_time_is_not_applied() -> None:
    stamps = micros("1995-07-01T12:00")
    assert (stamps - SubHourlyHistoryClock().offsets(stamps, "x")).tolist() == micros("1995-07-01T11:00").tolist()


def test_recent_and_now_are_utc_whatever_the_year() -> None:
    for period in (Period.RECENT, Period.NOW):
        assert isinstance(clock_for("10_minutes", ProductFile("x", "00003", period), []), UtcClock)


@needs_data
@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ("1995-03-31T23:00", "1995-03-31T22:00"),  # 19610101 to 19950331 in MEZ
        ("1995-04-01T00:00", "1995-04-01T00:00"),  # 19950401 to 19981017 in UTC
        ("1998-10-16T12:00", "1998-10-16T12:00"),
        ("1998-10-18T12:00", "1998-10-18T11:00"),  # 19981017 to 19981019 in MEZ
        ("1998-10-19T12:00", "1998-10-19T12:00"),  # 19981019 to 20010401 in UTC
        ("2020-03-26T23:00", "2020-03-26T23:00"),
        ("1950-01-01T00:00", "1949-12-31T23:00"),  # before the first entry: its clock
    ],
)
def test_bamberg_changed_its_clock_four_times(stamp, utc) -> None:
    path = DWD / "cdc-2020-03-27/hourly/air_temperature/recent/stundenwerte_TU_00282_akt.zip"
    clock = HourlyClock(open_archive(path.read_bytes(), path.name).metadata.parameters)
    stamps = micros("1960-01-01", stamp)
    assert (stamps - clock.offsets(stamps, "TT_TU"))[1] == micros(utc)[0]


@needs_data
def test_the_eastern_archive_is_mez_until_1991() -> None:
    path = DWD / "cdc-2020-03-27/hourly/air_temperature/recent/stundenwerte_TU_00198_akt.zip"
    entries = open_archive(path.read_bytes(), path.name).metadata.parameters
    assert "Stundenwerte in MEZ (MD)" in {e.time_reference for e in entries}
    stamps = micros("1980-01-01T12:00", "2015-01-01T12:00")
    assert HourlyClock(entries).offsets(stamps, "RF_TU").tolist() == [HOUR, 0]


def test_a_short_spell_inside_a_longer_one_ends_where_it_says() -> None:
    entries = [
        ParameterEntry("T", date(1990, 1, 1), None, time_reference="Stundenwerte in UTC"),
        ParameterEntry("T", date(1995, 1, 1), date(1995, 1, 3), time_reference="Stundenwerte in MEZ"),
    ]
    stamps = micros("1994-12-31T12:00", "1995-01-03T12:00", "1995-01-04T12:00")
    assert HourlyClock(entries).offsets(stamps, "T").tolist() == [0, HOUR, 0]


def test_a_clock_that_cannot_be_converted_rejects_its_rows() -> None:
    assert zone_offset("Stundenwerte in MOZ") == UNKNOWN_ZONE
    entries = [
        ParameterEntry("TT_TU", date(1900, 1, 1), date(1900, 1, 1), time_reference="in MOZ"),
        ParameterEntry("TT_TU", date(1900, 1, 2), None, time_reference="in MEZ"),
    ]
    text = b"STATIONS_ID;MESS_DATUM;QN_9;TT_TU;eor\n3;1900010112;5;1.0;eor\n3;1900010212;5;2.0;eor\n"
    parsed = parse_product(text, product("hourly", "air_temperature"), HourlyClock(entries))
    assert parsed.series[0].values.tolist() == [2.0]
    assert parsed.rejects["reason"].to_pylist() == ["stamped by a clock we cannot convert to UTC"]


def test_without_metadata_hourly_stamps_are_utc() -> None:
    assert HourlyClock([]).offsets(micros("1960-01-01"), "TT_TU") == 0
    assert zone_offset("") == 0
    assert zone_offset("HHMM UTC") == 0
