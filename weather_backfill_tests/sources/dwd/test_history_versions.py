"""Two versions of a station's history side by side."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime

import pytest

from weather_backfill.sources.dwd.directory_index import DirectoryEntry
from weather_backfill.sources.dwd.history_versions import superseded
from weather_backfill.sources.dwd.products import parse_file_name, product
from weather_backfill_tests.sources.dwd.files import frame, good, hourly_zip, put, read_days, zipped
from weather_backfill_tests.sources.dwd.test_source import HISTORICAL, RECENT, local

JUNE = datetime(2015, 6, 1, 2, tzinfo=UTC)


def test_the_newer_version_is_the_history_and_what_it_withdrew_is_gone(tmp_path) -> None:
    """The path order of the names is the other way round."""
    put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_20150101_20221231_hist.zip", hourly_zip(2, JUNE, [1.0] * 48))
    newer = f"{HISTORICAL}/stundenwerte_TU_00002_20150101_20231231_hist.zip"
    put(tmp_path, newer, hourly_zip(2, JUNE, [2.0] * 3))
    first, second = good(read_days(local(tmp_path), [date(2015, 6, 1), date(2015, 6, 2)]))
    air = frame([first]).query("metric == 'air_temperature'")
    assert air["value"].tolist() == [2.0] * 3
    assert second.table.num_rows == 0
    assert first.facts["source_objects"] == 1
    assert first.facts["superseded_files"] == [f"{HISTORICAL}/stundenwerte_TU_00002_20150101_20221231_hist.zip"]


def test_a_damaged_newer_version_is_not_replaced_by_the_older_one(tmp_path) -> None:
    put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_20150101_20221231_hist.zip", hourly_zip(2, JUNE, [1.0] * 48))
    put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_20150101_20231231_hist.zip", b"oops")
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", hourly_zip(2, JUNE, [3.0]))
    (day,) = read_days(local(tmp_path), [date(2015, 6, 1)])
    assert "20231231_hist.zip" in str(getattr(day, "incomplete", None) or day)


def test_ten_minutes_are_the_newer_version_of_the_same_chunk(tmp_path) -> None:
    header = "STATIONS_ID;MESS_DATUM;QN;PP_10;TT_10;TM5_10;RF_10;TD_10;eor\n"
    folder = "10_minutes/air_temperature/historical"
    for end, value in (("20221231", 1.0), ("20231231", 2.0)):
        text = f"{header}2;202006020100;3;990;{value};1;80;0;eor\n"
        name = f"{folder}/10minutenwerte_TU_00002_20200101_{end}_hist.zip"
        put(tmp_path, name, zipped(produkt_zehn_min_tu__txt=text))
    (day,) = good(read_days(local(tmp_path, resolution="10_minutes"), [date(2020, 6, 2)]))
    assert frame([day]).query("metric == 'air_temperature'")["value"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("names", "gone", "resolution"),
    [
        (["20150101_20221231", "20150101_20231231"], ["20150101_20221231"], "hourly"),
        (["20150101_20221231", "20200101_20231231"], ["20150101_20221231"], "hourly"),  # the head was withdrawn
        (["19500101_19701231", "19900101_20231231"], [], "hourly"),  # no day in common: no versions
        (["20150101_20231231", "20231231_20150101"], [], "hourly"),  # start > end: its days are unknown
        (["19930428_19991231", "20000101_20091231", "20200101_20231231"], [], "10_minutes"),
        (["20200101_20221231", "20200101_20231231"], ["20200101_20221231"], "10_minutes"),
        (["20100101_20200101", "20200101_20231231"], [], "10_minutes"),  # a day in common: two chunks
    ],
)
def test_files_are_versions_where_they_claim_the_same_days(names, gone, resolution) -> None:
    prefix = "stundenwerte" if resolution == "hourly" else "10minutenwerte"
    wanted = product(resolution, "air_temperature")
    full = {f"{prefix}_TU_00002_{span}_hist.zip": span for span in names}
    listed = [(parse_file_name(wanted, name), DirectoryEntry(name, None)) for name in full]
    found = superseded(listed, resolution != "hourly")  # type: ignore[arg-type]
    assert sorted(full[name] for name in found) == gone


def test_of_equal_ends_the_one_listed_later_holds(tmp_path) -> None:
    for start, value, written in (("20150101", 1.0, 2_000_000_000), ("20140101", 2.0, 1_000_000_000)):
        name = f"{HISTORICAL}/stundenwerte_TU_00002_{start}_20231231_hist.zip"
        os.utime(put(tmp_path, name, hourly_zip(2, JUNE, [value])), (written, written))
    (day,) = good(read_days(local(tmp_path), [date(2015, 6, 1)]))
    assert frame([day]).query("metric == 'air_temperature'")["value"].tolist() == [1.0]
