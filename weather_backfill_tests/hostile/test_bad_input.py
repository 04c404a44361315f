"""A few hundred hostile inputs for every parser; `make test-hostile` tries 100,000. And the defects that were found."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import time
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from weather_backfill.backfill.manifests import Manifest
from weather_backfill.backfill.plan import BackfillPlan
from weather_backfill.lake import parquet
from weather_backfill.lake.journal import Journal, record_from_json
from weather_backfill.model.errors import ConfigurationError, SchemaError, UnreadableObjectError, WeatherError
from weather_backfill.sources.aceiot.decode import Page, decode_page
from weather_backfill.sources.aceiot.pagination import IncompleteWalkError, walk_window
from weather_backfill.sources.dwd.directory_index import parse_directory, parse_station_list
from weather_backfill.sources.dwd.metadata import parse_metadata
from weather_backfill.sources.dwd.product_parser import parse_product
from weather_backfill.sources.dwd.products import product
from weather_backfill.sources.dwd.rejects import LIMIT
from weather_backfill.sources.dwd.time_reference import HourlyClock
from weather_backfill.sources.dwd.zip_file import open_archive
from weather_backfill.sources.tempest import objects as archived
from weather_backfill.sources.tempest.messages import decode
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.tenants.files import parse_tenant
from weather_backfill_tests.examples import examples
from weather_backfill_tests.hostile import parsers, seeds
from weather_backfill_tests.hostile.parsers import CASES
from weather_backfill_tests.hostile.running import run

HOURLY = product("hourly", "air_temperature")


@pytest.mark.parametrize("name", CASES)
@examples(15, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_hypothesis_finds_nothing(name: str, rng: random.Random) -> None:
    with contextlib.suppress(WeatherError):
        CASES[name](rng)


@pytest.mark.parametrize("name", CASES)
def test_a_corpus_is_read_or_refused_and_every_row_accounted_for(name: str) -> None:
    found = run(name, "default", 60)
    assert found["defects"] == []
    assert found["accepted"] > 0, "mutations that leave nothing to accept prove nothing"


def test_the_runner_names_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rng: random.Random) -> parsers.Outcome:
        return parsers.Outcome(rows_in=2, rows_out=1).reconciled()

    monkeypatch.setitem(CASES, "partition_key", broken)
    ((times, number, text),) = run("partition_key", "1", 3)["defects"]
    assert (times, number) == (3, 0)
    assert "AssertionError" in text


def message(**changes: object) -> bytes:
    report = [seeds.EPOCH, *[1.0] * 17]
    return json.dumps({"type": "obs_st", "serial_number": "ST-1", "obs": [report], **changes}).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (message().replace(b"ST-1", b"\xff\xfe"), "not_json"),
        (message().replace(b"ST-1", b"\\ud800"), "not_json"),
        (message().replace(b"1.0", b"NaN", 1), "not_json"),
        (message().replace(b"1.0", b"Infinity", 1), "not_json"),
        (message(serial_number="x" * 101), "no_station"),
        (message(serial_number=""), "no_station"),
        (message(obs=[[seeds.EPOCH, json.loads("[" * 300 + "]" * 300), *[1.0] * 16]]), "not_a_number"),
    ],
)
def test_an_odd_message_is_a_reject_alone_and_beside_others(body: bytes, reason: str) -> None:
    for objects in ([("a", body)], [("a", body), ("b", message())], [("a", body), ("b", b"nonsense")]):
        rejected = {r.source_object: r.reason for r in decode(objects).rejects}
        assert rejected["a"] == reason


def test_whole_numbers_beyond_a_double_are_kept_beside_an_object_that_is_read_alone() -> None:
    body = message(obs=[[seeds.EPOCH, 2**60 + 1, *[1.0] * 16]])
    assert decode([("a", body), ("b", b"nonsense")]).values[0][0] == float(2**60)


def test_an_empty_array_is_counted() -> None:
    assert decode([("a", b"[]")]).counts["empty_messages"] == 1


@pytest.mark.timeout(30)
def test_a_gzip_bomb_is_refused_before_it_grows() -> None:
    bomb = gzip.compress(bytes(archived.MOST_BYTES + 1), 9)
    assert len(bomb) < 1 << 20
    with pytest.raises(UnreadableObjectError, match="unpacks to more than"):
        archived.unpack(bomb)
    halves = gzip.compress(b"[1,") + gzip.compress(b"2]")
    assert archived.unpack(halves) == b"[1,2]", "a file of several members is read whole"


def dwd(*rows: str, header: str = "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (dwd("433;2024010100;3;1.0;1.0;eor", header="STATIONS_ID;MESS_DATUM;QN_9;TT_TU;TT_TU;eor"), "TT_TU twice"),
        (dwd("433;2024010100;3;1.0;1.0;eor").replace(b"\n", b"\r", 1), "CR alone|twice"),
        (
            dwd(*["433;2024010100;3;1.0;1.0;eor"] * (LIMIT + 2)),
            f"{LIMIT + 1} rows cannot be read, the first because another row",
        ),
    ],
)
def test_a_product_that_is_not_understood_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        parse_product(data, HOURLY, source="a.txt")


def test_a_header_without_rows_or_line_end_holds_nothing() -> None:
    assert parse_product(dwd()[:-1], HOURLY, source="a.txt").rows == 0


def test_a_number_is_read_alike_whatever_stands_in_other_rows() -> None:
    rows = ["433;2024010100;3;+5.0;1.0;eor", "433;2024010101;3;1e1;1.0;eor", f"433;2024010102;3;{'9' * 400};1.0;eor"]
    parsed = parse_product(dwd(*rows, "433;x;3;1;1;eor"), HOURLY, source="a.txt")
    assert [list(s.values) for s in parsed.series if s.metric == "air_temperature"] == [[5.0, 10.0]]
    assert parsed.rejects.num_rows == 2


@pytest.mark.timeout(30)
def test_ranges_that_stand_for_more_rows_than_memory_holds_are_refused() -> None:
    header = "STATIONS_ID;MESS_DATUM_BEGINN;MESS_DATUM_ENDE;QN;RS_01;RTH_01;RWH_01;RS_IND_01;eor"
    data = dwd(*["433;202301010000;202312310000;3;0.00;-999;-999;0;eor"] * 1000, header=header)
    with pytest.raises(SchemaError, match="stand for 524161000 intervals"):
        parse_product(data, product("1_minute", "precipitation"), source="a.txt")


def test_an_end_at_the_end_of_all_days_is_an_end() -> None:
    files = seeds.dwd_metadata(random.Random(0))
    name = "Metadaten_Parameter_tu_stunde_00433.txt"
    files[name] = files[name].replace(b"20240101", b"99991231")
    clock = HourlyClock(parse_metadata(files).parameters)
    assert list(clock.offsets(seeds.np_stamps("1990-01-01", "2024-01-01"), "TT_TU")) == [3_600_000_000, 0]


@pytest.mark.parametrize("name", sorted(seeds.dwd_metadata(random.Random(0))))
def test_a_line_of_metadata_that_was_cut_is_named(name: str) -> None:
    files = seeds.dwd_metadata(random.Random(0))
    files[name] += b"433;x\n"
    with pytest.raises(SchemaError, match=f"{name}: the line '433;x' has 2 columns"):
        parse_metadata(files)


def test_metadata_that_are_a_bomb_together_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("produkt_x.txt", dwd("433;2024010100;3;1.0;1.0;eor"))
        for number in range(20):
            archive.writestr(
                f"Metadaten_Geographie_{number}.txt",
                seeds.dwd_metadata(random.Random(0))["Metadaten_Geographie_00433.txt"]
                + b"generiert: "
                + random.Random(number).randbytes(1 << 10) * 1000,
            )
    with pytest.raises(UnreadableObjectError, match="refused as a zip bomb"):
        open_archive(buffer.getvalue(), "a.zip")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["<a ", "<a href=", "<a href=x>", "<", '<a href="x" ' + " " * 100, "<a href  "])
def test_a_page_without_ends_is_read_in_time(piece: str) -> None:
    page = piece * (2_000_000 // len(piece))
    started = time.monotonic()
    with contextlib.suppress(SchemaError):
        parse_directory(page, "https://x.org/a/")
    assert time.monotonic() - started < 20


def test_a_size_of_many_digits_is_none() -> None:
    (entry,) = parse_directory(f'<a href="x.zip">x</a> 29-Mar-2024 08:55 {"9" * 400}', "https://x.org/a/")
    assert entry.size is None or entry.size < 10**21


@pytest.mark.timeout(30)
def test_a_station_line_of_spaces_is_read_in_time() -> None:
    line = "00001 19500101 20240101 100 52.0 13.0 A" + " " * 200_000 + "B"
    sound = "00001 19500101 20240101 100 52.0 13.0 Ort Hessen"
    found = parse_station_list(f"{line}\n{sound}\n".encode(), "list")
    assert (len(found.stations), len(found.unreadable)) == (1, 1)


@pytest.mark.parametrize("value", ["1", 1.5])
@pytest.mark.parametrize("damage", [b"\xff", b"\\ud800"])
def test_a_name_that_is_no_text_is_a_reject(damage: bytes, value: str | float) -> None:
    samples = [{"name": "site/weather/temp", "value": value, "time": "2024-01-01T00:00:00"}]
    body = json.dumps({"point_samples": samples, "next_cursor": None, "has_more": False}).encode()
    page = decode_page(body.replace(b"site/weather/temp", damage), parsers._points(), seeds.NOW, seeds.NOW, "site")
    assert page.rejects["reason"].to_pylist() == ["name is not UTF-8"]


def test_an_offset_of_no_clock_is_a_reject() -> None:
    samples = [{"name": "site/weather/temp", "value": "1", "time": f"2024-01-01T00:00:00{z}"} for z in ("+99:99", "")]
    body = json.dumps({"point_samples": samples, "next_cursor": None, "has_more": False}).encode()
    page = decode_page(body, parsers._points(), seeds.NOW, seeds.NOW.replace(year=2025), "site")
    assert (page.counts.kept, page.counts.rejected) == (1, 1)


@pytest.mark.timeout(120)
def test_a_service_that_never_ends_is_left() -> None:
    asked = 0
    body = seeds.aceiot_page(random.Random(5))
    page = decode_page(body, parsers._points(), seeds.NOW, seeds.NOW.replace(day=2), "site")
    assert page.rows

    def fetch(start: object, cursor: str | None, page_size: int) -> Page:
        nonlocal asked
        asked += 1
        return Page(page.samples, page.rejects, page.counts, f"new-{asked}", True, page.times, page.first, page.last)

    with pytest.raises(IncompleteWalkError, match="does not end"):
        walk_window(fetch, seeds.NOW, 100, "window")
    assert asked < 100_000


@pytest.mark.parametrize("value", ["!!bool x", "!!timestamp x", "!!int ''", "!!float ''"])
def test_a_tag_that_fits_no_value_is_no_yaml(value: str) -> None:
    with pytest.raises(ConfigurationError, match="is not YAML"):
        parse_tenant(f"id: acme\nname: {value}\n".encode(), "acme.yaml", "acme")


def test_a_name_that_stands_twice_in_a_file_is_refused() -> None:
    """The second would hide the first: a connection gone in silence."""
    text = b"id: acme\nservices:\n  dwd: {stations: all}\nservices: {}\n"
    with pytest.raises(ConfigurationError, match=r"'services' stands twice.*line 1"):
        parse_tenant(text, "acme.yaml", "acme")


BROKEN = [
    b"", b"\xff", b"[]", b"null", b"5", b"{", b'{"key": 1}', b"[" * 100_000, b'{"a": NaN}',
    b'{"a": ' + b"9" * 5000 + b"}",
]  # fmt: skip


def read_plan(data: bytes) -> BackfillPlan:
    return BackfillPlan.from_json_text(data.decode("latin-1"))


@pytest.mark.parametrize("read", [Manifest.from_json, record_from_json, read_plan])
@pytest.mark.parametrize("data", BROKEN)
def test_documents_of_ours_that_are_damaged_are_named(read: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(UnreadableObjectError, match="this is no"):
        read(data)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "../other"}, {"service": "../x"}, {"chunk_days": 0}, {"expected_seconds": float("inf")},
        {"reasons": []}, {"start_date": "2025-01-01"}, {"objects": float("inf")},
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(WeatherError, match=r"no plan|not allowed"):
        BackfillPlan.from_json(seeds.plan(random.Random(0)).to_json() | change)


def test_a_damaged_journal_costs_a_second_reading_and_nothing_else(store: ObjectStore) -> None:
    journal = Journal(store, "run", "tempest/raw_observations")
    store.put(f"{journal.prefix}/tenant=acme/2024-01-01.json", b'{"key": ')
    assert journal.finished() == {}


def test_a_flipped_value_in_a_day_is_noticed() -> None:
    """Parquet's own footer says nothing of the pages: each page has a checksum of ours to be checked."""
    rng = random.Random(3)
    table, data = next(found for n in range(99) if (found := seeds.raw_file(random.Random(n)))[0].num_rows > 1000)
    start, noticed = 4, 0
    for _ in range(200):
        at = rng.randrange(start, len(data) // 2)
        damaged = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        try:
            found = parquet.decode(damaged)
        except UnreadableObjectError:
            noticed += 1
        else:
            plain = pa.schema([f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in table.schema])
            assert found.cast(plain).to_pylist() == table.cast(plain).to_pylist(), at
    assert noticed > 100
