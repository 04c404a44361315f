"""Days of GHCNh out of made files: rows equal the truth, faults cost their own days, restatements are found."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.model.errors import ConfigurationError, SchemaError
from weather_backfill.model.intervals import days as days_of
from weather_backfill.model.partitions import days_between
from weather_backfill.sources.ghcnh.decode import IN_FUTURE, NO_NUMBER, NO_STAMP, OTHER_STATION
from weather_backfill.sources.ghcnh.simulate import Faults, write_network
from weather_backfill.sources.ghcnh.simulate_data import Network, body_of
from weather_backfill.sources.ghcnh.stations import INVENTORY
from weather_backfill.sources.table import BEFORE_FIRST_DAY
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.sources.dwd.server import serve
from weather_backfill_tests.sources.ghcnh.files import STATION, read_days, row, source_of, values_of, write

NETWORK = Network(date(2023, 12, 20), date(2024, 3, 20), stations=3, seed=3)


def truth_rows(network: Network, station: str, day: date) -> list[tuple[object, ...]]:
    rows = []
    for value in network.truth(station):
        middle = value.time - timedelta(seconds=value.seconds / 2)
        if middle.date() == day:
            flag = 9 if value.value is None else value.flag
            rows.append((station, value.metric, value.time, value.value, flag, value.seconds))
    return sorted(rows, key=lambda r: (r[0], r[1], r[2], r[5]))  # type: ignore[arg-type, return-value]


def as_rows(table: pa.Table) -> list[tuple[object, ...]]:
    names = ("station_id", "metric", "observed_at", "value", "quality", "interval_seconds")
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ghcnh")
    write_network(NETWORK, root)
    return root


def test_days_equal_the_truth_over_the_turn_of_the_year(tree: Path) -> None:
    wanted = [*days_between(date(2023, 12, 24), date(2024, 1, 3)), date(2024, 3, 7)]
    days = read_days(source_of(tree.as_uri(), stations=NETWORK.ids), *wanted)
    for day in days:
        assert as_rows(day.table) == [
            r for station in sorted(NETWORK.ids) for r in truth_rows(NETWORK, station, day.date)
        ]
        assert not day.rejects.num_rows
        assert day.incomplete is None
        assert set(days_of(day.table).tolist()) == {(day.date - date(1970, 1, 1)).days}
    assert any(r[5] == 64_800 for day in days for r in as_rows(day.table)), "rain of 18 hours is among them"


def test_a_day_is_the_same_in_any_range_and_memory(tree: Path) -> None:
    wanted = days_between(date(2023, 12, 25), date(2024, 1, 25))
    whole = read_days(source_of(tree.as_uri(), stations=NETWORK.ids), *wanted)
    source = source_of(tree.as_uri(), stations=NETWORK.ids)
    source._memory = 1  # everything waits on disk
    for spilled, day in zip(read_days(source, *wanted), whole, strict=True):
        assert spilled.table.equals(day.table)
        assert spilled.lineage == day.lineage
    [alone] = read_days(source_of(tree.as_uri(), stations=NETWORK.ids), date(2023, 12, 31))
    [same] = [day for day in whole if day.date == alone.date]
    assert alone.table.equals(same.table)
    assert (alone.lineage, alone.cadence, alone.expected_stations) == (
        same.lineage, same.cadence, same.expected_stations)  # fmt: skip


def test_cadences_follow_the_stations(tree: Path) -> None:
    [day] = read_days(source_of(tree.as_uri(), stations=NETWORK.ids), date(2024, 1, 5))
    us, half_hourly, synop = NETWORK.ids
    assert [day.cadence.of("air_temperature", s) for s in (us, half_hourly, synop)] == [3600, 1800, 10_800]
    assert day.cadence.of("air_pressure_at_mean_sea_level", us) == 10_800, "of the SYNOPs alone"
    assert set(day.expected_stations) == set(NETWORK.ids)


def test_codes_become_flags_and_are_kept(tmp_path: Path) -> None:
    def cell(value: str, measurement: str, quality: str, source: str) -> tuple[str, str, str, str, str]:
        return value, measurement, quality, "FM12" if source == "223" else "FM15", source

    rows = [
        row("2024-03-05T10:00", temperature=cell("1.0", "", "5", "223"), wind_speed=cell("2.0", "N", "2", "223")),
        row("2024-03-05T11:00", temperature=cell("1.1", "", "5", "343"), wind_speed=cell("2.0", "N", "w", "343")),
        row("2024-03-05T12:00", temperature=cell("1.2", "", "", "413"), wind_speed=cell("2.0", "", "6", "343")),
        row("2024-03-05T13:00", relative_humidity=cell("101", "D", "o", "343"), visibility=cell("9.9", "", "4", "343")),
        row("2024-03-05T14:00", wind_direction=cell("999", "C", "5", "223"), wind_gust=cell("9.0", "", "?", "343")),
        row("2024-03-05T15:00", wind_direction=cell("999", "V", "1", "223")),
    ]  # fmt: skip
    write(tmp_path, rows)
    [day] = read_days(source_of(tmp_path.as_uri()), date(2024, 3, 5))
    assert [flag for _, _, flag, _ in values_of(day, "air_temperature")] == [4, 1, 2]
    assert [flag for _, _, flag, _ in values_of(day, "wind_speed")] == [3, 4, 3]
    assert values_of(day, "relative_humidity") == [("13:00", 101.0, 4, 0)]
    assert values_of(day, "visibility_in_air") == [("13:00", 9900.0, 2, 0)]
    assert values_of(day, "wind_from_direction") == [("14:00", 0.0, 1, 0), ("15:00", None, 9, 0)]
    assert values_of(day, "wind_speed_of_gust") == [("14:00", 9.0, 2, 0)]
    assert day.facts["of_the_year"] == {"unknown_quality_codes": 1, "variable_directions": 1}
    kept = {(f"{r['observed_at']:%H}", r["metric"]): r["source_quality"] for r in day.table.to_pylist()}
    assert kept["10", "air_temperature"] == 5
    assert kept["11", "wind_speed"] == ord("w")
    assert kept["12", "air_temperature"] is None
    assert day.facts["values_by_source"] == {"223": 4, "343": 6, "413": 1}


def test_rain_stands_for_its_period(tmp_path: Path) -> None:
    five = ("0.3", "", "", "SOD", "343")
    rows = [
        row("2024-03-05T00:55", temperature="1.0", precipitation="1.0"),
        row("2024-03-05T01:15", precipitation=("0.5", "", "5", "FM16", "343")),
        row("2024-03-05T01:55", temperature="1.0", precipitation="0.8"),
        row("2024-03-05T02:30", precipitation=("0.4", "", "5", "FM16", "343")),  # the routine report is missing
        row("2024-03-05T03:55", temperature="1.0", precipitation=("0.0", "T", "5", "FM15", "343")),
        row("2024-03-05T05:00", precipitation_6_hour=("3.0", "", "1", "FM12", "223")),  # 23:00 to 05:00
        row("2024-03-05T06:00", precipitation_5_minute=five),
        row("2024-03-05T07:00", precipitation=("1.5", "", "", "H", "382")),
        row("2024-03-05T07:59", precipitation=("-9999", "", "M", "4", "382")),
        row("2024-03-05T08:59", precipitation=("7.0", "05", "A", "4", "382")),
        row("2024-03-05T09:59", precipitation=("7.0", "", "A", "4", "382")),
    ]
    write(tmp_path, rows)
    [day] = read_days(source_of(tmp_path.as_uri()), date(2024, 3, 5))
    assert values_of(day, "precipitation_amount") == [
        ("00:55", 1.0, 1, 3600), ("01:55", 0.8, 1, 3600), ("02:30", 0.4, 1, 2100), ("03:55", 0.0, 1, 3600),
        ("05:00", 3.0, 1, 21_600), ("06:00", 0.3, 2, 300), ("07:00", 1.5, 1, 3600), ("08:59", 7.0, 1, 18_000),
    ]  # fmt: skip
    assert values_of(day, "precipitation_indicator") == [("03:55", 1.0, 1, 3600)]
    assert day.facts["running_totals"] == 1
    assert [r["reason"] for r in day.rejects.to_pylist()] == ["total of unknown hours"]


def test_what_belongs_to_the_day_before_a_history_is_told(tmp_path: Path) -> None:
    write(tmp_path, [row("2024-03-05T03:00", temperature="1", precipitation_24_hour=("5.0", "", "1", "FM12", "223"))])
    before, day = read_days(source_of(tmp_path.as_uri()), date(2024, 3, 4), date(2024, 3, 5))
    assert before.table.num_rows == 0
    assert [r["reason"] for r in day.rejects.to_pylist()] == [BEFORE_FIRST_DAY]


def test_a_history_that_begins_with_a_year_has_no_day_before(tmp_path: Path) -> None:
    network = Network(date(2024, 1, 1), date(2024, 1, 3), stations=1)
    write_network(network, tmp_path)
    first = row("2024-01-01T03:00", temperature="1", precipitation_24_hour=("5.0", "", "1", "FM12", "223"))
    write(tmp_path, [first])
    before, day = read_days(source_of(tmp_path.as_uri()), date(2023, 12, 31), date(2024, 1, 1))
    assert before.table.num_rows == 0
    assert [r["reason"] for r in day.rejects.to_pylist()] == [BEFORE_FIRST_DAY]


def test_bad_rows_are_rejects_and_cost_themselves(tmp_path: Path) -> None:
    good = [row("2024-03-05T10:00", temperature="1.0"), row("2024-03-05T11:00", temperature="1.1", wind_speed="2.0")]
    text = body_of(STATION, good).decode()
    line = text.splitlines()[1]
    lines = [
        line.replace("2024-03-05T10:00:00", "2024-13-05T10:00:00"), line.replace(STATION, "USW00000001", 1),
        line.replace("2024-03-05T10:00:00", "2027-01-01T00:00:00"), line + "|extra",
        line.replace("T10:00:00", "T12:00:00").replace("|1.0|", "|1,0|"),
    ]  # fmt: skip
    write(tmp_path, (text + "\n".join(lines) + "\n").encode())
    [day] = read_days(source_of(tmp_path.as_uri()), date(2024, 3, 5))
    assert values_of(day, "air_temperature") == [("10:00", 1.0, 1, 0), ("11:00", 1.1, 1, 0)]
    assert sorted(r["reason"] for r in day.rejects.to_pylist()) == sorted(
        [NO_STAMP, OTHER_STATION, IN_FUTURE, "wrong number of fields", NO_NUMBER]
    )


def test_unknown_columns_are_passed_over_and_named(tmp_path: Path) -> None:
    text = body_of(STATION, [row("2024-03-05T10:00", temperature="1.0")]).decode().splitlines()
    write(tmp_path, "\n".join([text[0] + "|soil_heat", text[1] + "|3"]).encode())
    [day] = read_days(source_of(tmp_path.as_uri()), date(2024, 3, 5))
    assert day.table.num_rows == 1
    assert day.facts["unknown_columns"] == ["soil_heat"]


def test_a_source_under_resolution_40_is_left_out(tmp_path: Path) -> None:
    rows = [row("2024-03-05T10:00", temperature=("1.0", "", "1", "FM12", "223"), wind_speed="2.0"),
            row("2024-03-05T11:00", temperature=("1.0", "", "", "FM15", "413"))]  # fmt: skip
    write(tmp_path, rows)
    [day] = read_days(source_of(tmp_path.as_uri(), resolution_40=False), date(2024, 3, 5))
    assert [r["metric"] for r in day.table.to_pylist()] == ["wind_speed"]
    assert day.facts["of_the_year"] == {"left_out_by_licence": 2}


@pytest.mark.parametrize("body", [b"", b"<html>Not here</html>\n", b"a|b|c\n1|2|3\n", b"\x00\x01\x02" * 50])
def test_what_is_no_file_fails_its_days(tmp_path: Path, body: bytes) -> None:
    write(tmp_path, body)
    with source_of(tmp_path.as_uri()) as source:
        [day] = source.days([date(2024, 3, 5)])
    assert isinstance(day, DayFailure)
    assert isinstance(day.error, SchemaError), day.error


def test_a_station_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    write_network(Network(date(2024, 3, 1), date(2024, 3, 6)), tmp_path)
    write(tmp_path, b"no table")
    stations = Network(date(2024, 3, 1), date(2024, 3, 6)).ids
    [day] = read_days(source_of(tmp_path.as_uri(), stations=stations), date(2024, 3, 5))
    assert day.table.num_rows > 100
    assert day.incomplete is not None
    assert STATION in day.incomplete


def test_a_promised_file_that_is_not_there_is_no_silence(tmp_path: Path) -> None:
    network = Network(date(2024, 3, 1), date(2024, 3, 6))
    write_network(network, tmp_path, Faults(gone=(STATION,)))
    [day] = read_days(source_of(tmp_path.as_uri(), stations=network.ids), date(2024, 3, 5))
    assert day.incomplete is not None
    assert "The inventory has it" in day.incomplete


def test_stations_are_chosen_by_country_state_and_box(tree: Path) -> None:
    us, *indian = NETWORK.ids
    for chosen, expected in (
        ({"country": "in"}, indian), ({"state": "AZ"}, [us]),
        ({"south": 20, "north": 30, "west": 70, "east": 80}, indian),
        ({"south": -90, "north": 90, "west": 170, "east": -100}, [us]),
    ):  # fmt: skip
        with source_of(tree.as_uri(), stations=chosen) as source:
            assert list(source._catalogue.stations) == sorted(expected)
    with source_of(tree.as_uri(), stations={"country": "ZZ"}) as source, pytest.raises(ConfigurationError, match="ZZ"):
        source.inventory(date(2024, 1, 1), date(2024, 1, 2))


def test_the_plan_counts_whole_files_once_and_requests_a_run(tree: Path) -> None:
    with source_of(tree.as_uri(), stations=NETWORK.ids) as source:
        days = source.inventory(date(2023, 12, 30), date(2024, 1, 2))
        assert sorted(days) == days_between(date(2023, 12, 30), date(2024, 1, 2))
        cost = source.cost([[date(2024, 1, 1)], [date(2023, 12, 31)]])
    assert (cost.objects, cost.requests) == (6, 2 + 3 + 2 + 6)
    sizes = sum(path.stat().st_size for path in tree.rglob("*.psv"))
    assert sizes / 2 < cost.bytes < sizes * 2


def held(source, days: list[date]) -> tuple[dict[date, dict[str, str]], dict[date, pa.Table]]:  # type: ignore[no-untyped-def]
    import json

    read = read_days(source, *days)
    return {d.date: json.loads(d.lineage["source_objects"]) for d in read}, {d.date: d.table for d in read}


def test_a_rewritten_file_restates_the_days_that_changed(tmp_path: Path) -> None:
    network = Network(date(2024, 3, 1), date(2024, 3, 9), stations=2)
    write_network(network, tmp_path)
    days = days_between(network.start, network.end)
    files, tables = held(source_of(tmp_path.as_uri(), stations=network.ids), days)
    with source_of(tmp_path.as_uri(), stations=network.ids) as source:
        assert not source.restated(files, tables.__getitem__).days
    write_network(network, tmp_path, Faults(rewritten=(f"{STATION}:2024-03-04",)))
    with source_of(tmp_path.as_uri(), stations=network.ids) as source:
        found = source.restated(files, tables.__getitem__)
    assert list(found.days) == [date(2024, 3, 4)]
    assert found.days[date(2024, 3, 4)].changed == 24
    assert found.days_compared == 1


def test_an_unchanged_file_is_transferred_once(tmp_path: Path) -> None:
    network = Network(date(2024, 3, 1), date(2024, 3, 9), stations=2)
    write_network(network, tmp_path / "tree")
    cache = ObjectStore(str(tmp_path / "lake"))
    with serve(tmp_path / "tree") as mirror:
        first, again = (read_days(source_of(mirror.url, cache, stations=network.ids), date(2024, 3, 5)) for _ in "12")
        assert first[0].table.equals(again[0].table)
        assert set(mirror.sent.values()) == {1}
        assert mirror.asked[INVENTORY] == 2
    packed = sum(stored.size for stored in cache.list("_cache"))
    assert packed < sum(path.stat().st_size for path in tmp_path.rglob("*.psv")) / 5


def test_a_month_that_vanishes_is_refused_by_name(tmp_path: Path) -> None:
    network = Network(date(2024, 2, 20), date(2024, 3, 9), stations=2)
    cache, root = ObjectStore(str(tmp_path / "lake")), tmp_path / "tree"
    write_network(network, root)
    days = [date(2024, 2, 25), date(2024, 3, 5)]
    with serve(root) as mirror:

        def read(**settings: object) -> list[RawDay]:
            return read_days(source_of(mirror.url, cache, stations=network.ids, **settings), *days)

        files, tables = held(source_of(mirror.url, cache, stations=network.ids), days)
        write_network(network, root, Faults(lost_months=(f"{STATION}:2024-02",)))
        for _ in range(2):  # the file that has lost it is in the cache by now
            february, march = read()
            assert february.incomplete is not None
            assert "has lost the month 2024-02" in february.incomplete
            assert march.incomplete is None
            assert march.table.equals(tables[days[1]])
            assert STATION not in february.table["station_id"].to_pylist()
        with source_of(mirror.url, cache, stations=network.ids) as source:
            found = source.restated(files, tables.__getitem__)
        assert not found.days, "nothing is launched that would lose rows"
        assert "2024-02" in found.problems[STATION]
        assert read(accept_lost_months=["2024-02"])[0].incomplete is None
        write_network(network, root)
        assert all(day.incomplete is None for day in read())


def test_an_unreachable_server_fails_the_days(tmp_path: Path) -> None:
    write_network(Network(date(2024, 3, 1), date(2024, 3, 2)), tmp_path)
    with serve(tmp_path) as mirror:
        mirror.fault = lambda path: (403, b"no")
        with source_of(mirror.url) as source:
            found = list(source.days([date(2024, 3, 1)]))
    assert [type(day) for day in found] == [DayFailure]


def test_station_history_says_where_they_are(tree: Path) -> None:
    with source_of(tree.as_uri(), stations=[*NETWORK.ids, "USW00099999"]) as source:
        table, absent = source.station_history()
    assert table.column("station_id").to_pylist() == sorted(NETWORK.ids)
    assert absent == {"USW00099999": "the station list does not have it"}


def test_the_same_bytes_twice(tree: Path) -> None:
    one, other = (read_days(source_of(tree.as_uri(), stations=NETWORK.ids), date(2024, 1, 5))[0] for _ in "12")
    assert one.table.equals(other.table)
    assert one.lineage == other.lineage
    assert np.all(np.asarray(one.table["interval_end_offset_seconds"]) == 0)
    assert one.table["observed_at"][0].as_py() >= datetime(2024, 1, 5, tzinfo=UTC)
