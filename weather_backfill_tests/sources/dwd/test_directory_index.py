"""Directory pages and station lists of all the styles the server has shown, and what is none."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.errors import SchemaError
from weather_backfill.sources.dwd.directory_index import STATES, parse_directory, parse_station_list
from weather_backfill.sources.dwd.products import Period, parse_file_name, product
from weather_backfill_tests.sources.dwd.files import DWD, needs_data

URL = "https://example.org/CDC/hourly/wind/recent/"
NGINX = (
    '<html><head><title>Index of /x/</title></head><body><hr><pre><a href="../">../</a>\n'
    '<a href="_tmp_stundenwerte_FF_00011_akt.zip">_tmp..</a>   29-Mar-2020 08:55       10\n'
    '<a href="stundenwerte_FF_00011_akt.zip">stundenwerte_FF_0..&gt;</a>   29-Mar-2020 08:55       70523\n'
    '<a href="1997/">1997/</a>   29-Mar-2020 08:55       -\n</pre></body></html>'
)
APACHE = (
    '<html><body><table><tr><th><a href="?C=N;O=D">Name</a></th></tr>'
    '<tr><td><a href="/CDC/hourly/wind/">Parent Directory</a></td></tr>'
    '<tr><td><a href="stundenwerte_FF_00090_akt.zip">stundenwerte_FF_0..&gt;</a></td>'
    '<td align="right">2020-03-29 08:56  </td><td align="right"> 70K</td></tr>'
    "<tr><td><a href='/CDC/hourly/wind/recent/stundenwerte_FF_00091_akt.zip'>x</a></td><td>&nbsp;</td></tr>"
    '<tr><td><a href="https://www.dwd.de/impressum.html">Impressum</a></td></tr></table></body></html>'
)


def test_nginx() -> None:
    (entry,) = parse_directory(NGINX, URL)
    assert (entry.name, entry.size) == ("stundenwerte_FF_00011_akt.zip", 70523)
    assert entry.modified == datetime(2020, 3, 29, 8, 55, tzinfo=UTC)


def test_apache() -> None:
    first, second = parse_directory(APACHE, URL)
    assert (first.name, first.size) == ("stundenwerte_FF_00090_akt.zip", 70 * 1024)
    assert first.modified == datetime(2020, 3, 29, 8, 56, tzinfo=UTC)
    assert (second.name, second.size, second.modified) == ("stundenwerte_FF_00091_akt.zip", None, None)


@needs_data
def test_the_real_page() -> None:
    entries = parse_directory((DWD / "excerpts/dwd_opendata_index.html").read_text(), URL)
    names = {e.name: e for e in entries}
    wind = [f for n in names if (f := parse_file_name(product("hourly", "wind"), n))]
    assert [f.station for f in wind] == ["00011", "00090"]
    assert names["stundenwerte_FF_00011_akt.zip"].size == 70523
    extreme = product("10_minutes", "extreme_wind")
    found = {f.period for n in names if (f := parse_file_name(extreme, n))}
    assert found == set(Period)


@needs_data
@pytest.mark.parametrize("page", ["station_list.html", "station_list_empty.html"])
def test_a_page_without_links_is_an_error(page) -> None:
    with pytest.raises(SchemaError, match="no directory listing"):
        parse_directory((DWD / "excerpts" / page).read_text(encoding="latin-1"), URL)


@pytest.mark.parametrize("page", ["", "<html><title>502 Bad Gateway</title></html>", '<a href="../">../</a>',
                                  '<a href="https://dwd.de/">home</a><a href="/">start</a>'])  # fmt: skip
def test_an_outage_is_never_no_stations(page) -> None:
    with pytest.raises(SchemaError, match="no directory listing"):
        parse_directory(page, URL)


@given(st.text(max_size=300))
def test_no_page_gives_a_name_that_leaves_its_folder(text) -> None:
    try:
        entries = parse_directory(text + f'<a href="{text}">x</a>' + '<a href="a.zip">a</a>', URL)
    except SchemaError:
        return
    for entry in entries:
        assert "/" not in entry.name
        assert ".." not in entry.name
        assert not entry.name.startswith("_")


def test_names_with_start_after_end_are_read_without_a_range() -> None:
    wanted = product("10_minutes", "air_temperature")
    odd = parse_file_name(wanted, "10minutenwerte_TU_00003_20110331_19930428_hist.zip")
    assert odd is not None
    assert (odd.station, odd.period, odd.start, odd.end) == ("00003", Period.HISTORICAL, None, None)
    sound = parse_file_name(wanted, "10minutenwerte_TU_00003_19930428_19991231_hist.zip")
    assert sound is not None
    assert (sound.start, sound.end) == (date(1993, 4, 28), date(1999, 12, 31))
    assert parse_file_name(wanted, "stundenwerte_TU_00003_akt.zip") is None


@needs_data
@pytest.mark.parametrize(
    ("path", "count", "first", "last"),
    [
        ("TU_Stundenwerte_Beschreibung_Stationen.2024-01.txt", 663, "00003", "19207"),
        ("cdc-2016-10-21/hourly/air_temperature/recent/TU_Stundenwerte_Beschreibung_Stationen.txt", 622,
         "00003", "15555"),
        ("cdc-2020-03-27/hourly/air_temperature/recent/TU_Stundenwerte_Beschreibung_Stationen.txt", 663,
         "00003", "19172"),
        ("cdc-2020-03-27/10_minutes/air_temperature/recent/zehn_min_tu_Beschreibung_Stationen.txt", 514,
         "00003", "19172"),
    ],
)  # fmt: skip
def test_real_station_lists_are_read_whole(path, count, first, last) -> None:
    found = parse_station_list((DWD / path).read_bytes(), path)
    assert found.unreadable == ()
    assert len(found.stations) == count
    assert (found.stations[0].id, found.stations[-1].id) == (first, last)
    assert {s.state for s in found.stations} <= set(STATES)
    big = next(s for s in found.stations if s.id == "00044" or s.name.startswith("Gro"))
    assert big.name == "Großenkneten"
    assert all(47 < s.latitude < 56 and 5 < s.longitude < 16 for s in found.stations)


@needs_data
def test_the_newest_list_says_whether_data_is_free() -> None:
    found = parse_station_list((DWD / "excerpts/stationsliste_real_auszug.txt").read_bytes(), "x")
    assert found.unreadable == ()
    assert {s.state for s in found.stations} <= set(STATES)
    last = next(s for s in found.stations if s.id == "20098")
    assert (last.name, last.state) == ("Seebach (Nationalpark Schwarzwald)", "Baden-Württemberg")
    assert last.end == date(2026, 7, 19)


HEAD = "Stations_id von_datum bis_datum Stationshoehe geoBreite geoLaenge Stationsname Bundesland\n"


def test_an_error_page_is_no_station_list() -> None:
    for text in ("", HEAD, "<html>502</html>"):
        with pytest.raises(SchemaError, match="no station list"):
            parse_station_list(text.encode("latin-1"), "x")


def test_a_line_that_cannot_be_read_is_named() -> None:
    text = HEAD + "00003 19930428 20120403 202 50.7827 6.0941 Aachen  Hessen\n00004 oops\n"
    found = parse_station_list(text.encode("latin-1"), "x")
    assert [s.id for s in found.stations] == ["00003"]
    assert found.unreadable == ("00004 oops",)


NAMES = st.text(st.sampled_from("abcÄöß ,.-/()"), min_size=1, max_size=60).map(lambda t: " ".join(t.split()))


@given(NAMES.filter(bool), st.sampled_from(STATES), st.integers(1, 99_999), st.integers(1, 60), st.booleans())
def test_names_with_anything_in_them_are_kept_whole(name, state, number, padding, free) -> None:
    line = f"{number:5d} 19930428 20120403 {202:14d} {50.7827:10.4f} {6.0941:9.4f} {name}{' ' * padding}{state}"
    text = HEAD.replace("\n", " Abgabe\n" if free else "\n") + line + ("      Frei   " if free else "   ") + "\n"
    (station,) = parse_station_list(text.encode("latin-1"), "x").stations
    assert (station.id, station.name, station.state) == (f"{number:05d}", name, state)
