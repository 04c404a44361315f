"""Product text: real files against pandas, hand-checked excerpts, and anything hypothesis can write."""

from __future__ import annotations

import gzip
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.errors import SchemaError, UnreadableObjectError
from weather_backfill.sources.dwd.metadata import ParameterEntry
from weather_backfill.sources.dwd.product_parser import parse_product
from weather_backfill.sources.dwd.products import product
from weather_backfill.sources.dwd.time_reference import HourlyClock, SubHourlyHistoryClock
from weather_backfill.sources.table import RAW_WITH_SOURCE_QUALITY
from weather_backfill_tests.sources.dwd.files import DWD, HOURLY_HEADER, NEW_YEAR, hourly, member, needs_data
from weather_backfill_tests.sources.dwd.tables import long_table

TU = product("hourly", "air_temperature")
TU10 = product("10_minutes", "air_temperature")


def rows(data: bytes, wanted, clock=None) -> pd.DataFrame:
    """The long table as pandas."""
    table = long_table(parse_product(data, wanted, clock, "test"), RAW_WITH_SOURCE_QUALITY)
    return table.to_pandas()


def at(found: pd.DataFrame, metric: str, stamp: str) -> tuple[float, float]:
    """Value and quality level of one observation."""
    row = found[(found["metric"] == metric) & (found["observed_at"] == pd.Timestamp(stamp, tz="UTC"))]
    assert len(row) == 1, (metric, stamp, len(row))
    return float(row["value"].iloc[0]), float(row["source_quality"].iloc[0])


EXCERPTS = [
    # file, product, rows, then values read off the text by eye
    ("observations_recent_TU_akt.zip", "hourly", "air_temperature", [
        ("air_temperature", "2018-09-15 00:00", 13.7, 3), ("relative_humidity", "2018-09-15 01:00", 94.0, 3),
        ("air_temperature", "2020-03-17 23:00", 2.6, 1),
        ("relative_humidity", "2020-03-17 23:00", 100.0, 1)]),
    ("observations_recent_FF_akt.zip", "hourly", "wind", [
        ("wind_speed", "2018-09-15 00:00", 1.6, 10), ("wind_from_direction", "2018-09-15 01:00", 140, 10),
        ("wind_speed", "2020-03-17 23:00", 1.5, 1)]),
    ("observations_recent_FF_location_change_akt.zip", "hourly", "wind", [
        ("wind_speed", "2018-09-15 02:00", 1.0, 10), ("wind_from_direction", "2020-03-17 22:00", 110, 1)]),
    ("observations_recent_N_akt.zip", "hourly", "cloud_cover", [
        ("cloud_area_fraction", "2018-12-03 07:00", 4, 3),
        ("cloud_observation_method", "2018-12-03 07:00", 0, 3),
        ("cloud_area_fraction", "2019-11-20 00:00", np.nan, 3),
        ("cloud_observation_method", "2019-11-20 00:00", -1, 3)]),
    ("observations_recent_P0_hist.zip", "hourly", "pressure", [
        ("air_pressure_at_mean_sea_level", "2018-09-15 00:00", 1021.2, 3),
        ("surface_air_pressure", "2020-03-17 23:00", 989.8, 1)]),
    ("observations_recent_RR_akt.zip", "hourly", "precipitation", [
        ("precipitation_amount", "2018-09-22 21:00", 0.1, 3),
        ("precipitation_indicator", "2018-09-22 21:00", 1, 3),
        ("precipitation_type", "2018-09-22 21:00", np.nan, 3),
        ("precipitation_type", "2020-02-11 01:00", 6, 1)]),
    ("observations_recent_SD_akt.zip", "hourly", "sun", [
        ("duration_of_sunshine", "2018-09-15 11:00", 10.0, 10),
        ("duration_of_sunshine", "2020-03-17 16:00", 0.0, 1)]),
    ("observations_recent_TD_akt.zip", "hourly", "moisture", [
        ("air_temperature", "2018-12-03 00:00", 12.4, 3),
        ("dew_point_temperature", "2020-05-29 15:00", -1.5, 1)]),
    ("observations_recent_VV_akt.zip", "hourly", "visibility", [
        ("visibility_in_air", "2018-12-03 00:00", 15000, 3),
        ("visibility_in_air", "2020-06-04 23:00", 30000, 1)]),
    ("observations_recent_extrema_wind_akt.zip", "10_minutes", "extreme_wind", [
        ("wind_speed_of_gust", "2018-12-03 00:10", 6.9, 3),
        ("wind_speed_lull", "2018-12-03 00:20", 2.1, 3),
        ("wind_speed_maximum_of_1_minute_mean", "2020-06-04 23:50", 3.2, 2),
        ("wind_gust_from_direction", "2020-06-04 23:40", 240, 2)]),
    ("10minutenwerte_SOLAR_01766_akt.zip", "10_minutes", "solar", [
        ("surface_downwelling_shortwave_flux_in_air", "2023-06-09 00:00", 0.0, 2),
        ("surface_downwelling_longwave_flux_in_air", "2023-06-09 00:00", np.nan, 2),
        ("duration_of_sunshine", "2023-06-10 23:50", 0.0, 2)]),
    ("10minutenwerte_SOLAR_01766_now.zip", "10_minutes", "solar", [
        # 9.4 and 7.2 J/cm2 in ten minutes
        ("surface_diffuse_downwelling_shortwave_flux_in_air", "2023-04-12 12:10", 9.4e4 / 600, 2),
        ("surface_downwelling_shortwave_flux_in_air", "2023-04-12 12:20", 7.2e4 / 600, 2)]),
    ("10minutenwerte_TU_00003_real_auszug_hist.zip", "10_minutes", "air_temperature", [
        ("surface_air_pressure", "2010-01-01 00:00", 970.2, 3),
        ("air_temperature", "2010-01-01 00:10", -1.3, 3),
        ("air_temperature_at_5_cm", "2010-01-01 03:10", -1.5, 3),
        ("relative_humidity", "2010-01-01 00:20", 97.3, 3),
        ("dew_point_temperature", "2010-01-01 03:10", -2.2, 3)]),
]  # fmt: skip


@needs_data
@pytest.mark.parametrize(("file", "resolution", "name", "values"), EXCERPTS, ids=[e[0] for e in EXCERPTS])
def test_every_excerpt_parses_to_the_values_in_its_text(file, resolution, name, values) -> None:
    text = member(DWD / "excerpts" / file)
    wanted = product(resolution, name)
    found = rows(text, wanted)
    lines = [line for line in text.decode("latin-1").splitlines() if line.strip()]
    assert len(found) == (len(lines) - 1) * found["metric"].nunique()
    for metric, stamp, value, level in values:
        assert at(found, metric, stamp) == pytest.approx((value, level), nan_ok=True)


@needs_data
def test_ten_minutes_of_a_year_and_a_half_has_the_known_counts_and_extremes() -> None:
    path = DWD / "cdc-2020-03-27/10_minutes/air_temperature/recent/10minutenwerte_TU_03379_akt.zip"
    found = rows(member(path), TU10)
    air = found[found["metric"] == "air_temperature"].set_index("observed_at")["value"]
    assert len(air) == 79_200
    assert (air.index.to_series().diff().dropna() == pd.Timedelta("10min")).all()
    assert air.mean() == pytest.approx(9.3066, abs=5e-5)
    assert (air.min(), air.idxmin()) == (-8.0, pd.Timestamp("2019-01-20 07:00", tz="UTC"))
    assert (air.max(), air.idxmax()) == (35.1, pd.Timestamp("2019-07-26 13:30", tz="UTC"))
    assert air["2019-06-26"].mean() == pytest.approx(27.0521, abs=5e-5)


@needs_data
@pytest.mark.parametrize(
    ("folder", "name", "count", "missing"),
    [
        ("wind", "wind", 13_200, 18),
        ("precipitation", "precipitation", 13_199, 4_403),
        ("sun", "sun", 10_184, 3),
    ],
)
def test_the_schema_of_2016_has_the_known_counts(folder, name, count, missing) -> None:
    path = next((DWD / f"cdc-2016-10-21/hourly/{folder}/recent").glob("*.zip"))
    parsed = parse_product(member(path), product("hourly", name), source=path.name)
    assert (parsed.rows, parsed.station, parsed.rejects.num_rows) == (count, "01048", 0)
    assert sum(int(np.isnan(s.values).sum()) for s in parsed.series) == missing
    assert parsed.unknown_columns == ()


@needs_data
def test_sky_not_visible_is_kept_as_how_it_was_observed_where_2016_has_no_column_for_it() -> None:
    path = next((DWD / "cdc-2016-10-21/hourly/cloudiness/recent").glob("*.zip"))
    text = member(path)
    found = rows(text, product("hourly", "cloud_cover"))
    cover = found[found["metric"] == "cloud_area_fraction"]["value"]
    hidden = sum(line.split(";")[3].strip() == "-1" for line in text.decode("latin-1").splitlines()[1:])
    assert not (cover < 0).any()
    assert (found[found["metric"] == "cloud_observation_method"]["value"] == -1).sum() == hidden


@needs_data
def test_a_file_cut_in_the_middle_of_a_row_is_refused() -> None:
    path = next((DWD / "damaged").glob("*.gz"))
    with pytest.raises(UnreadableObjectError, match="ends in the middle of a row"):
        parse_product(gzip.decompress(path.read_bytes()), TU10, source=path.name)


def test_line_ends_and_padding_make_no_difference() -> None:
    text = hourly(433, NEW_YEAR, [1.5, -999, 3.0])
    plain = text.replace("\r\n", "\n").replace(" ", "")
    padded = text.replace("TT_TU", "  TT_TU ").replace("eor", "eor  ")
    expected = rows(text.encode(), TU)
    for variant in (plain, padded, text.rstrip(), text + "\x1a", text + "\n\n"):
        pd.testing.assert_frame_equal(rows(variant.encode(), TU), expected)
    air = expected[expected["metric"] == "air_temperature"]["value"]
    assert air.tolist() == pytest.approx([1.5, np.nan, 3.0], nan_ok=True)
    assert expected[expected["metric"] == "air_temperature"]["quality"].tolist() == [1, 9, 1]


def test_a_file_without_eor_is_judged_by_its_columns() -> None:
    text = hourly(433, NEW_YEAR, [1.5, -999, 3.0])
    expected = rows(text.encode(), TU)
    lacking = text.replace(";eor", "")
    for variant in (
        lacking,
        lacking.replace("\r\n", "\n"),
        lacking.rstrip(),
        text.replace(";eor", "", 1),
        lacking + "\x1a",
    ):
        pd.testing.assert_frame_equal(rows(variant.encode(), TU), expected)


@pytest.mark.parametrize("cut", [3, 4, 8, 20])
@pytest.mark.parametrize("lines", [2, 4])
def test_a_file_without_eor_that_was_cut_is_refused(cut: int, lines: int) -> None:
    """Also in the middle of its last number, and in the header: a part of a file is no file."""
    text = "".join(hourly(433, NEW_YEAR, [1.5, -999, 3.0]).replace(";eor", "").splitlines(keepends=True)[:lines])
    with pytest.raises(UnreadableObjectError, match="ends in the middle of a row"):
        parse_product(text[:-cut].encode(), TU)


@pytest.mark.parametrize("text", ["STATIONS_ID;MESS_DATUM;QN_9;TT_TU", "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eo"])
def test_a_header_that_was_cut_is_no_file_without_rows(text: str) -> None:
    with pytest.raises(UnreadableObjectError, match="ends in the middle of a row"):
        parse_product(text.encode(), TU)


def test_a_file_with_a_header_alone_has_no_rows() -> None:
    parsed = parse_product(HOURLY_HEADER.encode() + b"\r\n", TU)
    assert (parsed.rows, parsed.series, parsed.station) == (0, [], None)
    assert long_table(parsed, RAW_WITH_SOURCE_QUALITY).num_rows == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("433;2020010102;3;oops;50;eor", "TT_TU is 'oops'"),
        ("433;2020010102;3;nan;50;eor", "TT_TU is 'nan'"),
        ("433;2020010102;3;inf;50;eor", "TT_TU is 'inf'"),
        ("433;2020010102;3;1.0;eor", "5 columns, expected 6"),
        ("433;2020013102999;3;1.0;2.0;eor", "not a time"),
        ("433;2020023002;3;1.0;2.0;eor", "not a time"),
        ("433;2020010124;3;1.0;2.0;eor", "not a time"),
        ("433;2020010101;3;9.0;9.0;eor", "another row holds the same instant"),
    ],
)
def test_a_row_that_does_not_parse_becomes_a_reject_and_costs_no_other(line, reason) -> None:
    text = hourly(433, NEW_YEAR, [1.0, 2.0]) + line + "\r\n"
    parsed = parse_product(text.encode(), TU, source="file")
    assert [len(s.times) for s in parsed.series] == [2, 2]
    (reject,) = parsed.rejects.to_pylist()
    assert reason in reject["reason"]
    assert reject["source_object"] == "file"
    assert reject["station_id"] == "00433"
    if "same instant" in reason:  # the later row of the file holds
        assert parsed.series[0].values.tolist() == [1.0, 9.0]


def test_a_wrong_header_names_what_was_expected() -> None:
    with pytest.raises(SchemaError, match="TT_TU"):
        parse_product(b"STATIONS_ID;MESS_DATUM;QN_3;F;D;eor\r\n1;2020010100;3;1;2;eor\r\n", TU)
    with pytest.raises(SchemaError, match="header is '<html>"):
        parse_product(b"<html>sorry</html>", TU)


def test_two_stations_in_one_file_are_refused() -> None:
    text = hourly(433, NEW_YEAR, [1.0]) + "44;2020010101;3;1.0;2.0;eor\n"
    with pytest.raises(SchemaError, match="433 and 44"):
        parse_product(text.encode(), TU)


def test_a_column_nobody_knows_is_named_and_the_rest_is_read() -> None:
    text = "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;NEW;eor\n433;2020010100;3;1.0;2.0;7;eor\n"
    parsed = parse_product(text.encode(), TU)
    assert parsed.unknown_columns == ("NEW",)
    assert [s.metric for s in parsed.series] == ["air_temperature", "relative_humidity"]


def test_a_format_nobody_understands_is_refused_and_does_not_fill_memory() -> None:
    text = HOURLY_HEADER + "\n" + "433;2020010100;eor\n" * 60_000
    with pytest.raises(SchemaError, match="60000 rows cannot be read"):
        parse_product(text.encode(), TU)


def test_rows_of_the_one_minute_history_are_expanded() -> None:
    text = (
        "STATIONS_ID;MESS_DATUM_BEGINN;MESS_DATUM_ENDE;QN;RS_01;RTH_01;RWH_01;RS_IND_01;eor\n"
        "20;201001010000;201001010003;3;0.0;-999;0.0;0;eor\n"
        "20;201001010004;201001010004;3;0.05;-999;0.05;1;eor\n"
    )
    found = rows(text.encode(), product("1_minute", "precipitation"), SubHourlyHistoryClock())
    amount = found[found["metric"] == "precipitation_amount"]
    assert amount["observed_at"].dt.minute.tolist() == [0, 1, 2, 3, 4]
    assert amount["value"].tolist() == [0, 0, 0, 0, 0.05]


def test_hourly_radiation_keeps_its_minutes_and_becomes_a_flux() -> None:
    text = (
        "STATIONS_ID;MESS_DATUM;QN_592;ATMO_LBERG;FD_LBERG;FG_LBERG;SD_LBERG;ZENIT;MESS_DATUM_WOZ;eor\n"
        "183;2020060110:33;1;-999;36.0;72.0;30;40.1;2020060112:00;eor\n"
    )
    found = rows(text.encode(), product("hourly", "solar"))
    stamp = "2020-06-01 10:33"
    assert at(found, "surface_downwelling_shortwave_flux_in_air", stamp) == pytest.approx((200.0, 1))
    assert at(found, "surface_diffuse_downwelling_shortwave_flux_in_air", stamp) == pytest.approx((100.0, 1))
    assert at(found, "duration_of_sunshine", stamp) == (30.0, 1)


def test_moisture_writes_its_missing_values_in_two_ways() -> None:
    text = (
        "STATIONS_ID;MESS_DATUM;QN_8;ABSF_STD;VP_STD;TF_STD;P_STD;TT_STD;RF_STD;TD_STD;eor\n"
        "14006;2025010501;3;-99.9;-999;-99.9;995.9;-0.7;-99.9;-99.9;eor\n"
    )
    found = rows(text.encode(), product("hourly", "moisture")).set_index("metric")["value"]
    assert found.dropna().to_dict() == {"air_temperature": -0.7, "surface_air_pressure": 995.9}
    assert len(found) == 7


@given(
    st.lists(
        st.tuples(
            st.integers(0, 24 * 365 * 30),
            st.one_of(st.just(-999.0), st.integers(-500, 500).map(lambda n: n / 10)),
            st.sampled_from([1, 2, 3, 5, 7, 8, 9, 10, -999]),
        ),
        max_size=50,
        unique_by=lambda row: row[0],
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(0, 6),
)
def test_whatever_is_written_is_read_back(written, end, width) -> None:
    lines = [HOURLY_HEADER]
    for hour, value, level in written:
        stamp = pd.Timestamp("1990-01-01") + pd.Timedelta(hours=hour)
        lines.append(f"{433:{width + 3}d};{stamp:%Y%m%d%H};{level:{width + 1}d};{value:{width}.1f};  -999;eor")
    parsed = parse_product((end.join(lines) + end).encode(), TU)
    assert parsed.rejects.num_rows == 0
    if not written:
        return
    air = parsed.series[0]
    expected = sorted(written)
    hours = (air.times - np.datetime64("1990-01-01", "us").astype(np.int64)) // 3_600_000_000
    assert hours.tolist() == [h for h, _, _ in expected]
    assert air.values.tolist() == pytest.approx([np.nan if v == -999 else v for _, v, _ in expected], nan_ok=True)
    assert long_table(parsed, RAW_WITH_SOURCE_QUALITY)["source_quality"].to_pylist()[: len(expected)] == [
        None if q == -999 else q for _, _, q in expected
    ]


@given(st.lists(st.text(alphabet="0123456789;.- eor\tx\x1a", max_size=40), max_size=20))
def test_no_row_is_lost_whatever_the_lines_hold(junk) -> None:
    text = HOURLY_HEADER + "\n" + "\n".join(junk) + "\n433;2020010100;3;1.0;2.0;eor\n"
    try:
        parsed = parse_product(text.encode(), TU)
    except SchemaError:  # rows of another station
        return
    meant = [line for line in junk if line.strip("\x1a\x00 \r\t")]
    assert max(len(s.times) for s in parsed.series) + parsed.rejects.num_rows >= len(meant) + 1
    assert isinstance(parsed.rejects, pa.Table)


def column(text: str, wanted: tuple[str, str], metric: str) -> list[float]:
    """One metric's values of a product."""
    parsed = parse_product(text.encode(), product(*wanted))
    return next(s.values.tolist() for s in parsed.series if s.metric == metric)


@pytest.mark.parametrize(
    ("wanted", "name"), [(("10_minutes", "precipitation"), "RWS_IND_10"), (("1_minute", "precipitation"), "RS_IND_01")]
)
def test_the_indicator_of_a_heated_gauge_is_no_rain(wanted, name) -> None:
    codes = [(1, 0), (1, 1), (1, 2), (1, 3), (3, 0), (3, 1), (3, -999), (3, 2)]
    lines = [f"1;20200101{n:02}00;{level};{code};eor" for n, (level, code) in enumerate(codes)]
    text = "\n".join([f"STATIONS_ID;MESS_DATUM;QN;{name};eor", *lines, ""])
    found = column(text, wanted, "precipitation_indicator")
    assert found == pytest.approx([0, 1, 0, 1, 0, 1, np.nan, 2], nan_ok=True), "2 of level 3 is flagged, not explained"


@pytest.mark.parametrize("name", ["WRTR", "NIEDERSCHLAGSFORM"])
def test_a_form_of_precipitation_that_is_not_known_is_missing(name) -> None:
    text = f"STATIONS_ID;MESS_DATUM;QN_8;{name};eor\n1;2020010100;3;9;eor\n1;2020010101;3;6;eor\n"
    assert column(text, ("hourly", "precipitation"), "precipitation_type") == pytest.approx([np.nan, 6], nan_ok=True)


@pytest.mark.parametrize(
    ("wanted", "name", "metric"),
    [
        (("hourly", "wind"), "D", "wind_from_direction"),
        (("hourly", "wind"), "WINDRICHTUNG", "wind_from_direction"),
        (("10_minutes", "wind"), "DD_10", "wind_from_direction"),
        (("10_minutes", "extreme_wind"), "DX_10", "wind_gust_from_direction"),
    ],
)
def test_a_variable_direction_is_missing(wanted, name, metric) -> None:
    stamp = "20200101" + ("00" if wanted[0] == "hourly" else "0000")
    text = f"STATIONS_ID;MESS_DATUM;QN;{name};eor\n1;{stamp};3;990;eor\n1;{int(stamp) + 1};3;360;eor\n"
    assert column(text, wanted, metric) == pytest.approx([np.nan, 360], nan_ok=True)


def test_a_pressure_that_is_one_constant_is_no_pressure() -> None:
    def moisture(pressures: list[float]) -> str:
        stamps = [f"202001{1 + hour // 24:02}{hour % 24:02}" for hour in range(len(pressures))]
        lines = [f"1;{stamp};3;5.1;{pressure};eor" for stamp, pressure in zip(stamps, pressures, strict=True)]
        return "\n".join(["STATIONS_ID;MESS_DATUM;QN_4;VP_STD;P_STD;eor", *lines, ""])

    wanted = product("hourly", "moisture")
    parsed = parse_product(moisture([1013.2] * 48 + [-999]).encode(), wanted)
    assert [s.metric for s in parsed.series] == ["water_vapor_partial_pressure_in_air"], "which may well be constant"
    assert parsed.unknown_columns == ("P_STD (always 1013.2: not measured)",)
    for measured in ([1013.2] * 60 + [1013.3], [1013.2] * 47):
        assert column(moisture(measured), ("hourly", "moisture"), "surface_air_pressure") == measured


def hourly_rain(*cells: tuple[str, str]) -> bytes:
    lines = [f"3086;{stamp};3;{value};0;-999;eor" for stamp, value in cells]
    return "\n".join(["STATIONS_ID;MESS_DATUM;QN_8;R1;RS_IND;WRTR;eor", *lines, ""]).encode()


@pytest.mark.parametrize(
    ("cells", "kept"),
    [
        ([("1999123122", "7.0"), ("1999123123", "0.4"), ("1999123123", "-999")], 0.4),
        ([("1999123122", "7.0"), ("1999123123", "-999"), ("1999123123", "0.4")], 0.4),
        ([("1999123122", "7.0"), ("1999123123", "1.0"), ("1999123123", "7.0")], 1.0),
        ([("1999123122", "7.0"), ("1999123123", "7.0"), ("1999123123", "1.0")], 1.0),
        ([("1999123123", "7.0"), ("1999123123", "1.0"), ("2000010100", "7.0")], 1.0),
        ([("1999123122", "3.0"), ("1999123123", "7.0"), ("1999123123", "1.0")], 1.0),  # no reason: the later
    ],
)
def test_of_two_rows_of_a_stamp_a_value_and_no_copy_holds(cells: list[tuple[str, str]], kept: float) -> None:
    parsed = parse_product(hourly_rain(*cells), product("hourly", "precipitation"), None, "test")
    (rain,) = [series for series in parsed.series if series.metric == "precipitation_amount"]
    twice = int(np.datetime64("1999-12-31T23:00", "us").astype(np.int64))
    assert rain.values[rain.times == twice].tolist() == [kept]
    assert parsed.rejects["reason"].to_pylist() == ["another row holds the same instant"]


def test_a_long_past_in_true_solar_time_refuses_no_file() -> None:
    """Sunshine of twenty years by the sun, then a day by UTC: that day arrives, the rest are rejects of their kind."""
    begin = np.datetime64("1970-01-01T00", "h")
    stamps = np.concatenate([np.arange(60_000), np.arange(24) + 20 * 8766]) + begin
    text = [s[:13].replace("-", "").replace("T", "") for s in np.datetime_as_string(stamps, unit="h").tolist()]
    data = "\n".join(
        ["STATIONS_ID;MESS_DATUM;QN_7;SD_SO;eor", *(f"183;{s};3;{n % 60};eor" for n, s in enumerate(text)), ""]
    )
    clock = HourlyClock(
        [
            ParameterEntry("SD_SO", date(1970, 1, 1), date(1989, 12, 31), time_reference="Stundensummen in WOZ"),
            ParameterEntry("SD_SO", date(1990, 1, 1), None, time_reference="Stundensummen in UTC"),
        ]
    )
    parsed = parse_product(data.encode(), product("hourly", "sun"), clock, "test")
    (sun,) = parsed.series
    assert sun.times.tolist() == stamps[60_000:].astype("M8[us]").astype(np.int64).tolist()
    assert sun.values.tolist() == [float(n % 60) for n in range(60_000, 60_024)]
    assert parsed.rejects["reason"].value_counts().to_pylist() == [{"values": "true_solar_time", "counts": 60_000}]
    assert parsed.rejects["raw_text"][25].as_py() == "183;1970-01-02T01:00;QN=3;SD_SO=25"
    assert parsed.rejects["observed_at"][25].as_py().date() == date(1970, 1, 2)


def ten_minutes(name: str, header: str, *lines: str) -> dict[str, list[float]]:
    data = "\n".join([f"STATIONS_ID;MESS_DATUM;QN;{header};eor", *lines, ""]).encode()
    parsed = parse_product(data, product("10_minutes", name), None, "test")
    return {series.metric: series.values.tolist() for series in parsed.series}


def test_a_heated_gauge_is_dry_or_wet_as_any_other() -> None:
    lines = [f"1;20200101{n:02}00;{level};0;0.0;{code};eor" for n, (level, code) in enumerate(
        [(1, 0), (1, 1), (1, 2), (1, 3), (3, 0), (3, 1)])]  # fmt: skip
    found = ten_minutes("precipitation", "RWS_DAU_10;RWS_10;RWS_IND_10", *lines)
    assert found["precipitation_indicator"] == [0, 1, 0, 1, 0, 1]


def test_a_variable_wind_has_no_direction() -> None:
    found = ten_minutes("wind", "FF_10;DD_10", "1;202001010000;3;1.0;990;eor", "1;202001010010;3;1.0;360;eor")
    assert np.isnan(found["wind_from_direction"][0])
    assert found["wind_from_direction"][1] == 360
    assert found["wind_speed"] == [1.0, 1.0]


def test_the_form_of_rain_that_nobody_saw_is_missing() -> None:
    data = b"STATIONS_ID;MESS_DATUM;QN_8;R1;RS_IND;WRTR;eor\n1;2020010100;3;0.1;1;9;eor\n1;2020010101;3;0.1;1;6;eor\n"
    found = {s.metric: s.values.tolist() for s in parse_product(data, product("hourly", "precipitation")).series}
    assert np.isnan(found["precipitation_type"][0])
    assert found["precipitation_type"][1] == 6


@pytest.mark.parametrize(("hours", "step", "kept"), [(48, 0.0, False), (47, 0.0, True), (48, 0.1, True)])
def test_a_pressure_that_never_changes_is_none(hours: int, step: float, kept: bool) -> None:
    lines = [f"1;20200101{n:02};3;{970 + n * step:.1f};1.0;eor" for n in range(24)]
    lines += [f"1;20200102{n:02};3;{970 + n * step:.1f};1.0;eor" for n in range(hours - 24)]
    data = "\n".join(["STATIONS_ID;MESS_DATUM;QN_4;P_STD;TT_STD;eor", *lines, ""]).encode()
    metrics = {s.metric for s in parse_product(data, product("hourly", "moisture")).series}
    assert ("surface_air_pressure" in metrics) == kept
    assert "air_temperature" in metrics
