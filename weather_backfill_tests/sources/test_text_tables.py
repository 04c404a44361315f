"""Cells of other people's files: what is a number, a time, nothing, or neither."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.errors import SchemaError, UnreadableObjectError
from weather_backfill.sources import text_tables
from weather_backfill.sources.text_tables import numbers, read_columns, utc_micros
from weather_backfill.util.unpacking import gunzip

CSV = b"time,t,rain\n2024-01-01T00:00,1.5,0\n2024-01-01T00:10,2.5\n2024-01-01T00:20,x,0.2\n"


def column(*cells: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(cells, pa.string())])


@pytest.mark.parametrize(
    ("name", "data"), [("a.csv", CSV), ("a.csv.gz", gzip.compress(CSV, mtime=0))], ids=["plain", "gzip"]
)
def test_a_line_of_another_length_is_told_and_the_others_are_read(name: str, data: bytes) -> None:
    table, lines = read_columns(data, name, ["t", "time"])
    assert table.column_names == ["t", "time"]
    assert table["t"].to_pylist() == ["1.5", "x"]
    assert lines == ["2024-01-01T00:10,2.5"]


def test_parquet_keeps_its_types() -> None:
    sink = io.BytesIO()
    stamps = pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC"))
    pq.write_table(pa.table({"time": stamps, "t": pa.array([1], pa.int16())}), sink)
    table, _ = read_columns(sink.getvalue(), "a.parquet", ["time", "t"])
    assert utc_micros(table["time"], "Europe/Berlin")[0].tolist() == [1704067200_000000]
    assert numbers(table["t"])[0].tolist() == [1.0]


def test_what_is_no_table_is_refused_with_what_was_expected() -> None:
    with pytest.raises(SchemaError, match=r"a.csv has no column wind: it has time, t, rain"):
        read_columns(CSV, "a.csv", ["wind"])
    for name in ("a.parquet", "a.csv.gz"):
        with pytest.raises(UnreadableObjectError, match=name):
            read_columns(CSV, name, ["t"])
    with pytest.raises(UnreadableObjectError, match="in utf-8"):
        read_columns("time,t\n1,°\n".encode("latin-1"), "a.csv", ["t"])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_numbers_come_back_as_they_were_written(values: list[float]) -> None:
    for decimal in ".,":
        read, bad = numbers(column(*(f" {value!r} ".replace(".", decimal) for value in values)), decimal)
        assert read.tolist() == values
        assert not bad.any()


def test_a_cell_is_a_number_empty_or_bad() -> None:
    values, bad = numbers(column("1", "", None, "NaN", "-", "1.2.3", "inf", "0x10", "1e3", "--1", ".5", "5."))
    assert np.isnan(values).tolist() == [False, True, True, True, True, True, True, True, False, True, False, False]
    assert np.flatnonzero(bad).tolist() == [5, 6, 7, 9]


@given(st.integers(315532800_000000, 2051222400_000000), st.integers(-12 * 60, 14 * 60))
def test_a_time_with_an_offset_is_that_instant(microseconds: int, minutes: int) -> None:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    local = moment + timedelta(minutes=minutes)
    text = f"{local:%Y-%m-%dT%H:%M:%S.%f}{sign}{size // 60:02d}:{size % 60:02d}"
    micros, bad = utc_micros(column(text), "Asia/Tokyo")
    assert not bad.any()
    assert micros[0] == microseconds


def test_local_times_are_of_the_zone_and_doubtful_ones_are_none() -> None:
    cells = column("2024-01-15 12:00", "2024-07-15 12:00", "2024-03-31 02:30", "2024-10-27 02:30", "yesterday", None)
    micros, bad = utc_micros(cells, "Europe/Berlin")
    assert [datetime.fromtimestamp(m / 1e6, UTC).hour for m in micros[:2]] == [11, 10]
    assert bad.tolist() == [False, False, True, True, True, True]
    assert micros[2:].tolist() == [0, 0, 0, 0]


def test_a_format_of_their_own() -> None:
    micros, bad = utc_micros(column("31.12.2023 23:59", "2023-12-31"), "UTC", "%d.%m.%Y %H:%M")
    assert micros[0] == 1704067140_000000
    assert bad.tolist() == [False, True]


def test_a_file_that_unpacks_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_tables, "MOST_BYTES", 100_000)
    same = io.BytesIO()
    pq.write_table(pa.table({"t": pa.array(["0" * 100] * 10_000)}), same)
    for name, data in (("a.csv.gz", gzip.compress(b"t\n" + b"0" * 200_000)), ("a.parquet", same.getvalue())):
        assert len(data) < 100_000
        with pytest.raises(UnreadableObjectError, match=f"{name}.*unpacks to more than 100000 bytes"):
            read_columns(data, name, ["t"])


def test_members_of_gzip_are_read_one_after_another_and_counted() -> None:
    assert gunzip(gzip.compress(b"1") + bytes(512) + gzip.compress(b"2") + bytes(3), 2) == b"12"
    for bad in (b"", bytes(9), gzip.compress(b"1")[:-1], gzip.compress(b"1") + b"x"):
        with pytest.raises(UnreadableObjectError, match="gzip"):
            gunzip(bad, 2)
    with pytest.raises(UnreadableObjectError, match="unpacks to more than 1 bytes"):
        gunzip(gzip.compress(b"1") + gzip.compress(b"2"), 1)
    with pytest.raises(UnreadableObjectError, match="more than 10000 members"):
        gunzip(gzip.compress(b"") * 10_001, 1)
