"""Two rows of one stamp in a file, and rows on a clock of the sun."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from weather_backfill.sources.dwd.product_parser import ParsedProduct, parse_product
from weather_backfill.sources.dwd.products import product
from weather_backfill.sources.dwd.rejects import LIMIT, TRUE_SOLAR_TIME
from weather_backfill_tests.sources.dwd.files import frame, good, put, read_days, zipped
from weather_backfill_tests.sources.dwd.test_source import local

RAIN = product("hourly", "precipitation")
AIR = product("hourly", "air_temperature")
SAME_INSTANT = "another row holds the same instant"
NAN = float("nan")


def rain(*rows: tuple[int, float], level: int = 3) -> ParsedProduct:
    """Hourly rain of 1999-12-31 by hour, in the order given."""
    lines = [f"3086;19991231{hour:02};{level};{amount};{int(amount > 0)};-999;eor" for hour, amount in rows]
    return parse_product("\n".join(["STATIONS_ID;MESS_DATUM;QN_8;R1;RS_IND;WRTR;eor", *lines, ""]).encode(), RAIN)


def values(parsed: ParsedProduct, metric: str) -> list[float]:
    """A metric's values in order of time."""
    return next(s.values.tolist() for s in parsed.series if s.metric == metric)


@pytest.mark.parametrize("rows", [[(22, 1.0), (23, 0.4), (23, -999)], [(22, 1.0), (23, -999), (23, 0.4)]])
def test_a_value_wins_over_a_missing_one_wherever_it_stands(rows) -> None:
    parsed = rain(*rows)
    assert values(parsed, "precipitation_amount") == [1.0, 0.4]
    (reject,) = parsed.rejects.to_pylist()
    assert reject["reason"] == SAME_INSTANT
    assert "nan" in reject["raw_text"]
    assert reject["observed_at"] == datetime(1999, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("copied_hour", [22, 24])
@pytest.mark.parametrize("copy_first", [False, True])
def test_a_row_that_copies_its_neighbour_hour_is_dropped(copied_hour, copy_first) -> None:
    day, hour = divmod(copied_hour, 24)
    text = "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor\n"
    own, copy = "3086;1999123123;3;1.0;81.0;eor\n", "3086;1999123123;3;7.0;80.0;eor\n"
    neighbour = f"3086;{'20000101' if day else '19991231'}{hour:02};3;7.0;80.0;eor\n"
    rows = [copy, own] if copy_first else [own, copy]
    parsed = parse_product((text + "".join([neighbour, *rows])).encode(), AIR)
    air = next(s for s in parsed.series if s.metric == "air_temperature")
    at = int(np.datetime64("1999-12-31T23", "us").astype(np.int64))
    assert air.values[air.times == at].tolist() == [1.0]
    assert ["TT_TU=7" in text for text in parsed.rejects["raw_text"].to_pylist()] == [True]


def test_a_row_that_shares_one_of_two_values_with_its_neighbour_is_no_copy() -> None:
    text = "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor\n1;2000010100;3;7.0;80;eor\n"
    text += "1;2000010101;3;1.0;81;eor\n1;2000010101;3;7.0;82;eor\n"
    assert values(parse_product(text.encode(), AIR), "air_temperature") == [7.0, 7.0], "the later one holds"


def test_the_columns_of_one_instant_come_from_the_rows_that_have_them() -> None:
    text = "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor\n1;2000010100;1;-999;80;eor\n1;2000010100;3;2.0;-999;eor\n"
    parsed = parse_product(text.encode(), AIR)
    found = {s.metric: (s.values.tolist(), s.levels.tolist()) for s in parsed.series}
    assert found == {"air_temperature": ([2.0], [3]), "relative_humidity": ([80.0], [1])}
    assert parsed.rejects.num_rows == 1


def test_an_hour_of_ten_minutes_written_twice_keeps_its_own_values() -> None:
    """The copy is of the hour before, not of the ten minutes before."""
    wanted = product("10_minutes", "precipitation")
    lines = ["STATIONS_ID;MESS_DATUM;QN;RWS_DAU_10;RWS_10;RWS_IND_10;eor"]
    hours = ((22, 7.0), (23, 1.0), (23, 7.0))
    lines += [f"1;19991231{hour}{10 * n:02};1;10;{top + n / 10:.1f};1;eor" for hour, top in hours for n in range(6)]
    parsed = parse_product("\n".join([*lines, ""]).encode(), wanted)
    assert values(parsed, "precipitation_amount") == pytest.approx([top + n / 10 for top in (7, 1) for n in range(6)])
    assert parsed.rejects.num_rows == 6


def sunshine_zip(years: int) -> tuple[bytes, int, int]:
    """Hourly sunshine, WOZ for `years` and two days of UTC after them: the zip and how many rows it has of both."""
    begin, change = date(1995 - years, 1, 1), date(1995, 1, 1)
    days = [begin + timedelta(days=n) for n in range((change - begin).days + 2)]
    lines = [f"433;{day:%Y%m%d}{hour:02};5;{hour};eor" for day in days for hour in range(4, 21)]
    span = "433;SD_SO;Sonnenschein;min;{};{};{};;;\n"
    parameters = (
        "Stations_ID;Parameter;Parameterbeschreibung;Einheit;Von_Datum;Bis_Datum;Zusatz-Info;Datenquelle;x;y\n"
        + span.format(f"{begin:%Y%m%d}", "19941231", "Stundensumme in WOZ")
        + span.format("19950101", "", "Stundensumme in UTC")
    )
    body = zipped(
        produkt_sd_stunde__txt="\n".join(["STATIONS_ID;MESS_DATUM;QN_7;SD_SO;eor", *lines, ""]),
        Metadaten_Parameter_sd_stunde_00433__txt=parameters,
    )
    return body, (len(days) - 2) * 17, 2 * 17


def test_twenty_years_of_true_solar_time_are_rejects_and_what_follows_arrives(tmp_path) -> None:
    body, by_the_sun, by_utc = sunshine_zip(20)
    assert by_the_sun > LIMIT
    put(tmp_path, "hourly/sun/historical/stundenwerte_SD_00433_19750101_19950102_hist.zip", body)
    connection = local(tmp_path, products=["sun"])
    wanted = [date(1975, 1, 1), date(1994, 12, 31), date(1995, 1, 1), date(1995, 1, 2)]
    days = good(read_days(connection, wanted))
    assert sum(d.table.num_rows for d in days) == by_utc
    assert frame(days)["value"].sum() == 2 * sum(range(4, 21))
    assert [d.rejects.num_rows for d in days] == [17, 17, 0, 0], "each with the day of its stamp"
    reasons = {reason for d in days for reason in d.rejects["reason"].to_pylist()}
    assert reasons == {TRUE_SOLAR_TIME}
    assert days[0].rejects["raw_text"][0].as_py() == "433;1975-01-01T04:00;QN=5;SD_SO=4"
    assert days[0].rejects["station_id"][0].as_py() == "00433"
