"""Station history: a moved station, a renamed one, instruments, and spans that touch."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from weather_backfill.model.errors import SchemaError
from weather_backfill.model.schemas import STATION_HISTORY
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.history import station_history
from weather_backfill.sources.dwd.metadata import NamedEntry, PlaceEntry, StationMetadata, parse_metadata
from weather_backfill.sources.dwd.source import DwdSource
from weather_backfill.sources.dwd.zip_file import open_archive, open_metadata
from weather_backfill_tests.sources.dwd.files import DWD, needs_data, put


@needs_data
def test_a_station_that_moved_in_2020() -> None:
    path = DWD / "excerpts/observations_recent_FF_location_change_akt.zip"
    table = station_history([("04911", open_archive(path.read_bytes(), path.name).metadata)])
    assert table.schema == STATION_HISTORY
    rows = table.to_pylist()
    assert [r["is_current"] for r in rows][-2:] == [False, True]
    assert (rows[-2]["valid_to"], rows[-1]["valid_from"]) == (date(2020, 1, 1), date(2020, 1, 1))
    assert (rows[-1]["latitude"], rows[-1]["longitude"], rows[-1]["height"]) == (50.0, 13.0, 345.0)
    assert len([r for r in rows if r["height"] == 350.5]) == 1, "two entries that say the same are one span"


@needs_data
def test_name_operator_and_instrument_are_joined_by_validity() -> None:
    path = DWD / "excerpts/Meta_Daten_zehn_min_sd_01766.zip"
    rows = station_history([("01766", open_metadata(path.read_bytes(), path.name))]).to_pylist()
    on = {d: next(r for r in rows if r["valid_from"] <= d and (r["valid_to"] is None or d < r["valid_to"]))
          for d in (date(1985, 1, 1), date(2000, 1, 1), date(2008, 10, 1), date(2023, 1, 1))}  # fmt: skip
    assert [(r["name"], r["operator"]) for r in on.values()] == [
        ("Greven", "DWD"),
        *[("Münster/Osnabrück", "DWD")] * 3,
    ]
    assert [r["instruments"] for r in on.values()] == [
        [], ["Sonnenscheindauer: SONIe Sonnenenergie-Sensor"], [], ["Sonnenscheindauer: SCAPP"],
    ]  # fmt: skip
    assert rows[-1]["is_current"]


@needs_data
def test_the_metadata_of_2016() -> None:
    path = next((DWD / "cdc-2016-10-21/hourly/wind/recent").glob("*.zip"))
    rows = station_history([("01048", open_archive(path.read_bytes(), path.name).metadata)]).to_pylist()
    assert (rows[0]["valid_from"], rows[0]["height"]) == (date(1928, 1, 1), 152.0)
    assert (rows[-1]["valid_from"], rows[-1]["is_current"]) == (date(1995, 9, 1), True)


def test_spans_do_not_overlap_and_leave_out_what_nobody_knows() -> None:
    metadata = StationMetadata(
        places=(
            PlaceEntry(date(2000, 1, 1), date(2000, 12, 31), 50.0, 8.0, 100.0, "A"),
            PlaceEntry(date(2002, 1, 1), None, 51.0, 8.0, 120.0, "A"),
        ),
        instruments=(NamedEntry("X", date(1999, 1, 1), date(2003, 6, 30), "T"),
                     NamedEntry("Y", date(2003, 7, 1), date(2020, 3, 26), "T")),
    )  # fmt: skip
    rows = station_history([("00001", metadata), ("00001", metadata)]).to_pylist()
    assert [(r["valid_from"], r["valid_to"], r["instruments"]) for r in rows] == [
        (date(2000, 1, 1), date(2001, 1, 1), ["T: X"]),
        (date(2002, 1, 1), date(2003, 7, 1), ["T: X"]),
        (date(2003, 7, 1), None, ["T: Y"]),
    ]
    assert station_history([]).num_rows == 0


def test_metadata_with_another_header_is_named() -> None:
    with pytest.raises(SchemaError, match="Metadaten_Geographie_00001"):
        parse_metadata({"Metadaten_Geographie_00001.txt": b"Station;Wo\n1;hier\n"})


@needs_data
def test_the_history_of_a_ten_minute_connection_comes_from_its_folder_of_metadata(tmp_path: Path) -> None:
    folder = "10_minutes/air_temperature"
    for station in ("01766", "00002"):
        put(tmp_path, f"{folder}/recent/10minutenwerte_TU_{station}_akt.zip", b"PK")
    connection = DwdConnection(base_url=tmp_path.as_uri(), stations="all", resolution="10_minutes")
    table, failed = DwdSource(connection).station_history()
    assert (table.num_rows, sorted(failed)) == (0, ["00002", "01766"]), "what is known of them stays"
    excerpt = DWD / "excerpts/Meta_Daten_zehn_min_sd_01766.zip"
    put(tmp_path, f"{folder}/meta_data/Meta_Daten_zehn_min_tu_01766.zip", excerpt.read_bytes())
    table, failed = DwdSource(connection).station_history()
    assert set(table["station_id"].to_pylist()) == {"01766"}
    assert table["latitude"].null_count == 0
    assert "no Meta_Daten_*_00002.zip" in failed["00002"]
