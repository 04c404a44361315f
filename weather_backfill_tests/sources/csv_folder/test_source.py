"""Loggers' files of several shapes, read into days and checked against what was written."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.model.errors import ConfigurationError, SchemaError, UnreadableObjectError
from weather_backfill.refine.checks import check_raw
from weather_backfill.refine.coverage import coverage
from weather_backfill.settings import Settings
from weather_backfill.sources.csv_folder.connection import CsvFolderConnection
from weather_backfill.sources.csv_folder.source import CsvFolderSource
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import parse_tenant

D1, D2 = date(2024, 3, 30), date(2024, 3, 31)
WIDE = {"station": "roof", "columns": {"t": "air_temperature degF", "rain": "precipitation_amount mm"}}


def read(folder: Path, *days: date, **settings: Any) -> list[RawDay | DayFailure]:
    connection = CsvFolderConnection(folder=str(folder), **{**WIDE, **settings})
    with CsvFolderSource(connection, ObjectStore(str(folder), must_exist=True)) as source:
        return list(source.days(days))


def one(folder: Path, day: date, **settings: Any) -> RawDay:
    [made] = read(folder, day, **settings)
    assert isinstance(made, RawDay), made
    return made


def rows(day: RawDay) -> list[tuple[str, str, str, float | None]]:
    """Station, metric, time as hh:mm and value."""
    return [(r["station_id"], r["metric"], f"{r['observed_at']:%H:%M}", r["value"]) for r in day.table.to_pylist()]


def test_a_wide_table_with_units_gaps_and_bad_cells(tmp_path: Path) -> None:
    (tmp_path / "2024-03-30.csv").write_text(
        "time,t,rain,other\n2024-03-30T00:10,50,0.2,x\n2024-03-30T00:00,32,,x\n2024-03-30T00:20,warm,0,x\n"
        "2024-03-30T00:10,59,0.2,x\n2024-03-30T00:30,32\nnoon,32,0,x\n"
    )
    day = one(tmp_path, D1)
    assert rows(day) == [
        ("roof", "air_temperature", "00:00", 0.0),
        ("roof", "air_temperature", "00:10", 15.0),
        ("roof", "precipitation_amount", "00:00", None),
        ("roof", "precipitation_amount", "00:10", 0.2),
        ("roof", "precipitation_amount", "00:20", 0.0),
    ]
    told = [(r["reason"], r["station_id"], r["raw_text"]) for r in day.rejects.to_pylist()]
    assert sorted(told, key=str) == sorted(
        [
            ("no time", None, "{'time': 'noon', 't': '32', 'rain': '0'}"),
            ("not a number", "roof", "t=warm"),
            ("wrong number of fields", None, "2024-03-30T00:30,32"),
        ],
        key=str,
    )
    assert day.facts == {
        "source_objects": 1,
        "source_bytes": (tmp_path / "2024-03-30.csv").stat().st_size,
        "duplicates": 2,
    }


def test_a_local_day_is_no_utc_day_and_changing_clocks_are_told(tmp_path: Path) -> None:
    """Berlin, 30 to 31 March 2024: the clocks go from 02:00 to 03:00."""
    for day in (D1, D2):
        lines = [f"{day:%d.%m.%Y} {hour:02d}:30;{hour},5" for hour in range(24)]
        (tmp_path / f"log_{day:%Y%m%d}.txt").write_text("\n".join(["time;t", *lines]))
    berlin = {
        "files": "log_%Y%m%d.txt", "time_zone": "Europe/Berlin", "time_format": "%d.%m.%Y %H:%M", "separator": ";",
        "decimal": ",", "columns": {"t": "air_temperature"},
    }  # fmt: skip
    first, second = read(tmp_path, D1, D2, **berlin)
    assert isinstance(first, RawDay)
    assert isinstance(second, RawDay)
    assert [(r[2], r[3]) for r in rows(first)][-2:] == [("22:30", 23.5), ("23:30", 0.5)]
    assert [(r[2], r[3]) for r in rows(second)][:3] == [("00:30", 1.5), ("01:30", 3.5), ("02:30", 4.5)]
    assert first.rejects.num_rows == 0
    assert second.rejects["raw_text"].to_pylist() == ["{'time': '31.03.2024 02:30', 't': '2,5'}"]


def test_a_long_table_in_a_month_s_parquet_file(tmp_path: Path) -> None:
    start = datetime(2024, 3, 30, tzinfo=UTC)
    sink = io.BytesIO()
    columns = {
        "ts": pa.array([start + timedelta(hours=12 * n) for n in range(5)], pa.timestamp("s", "UTC")),
        "id": ["b", "a", "a", "b", None],
        "what": ["temp", "temp", "hum", "unknown", "temp"],
        "value": [1.0, 2.0, 0.5, 3.0, 4.0],
    }
    pq.write_table(pa.table(columns), sink)
    (tmp_path / "2024-03.parquet").write_bytes(sink.getvalue())
    days = read(
        tmp_path, D1, D2, station=None, station_column="id", files="%Y-%m.parquet", time_column="ts",
        metric_column="what", value_column="value", columns={"temp": "air_temperature", "hum": "relative_humidity 1"},
    )  # fmt: skip
    assert [rows(day) for day in days if isinstance(day, RawDay)] == [
        [("a", "air_temperature", "12:00", 2.0), ("b", "air_temperature", "00:00", 1.0)],
        [("a", "relative_humidity", "00:00", 50.0)],
    ]


def test_what_is_not_mapped_is_counted_and_a_month_s_rejects_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "2024-02.csv").write_text("time,what,value\n2024-02-01,temp,1\n2024-02-02,rain,2\n2024-02-02,temp,x\n")
    found = read(
        tmp_path, date(2024, 2, 1), date(2024, 2, 2), files="%Y-%m.csv", metric_column="what", value_column="value",
        columns={"temp": "air_temperature"},
    )  # fmt: skip
    days = [day for day in found if isinstance(day, RawDay)]
    assert [day.facts.get("unmapped_rows") for day in days] == [1, None]
    assert [day.rejects.num_rows for day in days] == [1, 0]


def test_one_bad_file_fails_its_day_and_its_neighbours_alone(tmp_path: Path) -> None:
    """The rows of the days beside it may stand in it: they are not known either."""
    for number in range(1, 6):
        (tmp_path / f"2024-02-0{number}.csv").write_text(f"time,t,rain\n2024-02-0{number}T12:00,50,0\n")
    (tmp_path / "2024-02-05.csv").write_text("when,t,rain\n")
    days = read(tmp_path, *(date(2024, 2, number) for number in range(1, 6)))
    assert [type(day.error) if isinstance(day, DayFailure) else "read" for day in days] == [
        "read", "read", "read", SchemaError, SchemaError,
    ]  # fmt: skip
    (tmp_path / "2024-02-05.csv").write_bytes("time,t,rain\nä,1,1\n".encode("latin-1"))
    [day] = read(tmp_path, date(2024, 2, 5))
    assert isinstance(day, DayFailure)
    assert isinstance(day.error, UnreadableObjectError)


def test_the_inventory_is_of_files_and_a_day_without_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a" / "2024").mkdir(parents=True)
    (tmp_path / "a" / "2024" / "x-0330.csv").write_text("time,t,rain\n")
    connection = CsvFolderConnection(folder=str(tmp_path), files="a/%Y/*-%m%d.csv", **WIDE)  # type: ignore[arg-type]
    source = CsvFolderSource(connection, ObjectStore(str(tmp_path)))
    assert {day: (held.objects, held.bytes) for day, held in source.inventory(D1, D2).items()} == {D1: (1, 12)}
    empty = one(tmp_path, D2, files="a/%Y/*-%m%d.csv")
    assert empty.table.num_rows == 0
    assert empty.expected_stations == ("roof",)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"station": None}, "name either station"),
        ({"station_column": "id"}, "name either station"),
        ({"metric_column": "what"}, "go together"),
        ({"files": "../%Y.csv"}, "expected keys below the folder"),
        ({"files": "all.csv"}, "expected keys below the folder"),
        ({"columns": {"t": "temperature"}}, "expected a name such as air_temperature"),
        ({"columns": {"t": "air_temperature hPa"}}, "expected one of degree_Celsius"),
        ({"time_zone": "Mars/Olympus"}, "no such time zone"),
    ],
)
def test_impossible_settings_name_the_field(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CsvFolderConnection(folder="/x", **{**WIDE, **settings})


def test_a_day_goes_through_the_platform(tmp_path: Path) -> None:
    """Opened through its tenant's file, flagged and checked."""
    lines = [f"2024-03-30T{n // 6:02d}:{n % 6}0,50,0" for n in range(144)]
    (tmp_path / "2024-03-30.csv").write_text("\n".join(["time,t,rain", *lines]))
    columns = "{t: air_temperature degF}"
    text = f"id: acme\nservices: {{csv_folder: {{folder: {tmp_path}, station: roof, columns: {columns}}}}}"
    settings = Settings(storage_url=str(tmp_path / "lake"), tenants_url=str(tmp_path / "tenants"))
    tenant = parse_tenant(text.encode(), "acme.yaml", "acme")
    with open_source(tenant, "csv_folder", open_lake(settings), settings.s3, settings) as source:
        [day] = source.days([D1])
    assert isinstance(day, RawDay)
    held = coverage(day)
    assert held.share == 1.0
    assert all(result.passed for result in check_raw(day, held, settings.limits_of("csv_folder")))
    inside = text.replace(str(tmp_path), str(tmp_path / "lake" / "raw_observations"))
    with pytest.raises(ConfigurationError, match=r"csv_folder.folder.*lies in the lake"):
        open_source(
            parse_tenant(inside.encode(), "a", "acme"), "csv_folder", open_lake(settings), settings.s3, settings
        )


def test_what_a_value_stands_for_is_a_setting(tmp_path: Path) -> None:
    """Rain of the ten minutes up to its time, and a reading: at midnight they belong to two days."""
    (tmp_path / "2024-03-30.csv").write_text("time,t,rain\n2024-03-30T00:00,32,0.1\n2024-03-30T00:10,32,0.2\n")
    (tmp_path / "2024-03-31.csv").write_text("time,t,rain\n2024-03-31T00:00,50,0.4\n")
    first, second = read(tmp_path, D1, D2, intervals={"precipitation_amount": 600})
    assert isinstance(first, RawDay)
    assert isinstance(second, RawDay)
    assert rows(first) == [
        ("roof", "air_temperature", "00:00", 0.0),
        ("roof", "air_temperature", "00:10", 0.0),
        ("roof", "precipitation_amount", "00:10", 0.2),
        ("roof", "precipitation_amount", "00:00", 0.4),
    ]
    assert first.table["interval_seconds"].to_pylist() == [0, 0, 600, 600]
    assert [(r["reason"], r["raw_text"]) for r in first.rejects.to_pylist()] == [
        ("before_first_day", "precipitation_amount=0.1")
    ]
    assert rows(second) == [("roof", "air_temperature", "00:00", 10.0)]
    assert second.rejects.num_rows == 0, "the day before has it"


def test_a_time_can_be_the_start_of_its_interval(tmp_path: Path) -> None:
    (tmp_path / "2024-03-30.csv").write_text("time,t,rain\n2024-03-30T00:00,32,0.1\n2024-03-30T23:50,32,0.2\n")
    day = one(tmp_path, D1, interval_seconds=600, time_is="start")
    assert len(rows(day)) == 4
    assert set(day.table["interval_end_offset_seconds"].to_pylist()) == {600}
    with pytest.raises(ValueError, match="no column is of the metric wind"):
        one(tmp_path, D1, intervals={"wind": 600})
