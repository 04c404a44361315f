"""The source as a whole, over real snapshots by folder and by HTTP, and over trees with faults."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zipfile
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.model.errors import NotFoundError, SchemaError, SourceUnavailableError, UnreadableObjectError
from weather_backfill.model.partitions import days_between
from weather_backfill.refine.coverage import coverage
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.products import Period, product
from weather_backfill.sources.dwd.remote import HttpRemote
from weather_backfill.sources.dwd.source import DwdSource
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.sources.dwd.files import (
    DWD,
    NEW_YEAR,
    frame,
    good,
    hourly,
    hourly_zip,
    in_order,
    member,
    needs_data,
    put,
    read_days,
    tree,
    truth,
    zipped,
)
from weather_backfill_tests.sources.dwd.server import serve

SNAPSHOT = DWD / "cdc-2020-03-27"
ALL_DAYS = days_between(date(2018, 9, 24), date(2020, 3, 26))
COLUMNS = {"TT_TU": "air_temperature", "RF_TU": "relative_humidity"}
RECENT = "hourly/air_temperature/recent"
HISTORICAL = "hourly/air_temperature/historical"


@cache
def hourly_truth(folder: str) -> pd.DataFrame:
    paths = sorted((SNAPSHOT / folder).glob("*.zip"))
    return pd.concat([truth(member(p), COLUMNS, "QN_9") for p in paths], ignore_index=True)


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    """All 182 stations over the range, history before recent, by pandas alone."""
    rows = pd.concat([hourly_truth(HISTORICAL), hourly_truth(RECENT)], ignore_index=True)
    rows = rows.drop_duplicates(["station_id", "metric", "observed_at"], keep="first")
    read_at = rows["observed_at"] - pd.Timedelta(minutes=10)  # as real pairs of hourly and 10-minute files show
    inside = (read_at >= "2018-09-24") & (read_at < "2020-03-27")
    return in_order(rows[inside])


@needs_data
@pytest.mark.parametrize("way", ["file", pytest.param("spilled", marks=pytest.mark.long), "http"])
def test_all_stations_have_exactly_the_rows_and_nulls_of_their_files(way, expected, tmp_path) -> None:
    connection = DwdConnection(base_url=tree("2020-03-27"), stations="all")
    if way == "http":
        with serve(SNAPSHOT) as mirror:
            store = ObjectStore(str(tmp_path))
            days = read_days(connection, ALL_DAYS, cache=store, remote=HttpRemote(mirror.url, wait=0))
            zips = {p: n for p, n in mirror.asked.items() if p.endswith(".zip")}
        assert len(zips) == 190
        assert set(zips.values()) == {1}, "each file is asked for once, not once a day"
    else:
        days = read_days(connection, ALL_DAYS, memory_bytes=10 << 20 if way == "spilled" else 1 << 30)
    assert [d.date for d in days] == ALL_DAYS
    found = frame(good(days))
    assert found["station_id"].nunique() == 182
    pd.testing.assert_frame_equal(in_order(found), expected)
    rejects = pa.concat_tables([d.rejects for d in good(days)]).to_pandas()
    opening = hourly_truth(RECENT).groupby("station_id")["observed_at"].min()
    opening = opening[opening.dt.hour == 0].drop({p.name.split("_")[2] for p in (SNAPSHOT / HISTORICAL).glob("*.zip")})
    assert len(opening) > 100
    assert set(rejects["reason"]) == {"before_first_day"}
    assert dict(zip(rejects["station_id"], rejects["observed_at"], strict=True)) == opening.to_dict()
    keys = found[["station_id", "metric", "observed_at"]].reset_index(drop=True)
    for day in good(days)[:3]:
        own = frame([day])
        assert ((own["observed_at"] - pd.Timedelta(minutes=10)).dt.date == day.date).all()
        assert (own[["interval_seconds", "interval_end_offset_seconds"]] == [0, -600]).all(axis=None)
        pd.testing.assert_frame_equal(own, own.sort_values(list(keys.columns)).reset_index(drop=True))
        assert ((own["quality"] == 9) == own["value"].isna()).all()


@needs_data
def test_history_and_recent_give_each_hour_once(expected) -> None:
    stations = sorted(p.name.split("_")[2] for p in (SNAPSHOT / HISTORICAL).glob("*.zip"))
    assert len(stations) == 8
    days = good(read_days(DwdConnection(base_url=tree("2020-03-27"), stations=stations), ALL_DAYS))
    found = frame(days)
    assert not found.duplicated(["station_id", "metric", "observed_at"]).any()
    wanted = expected[expected["station_id"].isin(stations)].reset_index(drop=True)
    pd.testing.assert_frame_equal(in_order(found), wanted)
    names = json.loads(days[0].lineage["source_objects"])
    assert any(n.endswith("_hist.zip") for n in names)


@needs_data
def test_a_day_is_the_same_whatever_range_it_is_read_in() -> None:
    connection = DwdConnection(base_url=tree("2020-03-27"), stations=["00161", "00078"])
    whole = {d.date: d for d in good(read_days(connection, days_between(date(2018, 12, 1), date(2019, 1, 31))))}
    for day in (date(2018, 12, 31), date(2019, 1, 1)):
        (alone,) = good(read_days(connection, [day]))
        assert frame([alone]).equals(frame([whole[day]]))
        assert alone.lineage == whole[day].lineage
        assert alone.facts == whole[day].facts


@needs_data
def test_ten_minutes_have_the_known_daily_mean() -> None:
    connection = DwdConnection(base_url=tree("2020-03-27"), resolution="10_minutes", stations=["03379"])
    days = good(read_days(connection, days_between(date(2018, 10, 4), date(2020, 4, 5))))
    found = frame(days)
    air = found[found["metric"] == "air_temperature"].set_index("observed_at")["value"]
    assert [d.rejects["reason"].to_pylist() for d in days if d.rejects.num_rows] == [["before_first_day"]]
    assert len(air) == 79_200 - 1, "the first stamp is the end of ten minutes of the day before"
    path = next((SNAPSHOT / "10_minutes/air_temperature/recent").glob("*_03379_*.zip"))
    rows = truth(member(path), {"TT_10": "air_temperature"}, "QN").set_index("observed_at")["value"]
    assert (len(rows), rows.mean()) == (79_200, pytest.approx(9.3066, abs=5e-5))
    pd.testing.assert_series_equal(air.sort_index(), rows[1:], check_freq=False, check_index_type=False)
    assert (air.min(), air.max()) == (-8.0, 35.1)
    (day,) = [d for d in days if d.date == date(2019, 6, 26)]
    own = frame([day])
    by_stamp = rows["2019-06-26 00:00":"2019-06-26 23:50"]
    assert by_stamp.mean() == pytest.approx(27.0521, abs=5e-5)
    by_interval = rows["2019-06-26 00:10":"2019-06-27 00:00"]
    assert own[own["metric"] == "air_temperature"]["value"].tolist() == by_interval.tolist()
    assert day.cadence.seconds == 600


@needs_data
def test_stations_are_chosen_by_state_and_box() -> None:
    day = [date(2019, 7, 1)]
    (berlin,) = read_days(DwdConnection(base_url=tree("2020-03-27"), stations={"state": "Berlin"}), day)
    assert isinstance(berlin, RawDay)
    assert {lack.station for lack in berlin.lacks} == {"00403", "00430"}, "active by the list, not among these files"
    box = {"south": 52.3, "west": 13.0, "north": 52.7, "east": 13.8}
    (boxed,) = read_days(DwdConnection(base_url=tree("2020-03-27"), stations=box), day)
    assert isinstance(boxed, RawDay)
    in_berlin, in_box = (set(frame([d])["station_id"]) for d in (berlin, boxed))
    assert in_berlin
    assert in_berlin <= in_box


@needs_data
def test_the_inventory_names_every_day_that_holds_data() -> None:
    source = DwdSource(DwdConnection(base_url=tree("2020-03-27"), stations="all"))
    found = source.inventory(date(2018, 9, 1), date(2020, 3, 26))
    assert set(ALL_DAYS) <= set(found)
    assert found[date(2019, 5, 5)].objects == 182
    assert found[date(2018, 12, 31)].objects == 190


@needs_data
def test_the_history_of_real_stations_has_one_present_and_no_overlap() -> None:
    table, failed = DwdSource(DwdConnection(base_url=tree("2020-03-27"), stations="all")).station_history()
    assert failed == {}
    rows = table.to_pandas()
    assert rows["station_id"].nunique() == 182
    current = rows.groupby("station_id")["is_current"].sum()
    assert current[current != 1].to_dict() == {"03552": 0}, "Neuruppin was closed on 2019-04-10, no other"
    following = rows.groupby("station_id")["valid_from"].shift(-1)
    assert not (rows["valid_to"] > following).any()
    alfhausen = rows[rows["station_id"] == "00078"]
    assert alfhausen["valid_from"].min() == date(1949, 4, 15)
    last = alfhausen.iloc[-1]
    assert (last["name"], last["latitude"], last["height"], last["is_current"]) == (
        "Alfhausen",
        52.4853,
        65.0,
        True,
    )
    assert list(last["instruments"]) == ["Lufttemperatur: PT 100 (Luft)", "Rel Feuchte: EE33"]


START = NEW_YEAR + timedelta(hours=1)
"""The first stamp of a day of hourly temperature: the reading of 0:50. That of 23:50 is stamped 0:00."""
DAYS = days_between(date(2020, 1, 1), date(2020, 1, 3))


def station_zip(number: int, hours: int = 72) -> bytes:
    return hourly_zip(number, START, [number / 100 + h / 10 for h in range(hours)])


def local(root: Path, stations: object = "all", **more: object) -> DwdConnection:
    return DwdConnection(base_url=root.as_uri(), stations=stations, **more)


def cut_text() -> bytes:
    """A sound zip whose product ends in the middle of a row."""
    whole = member_bytes(station_zip(2))
    return zipped(produkt_tu_stunde__txt=whole[: len(whole) - 25])


def member_bytes(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return archive.read(archive.namelist()[0])


DAMAGES = {
    "cut text": (cut_text, "ends in the middle of a row"),
    "cut zip": (lambda: station_zip(2)[:-40], "is truncated"),
    "two products": (lambda: zipped(produkt_a__txt="a", produkt_b__txt="b"), "2 product files"),
    "error page": (lambda: b"<html><title>Fehler</title></html>", "HTML page titled 'Fehler'"),
    "other station": (lambda: station_zip(9), "rows of station 00009"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("way", ["file", "http"])
def test_a_damaged_file_costs_its_station_and_no_other(damage, way, tmp_path) -> None:
    make, words = DAMAGES[damage]
    for number in (1, 3):
        put(tmp_path, f"{RECENT}/stundenwerte_TU_0000{number}_akt.zip", station_zip(number))
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", make())
    if way == "http":
        with serve(tmp_path) as mirror:
            days = read_days(local(tmp_path), DAYS, remote=HttpRemote(mirror.url, wait=0))
    else:
        days = read_days(local(tmp_path), DAYS)
    assert [d.date for d in days] == DAYS
    for day in days:
        assert isinstance(day, RawDay)
        assert day.incomplete is not None
        assert "station 00002: stundenwerte_TU_00002_akt.zip" in day.incomplete
        assert words in day.incomplete
        assert list(day.facts["failed_stations"]) == ["00002"]
        assert sorted(frame([day])["station_id"].unique()) == ["00001", "00003"]
        assert day.table.num_rows == 2 * 2 * 24


@needs_data
def test_the_really_truncated_file_fails_its_days(tmp_path) -> None:
    path = next((DWD / "damaged").glob("*.gz"))
    body = zipped(**{path.name.replace(".truncated_tail.txt.gz", "__txt"): gzip.decompress(path.read_bytes())})
    put(tmp_path, "10_minutes/air_temperature/recent/10minutenwerte_TU_03379_akt.zip", body)
    connection = local(tmp_path, resolution="10_minutes")
    days = read_days(connection, [date(2019, 1, 1), date(2020, 1, 1)])
    for day in days:
        assert isinstance(day, DayFailure)
        assert isinstance(day.error, UnreadableObjectError)
        assert "10minutenwerte_TU_03379_akt.zip" in str(day.error)
    (outside,) = read_days(connection, [date(2015, 1, 1)])
    assert isinstance(outside, DayFailure)
    assert "10_minutes/air_temperature/historical is not on the server" in str(outside.error)


def test_a_sound_history_covers_for_a_damaged_recent_file(tmp_path) -> None:
    put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_20191231_20200102_hist.zip", station_zip(2, 48))
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", b"oops")
    first, second, third = read_days(local(tmp_path), DAYS)
    assert good([first, second])
    assert isinstance(third, DayFailure)


def test_the_more_final_row_wins_and_late_rows_are_kept(tmp_path) -> None:
    put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_20200101_20200101_hist.zip",
        hourly_zip(2, START, [-999.0, 1.0], level=10))  # fmt: skip
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", hourly_zip(2, START, [5.0, 6.0, 7.0], level=1))
    (day,) = good(read_days(local(tmp_path), DAYS[:1]))
    air = frame([day]).query("metric == 'air_temperature'")
    assert air["value"].tolist() == pytest.approx([float("nan"), 1.0, 7.0], nan_ok=True)
    assert air["source_quality"].tolist() == [10, 10, 1]
    assert day.facts["source_objects"] == 2


def test_a_metric_of_two_products_is_taken_from_the_one_named_first(tmp_path) -> None:
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", station_zip(2))
    text = "STATIONS_ID;MESS_DATUM;QN_8;TT;TD;eor\n2;2020010101;3;99.0;1.5;eor\n"
    put(tmp_path, "hourly/dew_point/recent/stundenwerte_TD_00002_akt.zip", zipped(produkt_td__txt=text))
    (day,) = good(read_days(local(tmp_path, products=["air_temperature", "dew_point"]), DAYS[:1]))
    found = frame([day]).drop_duplicates("metric").set_index("metric")["value"]
    assert found.to_dict() == {
        "air_temperature": 0.02,
        "dew_point_temperature": 1.5,
        "relative_humidity": 50.0,
    } or (found["dew_point_temperature"] == 1.5 and found["air_temperature"] != 99.0)


def test_days_without_data_are_empty_and_days_in_no_order_are_sorted(tmp_path) -> None:
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", station_zip(2))
    days = good(read_days(local(tmp_path), [date(2020, 1, 2), date(2030, 1, 1), date(2020, 1, 1)]))
    assert [(d.date.year, d.table.num_rows) for d in days] == [(2020, 48), (2020, 48), (2030, 0)]
    assert read_days(local(tmp_path), []) == []


def test_a_station_silent_for_a_day_is_missed_until_it_counts_as_closed(tmp_path) -> None:
    """1 reports always; 2 pauses on the second, 3 ends with the first, 4 a month before, 5 begins with the third."""
    opens = START + timedelta(days=2)
    old = hourly_zip(4, START - timedelta(days=31), [1.0] * 23)
    rows = {1: station_zip(1), 3: hourly_zip(3, START, [1.0] * 24), 4: old, 5: hourly_zip(5, opens, [1.0] * 24)}
    gap = member_bytes(station_zip(2)).decode().splitlines(keepends=True)
    rows[2] = zipped(produkt_tu__txt="".join(gap[:25] + gap[49:]))
    for number, body in rows.items():
        put(tmp_path, f"{RECENT}/stundenwerte_TU_{number:05}_akt.zip", body)
    first, second, third = good(read_days(local(tmp_path), DAYS))
    assert first.expected_stations == ("00001", "00002", "00003")
    assert second.expected_stations == ("00001", "00002", "00003")
    assert third.expected_stations == ("00001", "00002", "00003", "00005")
    assert coverage(second).worst == {"00002": 0.0, "00003": 0.0, "00001": 1.0}
    assert coverage(second).share == pytest.approx(1 / 3)


def test_rejected_rows_come_with_their_day(tmp_path) -> None:
    text = member_bytes(station_zip(2)).decode() + "2;2020010205;3;x;1;eor\r\n;;;\r\n"
    text = text.replace("eor\r\n;;;", "eor\r\n;;;eor")
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", zipped(produkt_tu__txt=text))
    first, second, third = good(read_days(local(tmp_path), DAYS))
    assert [d.rejects.num_rows for d in (first, second, third)] == [0, 1, 1], "undated, at the file's last day"
    assert second.rejects["reason"].to_pylist() == ["TT_TU is 'x', expected a number"]
    assert second.table.num_rows == 48


def test_a_file_of_which_no_row_can_be_read_fails_the_days(tmp_path) -> None:
    """As if stamps had got a space: nothing of the file would be seen, rows or rejects."""
    with zipfile.ZipFile(io.BytesIO(station_zip(2))) as archive:
        (name,) = [n for n in archive.namelist() if n.startswith("produkt")]
        text = re.sub(r";(\d{8})(\d{2});", r";\1 \2;", archive.read(name).decode())
    assert text.count("20200101 ") == 23
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00001_akt.zip", station_zip(1))
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", zipped(produkt_tu__txt=text))
    for day in read_days(local(tmp_path), DAYS):
        assert isinstance(day, RawDay)
        assert "72 rows cannot be read" in str(day.incomplete), "the other station's rows are written"


def test_unknown_stations_and_missing_products_are_errors_not_empty_days(tmp_path) -> None:
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", station_zip(2))
    put(tmp_path, "hourly/wind/recent/readme.txt", b"under construction")
    for connection, kind in [
        (local(tmp_path, stations=["00099"]), NotFoundError),
        (local(tmp_path, products=["sun"]), NotFoundError),
        (local(tmp_path, products=["wind"]), SchemaError),
        (local(tmp_path, stations={"state": "Hessen"}), NotFoundError),
    ]:
        days = read_days(connection, DAYS)
        assert [type(d.error) for d in days if isinstance(d, DayFailure)] == [kind] * 3
    (day, *_) = read_days(local(tmp_path, stations=["00099", "00002"]), DAYS)
    assert isinstance(day, RawDay)
    assert day.table.num_rows == 48
    assert day.facts["stations_without_files"] == ["00099"]
    assert day.incomplete == "station 00099: has no file of air_temperature in any folder", "mistyped, or refilled now"


def test_a_recent_folder_that_is_gone_is_no_day_without_data(tmp_path) -> None:
    put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_20200101_20200131_hist.zip", station_zip(2))
    lately = datetime.now(UTC).date() - timedelta(days=10)
    old, new = read_days(local(tmp_path), [date(2020, 1, 2), lately])
    assert isinstance(old, RawDay)
    assert (old.table.num_rows, old.incomplete) == (48, None), "history claims that day, whatever else is gone"
    assert isinstance(new, DayFailure)
    assert f"folder {RECENT} is not on the server" in str(new.error)
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", station_zip(2))
    assert [d.incomplete for d in good(read_days(local(tmp_path), [lately]))] == [None], "really without data"


def test_a_historical_folder_that_is_gone_is_no_decade_without_data(tmp_path) -> None:
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", station_zip(2))
    (old,) = read_days(local(tmp_path), [date(2015, 1, 2)])
    assert isinstance(old, DayFailure)
    assert f"folder {HISTORICAL} is not on the server" in str(old.error)
    put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_20200101_20200131_hist.zip", station_zip(2))
    (old,) = good(read_days(local(tmp_path), [date(2015, 1, 2)]))
    assert (old.table.num_rows, old.incomplete) == (0, None), "really without data"


def test_a_gap_within_readable_files_is_no_folder_that_is_missing(tmp_path) -> None:
    rows = [hourly(2, NEW_YEAR, [1.0] * 24), hourly(2, NEW_YEAR + timedelta(days=9), [1.0] * 24).partition("\n")[2]]
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", zipped(produkt_tu__txt="".join(rows)))
    asked = [date(2019, 12, 31), date(2020, 1, 1), date(2020, 1, 4), date(2020, 1, 11)]
    before, *within = read_days(local(tmp_path), asked)
    assert isinstance(before, DayFailure), "history would hold it"
    assert f"folder {HISTORICAL} is not on the server" in str(before.error)
    assert [day.table.num_rows for day in good(within)] == [46, 0, 0], "a gap, and a day too many"
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00003_akt.zip", hourly_zip(3, NEW_YEAR + timedelta(days=10), [1.0] * 24))
    gap, _ = read_days(local(tmp_path), [date(2020, 1, 4), date(2020, 1, 11)])
    assert isinstance(gap, DayFailure), "the other station's history is missing"


def test_lines_of_a_station_list_that_cannot_be_read_are_told(tmp_path) -> None:
    put(tmp_path, f"{RECENT}/stundenwerte_TU_00002_akt.zip", station_zip(2))
    lines = ["00002 20000101 20261128 100 50.0 9.0 Musterstadt  Hessen", "00003 2000-01-01 100 50.0 9.0 Odd  Hessen"]
    text = "\n".join(
        ["Stations_id von_datum bis_datum Stationshoehe geoBreite geoLaenge Stationsname Bundesland", *lines]
    )
    put(tmp_path, f"{RECENT}/TU_Stundenwerte_Beschreibung_Stationen.txt", text.encode("latin-1"))
    day, *_ = good(read_days(local(tmp_path, stations={"state": "Hessen"}), DAYS))
    assert day.facts["unreadable_station_lines"] == [f"{RECENT}/TU_Stundenwerte_Beschreibung_Stationen.txt: {lines[1]}"]


def test_a_year_of_minutes_ends_in_the_folder_of_the_next() -> None:
    """The last minute ends at 0:00 of 1 January; until 2000 the stamps are MEZ, and so is the last hour."""
    minutes = product("1_minute", "precipitation")
    for start, end, years in [
        (date(1998, 12, 31), date(1998, 12, 31), ["1998", "1999"]),
        (date(2010, 12, 31), date(2010, 12, 31), ["2010", "2011"]),
        (date(2010, 1, 1), date(2010, 1, 1), ["2009", "2010"]),  # whether it opens a history
        (date(2010, 1, 2), date(2010, 12, 30), ["2010"]),
    ]:
        assert [folder[-4:] for folder in minutes.folders(Period.HISTORICAL, start, end)] == years


def test_a_server_that_stops_answering_fails_the_days_and_is_left_alone(tmp_path) -> None:
    for number in range(1, 31):
        put(tmp_path, f"{RECENT}/stundenwerte_TU_{number:05d}_akt.zip", station_zip(number))
    with serve(tmp_path) as mirror:
        mirror.fault = lambda path: (503, b"") if path.endswith(".zip") else None
        days = read_days(local(tmp_path), DAYS, remote=HttpRemote(mirror.url, wait=0))
        tried = sum(path.endswith(".zip") for path in mirror.asked)
    assert [type(d.error) for d in days if isinstance(d, DayFailure)] == [SourceUnavailableError] * 3
    assert tried < 20


def test_a_second_run_fetches_only_what_changed(tmp_path) -> None:
    root, store = tmp_path / "tree", ObjectStore(str(tmp_path / "lake"))
    for number in (1, 2):
        put(root, f"{RECENT}/stundenwerte_TU_0000{number}_akt.zip", station_zip(number))
    with serve(root) as mirror:
        for _ in range(2):
            good(read_days(local(root), DAYS, cache=store, remote=HttpRemote(mirror.url, wait=0)))
        put(root, f"{RECENT}/stundenwerte_TU_00002_akt.zip", station_zip(2, 60))
        days = good(read_days(local(root), DAYS, cache=store, remote=HttpRemote(mirror.url, wait=0)))
        sent = {os.path.basename(p): n for p, n in mirror.sent.items() if p.endswith(".zip")}
    assert sent == {"stundenwerte_TU_00001_akt.zip": 1, "stundenwerte_TU_00002_akt.zip": 2}
    assert days[2].table.num_rows == 48 + 24


TEN = "STATIONS_ID;MESS_DATUM;QN;RWS_DAU_10;RWS_10;RWS_IND_10;eor\n"


def rain_zip(*rows: tuple[str, float]) -> bytes:
    """Ten-minute rain of station 2 by stamp."""
    return zipped(produkt_nieder__txt=TEN + "".join(f"2;{stamp};3;0;{value};0;eor\n" for stamp, value in rows))


def rain_of(day: RawDay) -> list[float]:
    found = frame([day]).query("metric == 'precipitation_amount'")
    assert set(zip(found["interval_seconds"], found["interval_end_offset_seconds"], strict=True)) <= {(600, 0)}
    return found["value"].tolist()


def test_the_last_ten_minutes_of_a_day_lie_in_the_next_file(tmp_path) -> None:
    """Files by years: 23:50 to 24:00 of the last day of one is the first row of the next, whatever range is read."""
    folder = "10_minutes/precipitation/historical"
    put(tmp_path, f"{folder}/10minutenwerte_nieder_00002_20200101_20200101_hist.zip",
        rain_zip(("202001010000", 0.1), ("202001010010", 0.2), ("202001012350", 0.3)))  # fmt: skip
    put(tmp_path, f"{folder}/10minutenwerte_nieder_00002_20200102_20200103_hist.zip",
        rain_zip(("202001020000", 0.4), ("202001020010", 0.5), ("202001030000", 0.6)))  # fmt: skip
    connection = local(tmp_path, resolution="10_minutes", products=["precipitation"])
    together = good(read_days(connection, DAYS[:2]))
    for days in (together, [good(read_days(connection, [day]))[0] for day in DAYS[:2]]):
        assert [rain_of(day) for day in days] == [[0.2, 0.3, 0.4], [0.5, 0.6]]
        rejects = [(r["reason"], r["raw_text"]) for day in days for r in day.rejects.to_pylist()]
        assert [reason for reason, _ in rejects] == ["before_first_day"], "of 31 December there is nothing else"
        assert "precipitation_amount=0.1" in rejects[0][1]
    (before,) = good(read_days(connection, [date(2019, 12, 31)]))
    assert before.table.num_rows == 0
    assert before.rejects.num_rows == 0


def test_the_newer_of_two_versions_of_a_history_is_the_station_s(tmp_path) -> None:
    """At the turn of a year both lie there; what the newer one has withdrawn is not taken from the older one."""
    first, second = START, START + timedelta(hours=1)
    for years, body in {
        "20150101_20221231": hourly_zip(2, first, [1.0, 1.5]), "20150101_20231231": hourly_zip(2, first, [2.0]),
    }.items():  # fmt: skip
        put(tmp_path, f"{HISTORICAL}/stundenwerte_TU_00002_{years}_hist.zip", body)
    (day,) = good(read_days(local(tmp_path), DAYS[:1]))
    air = frame([day]).query("metric == 'air_temperature'")
    assert dict(zip(air["observed_at"], air["value"], strict=True)) == {pd.Timestamp(first): 2.0}
    assert pd.Timestamp(second) not in set(air["observed_at"])
