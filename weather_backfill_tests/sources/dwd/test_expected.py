"""Files that ought to be listed and are not: by what was asked for, and by the station lists."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill_tests.sources.dwd.files import hourly_zip, put, read_days

LATELY = datetime.now(UTC).date() - timedelta(days=10)
BEGIN = datetime(LATELY.year, LATELY.month, LATELY.day, tzinfo=UTC)
FOLDER = "hourly/air_temperature"
HEAD = (
    "Stations_id von_datum bis_datum Stationshoehe geoBreite geoLaenge Stationsname Bundesland\n"
    "----------- --------- --------- ------------- --------- --------- ------------ ----------\n"
)


def line(station: int, end: date, state: str = "Hessen") -> str:
    """A station that began in 1990 and ended, or has not yet."""
    return f"{station:05d} 19900101 {end:%Y%m%d}             77     50.0000    9.0000 Ort{station}      {state}\n"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """Station 991 is listed in `recent`, 992 in history alone, to the end of 2025."""
    zipped = hourly_zip(991, BEGIN, [1.0] * 26)
    put(tmp_path, f"{FOLDER}/recent/stundenwerte_TU_00991_akt.zip", zipped)
    for station in (991, 992):
        old = hourly_zip(station, datetime(2020, 1, 1, tzinfo=UTC), [1.0] * 26)
        put(tmp_path, f"{FOLDER}/historical/stundenwerte_TU_{station:05d}_19900101_20251231_hist.zip", old)
    return tmp_path


def listed(server: Path, *lines: str) -> None:
    put(
        server, f"{FOLDER}/recent/TU_Stundenwerte_Beschreibung_Stationen.txt", (HEAD + "".join(lines)).encode("latin-1")
    )


def lacking(server: Path, day: date, stations: Any) -> list[tuple[str, str]]:
    [read] = read_days(DwdConnection(base_url=server.as_uri(), stations=stations), [day])
    assert isinstance(read, RawDay), read
    return [(lack.station, lack.cause) for lack in read.lacks]


@pytest.mark.parametrize("stations", [("00991", "00992"), {"state": "Hessen"}, "all"], ids=["ids", "state", "all"])
def test_an_active_station_without_a_file_for_the_day_is_lacking(server: Path, stations: Any) -> None:
    listed(server, line(991, LATELY), line(992, LATELY))
    cause = "active by its station list, and has no file of air_temperature for the day"
    assert lacking(server, LATELY, stations) == [("00992", cause)]
    assert lacking(server, date(2020, 1, 1), stations) == [], "history claims that day"


@pytest.mark.parametrize("stations", [("00991", "00992"), {"state": "Hessen"}, "all"], ids=["ids", "state", "all"])
def test_a_station_that_its_list_has_ended_is_not(server: Path, stations: Any) -> None:
    listed(server, line(991, LATELY), line(992, date(2025, 12, 31)))
    assert lacking(server, LATELY, stations) == []


def test_a_list_that_is_late_ends_no_station(server: Path) -> None:
    late = LATELY - timedelta(days=3)
    listed(server, line(991, late), line(992, late))
    assert [station for station, _ in lacking(server, LATELY, ("00991", "00992"))] == ["00992"]


def test_a_station_that_was_named_and_no_list_knows_is_lacking(server: Path) -> None:
    listed(server, line(991, LATELY))
    [(station, cause)] = lacking(server, LATELY, ("00991", "00992"))
    assert station == "00992"
    assert "no station list names it" in cause
    assert lacking(server, LATELY, "all") == [], "whoever asks for all asks for nobody by name"


def test_a_day_of_which_nothing_can_be_read_fails(server: Path) -> None:
    listed(server, line(991, LATELY), line(992, LATELY))
    [read] = read_days(DwdConnection(base_url=server.as_uri(), stations=("00992",)), [LATELY])
    assert isinstance(read, DayFailure)
    assert "active by its station list" in str(read.error)
