"""Parquet files of the lake: nothing lost, the same bytes again, readable by anybody."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from weather_backfill.lake import parquet
from weather_backfill.model import schemas
from weather_backfill.model.days import Cadence
from weather_backfill.model.errors import NewerSchemaError
from weather_backfill.model.schemas import RAW, REFINED, REJECTS
from weather_backfill_tests.examples import examples
from weather_backfill_tests.refine.test_windows import raw_table

samples = st.lists(
    st.tuples(
        st.integers(0, 86_399), st.sampled_from(["ST-1", "ST-\u00e4", "a,'b"]),
        st.sampled_from(["air_temperature", "x/y"]),
        st.none() | st.floats(allow_nan=False), st.sampled_from([1, 2, 3, 4, 9]),
    ),
    max_size=60,
)  # fmt: skip


@pytest.fixture
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 10)
    return 10


@examples(25)
@given(samples)
def test_a_table_comes_back_as_it_was(rows: list[Any]) -> None:
    table = raw_table(rows)
    back = parquet.decode(parquet.encode(table, {}).data)
    assert back.schema.equals(RAW)
    assert back.to_pylist() == table.to_pylist()


@pytest.mark.parametrize("schema", [RAW, REFINED, REJECTS])
def test_an_empty_table_comes_back_with_its_schema(schema: pa.Schema) -> None:
    back = parquet.decode(parquet.encode(schema.empty_table(), {}).data)
    assert back.num_rows == 0
    assert back.schema.equals(schema)


def test_the_same_rows_give_the_same_bytes() -> None:
    rows = [(s, "ST-1", m, s / 7, 1) for m in ("air_temperature", "wind_speed") for s in range(0, 3600, 60)]
    table = raw_table(rows)
    in_pieces = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    other_codes = table.set_column(2, RAW.field(2), _recoded(table["metric"].combine_chunks()))
    assert parquet.encode(table, {"b": "2", "a": "1"}) == parquet.encode(raw_table(rows), {"a": "1", "b": "2"})
    assert parquet.encode(in_pieces, {}) == parquet.encode(table, {})
    assert parquet.encode(other_codes, {}) == parquet.encode(table, {})


def test_the_bytes_of_a_small_day_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """`content` holds for every release; the sha256 changes only with pyarrow's own version, which signs the footer."""
    monkeypatch.setattr(parquet, "__version__", "0.1.0")
    rows = [(0, "ST-1", "air_temperature", 1.5, 1), (60, "ST-1", "wind_speed", None, 9)]
    file = parquet.encode(raw_table(rows), {"source": "s3://b/x"})
    assert file.content == "c79ff0737c40d3d30c79dd222cef5c4c"
    if pa.__version__ == "26.0.1":
        assert file.sha256 == "7527993d59e5c2b5a50f0dd4ea581bc21174549051b59dd4edef94a0b6e1c3f6"


@pytest.mark.parametrize("lineage", [{}, {"source": "s3://b/\u00e4"}])
def test_an_encoded_file_knows_what_reading_it_finds(small_row_groups: int, lineage: dict[str, str]) -> None:
    table = raw_table([(s, f"ST-{n}", "x", s / 7, 1) for n in range(5) for s in range(30)])
    file = parquet.encode(table, lineage)
    assert file.sha256 == hashlib.sha256(file.data).hexdigest()
    assert file.content is not None
    assert parquet.Encoded.of(file.data) == file


def test_a_damaged_file_has_a_hash_and_no_content() -> None:
    damaged = parquet.encode(raw_table([]), {}).data[:-1]
    assert parquet.Encoded.of(damaged) == parquet.Encoded(damaged, hashlib.sha256(damaged).hexdigest(), None)


def _recoded(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same values with the dictionary the other way round."""
    names = array.dictionary.to_pylist()[::-1]
    codes = pa.array([names.index(value) for value in array.to_pylist()], pa.int32())
    return pa.DictionaryArray.from_arrays(codes, pa.array(names))


def test_the_footer_says_what_the_file_holds() -> None:
    cadence = Cadence(60, {"wind_speed": 600})
    lineage = {"source": "s3://b/\u00e4", **parquet.cadence_lineage(cadence)}
    data = parquet.encode(raw_table([(0, "ST-1", "air_temperature", 1.0, 1)]), lineage).data
    metadata = parquet.metadata_of(data)
    assert metadata is not None
    footer = parquet.footer_of(metadata)
    assert footer["source"] == "s3://b/\u00e4"
    assert footer["row_groups"] == parquet.WHOLE_SERIES
    assert parquet.cadence_of(footer) == cadence
    assert '"unit": "degree_Celsius"' in footer["metrics"]
    assert "row_groups" not in parquet.footer(
        parquet.open_file(pa.BufferReader(parquet.encode(REJECTS.empty_table(), {}).data))
    )


def test_a_footer_is_read_from_the_last_bytes_alone() -> None:
    data = parquet.encode(raw_table([(s, "ST-1", "x", s * 1.7, 1) for s in range(30_000)]), {"rejects": "3"}).data
    assert len(data) > parquet.FOOTER_BYTES
    metadata = parquet.metadata_of(data[-parquet.FOOTER_BYTES :])
    assert metadata is not None
    assert (metadata.num_rows, parquet.footer_of(metadata)["rejects"]) == (30_000, "3")
    for damaged in (b"", b"PAR1", data[:-1], data[-40:], b"x" * 100):
        assert parquet.metadata_of(damaged) is None


def row_groups(data: bytes) -> Iterator[list[tuple[str, str]]]:
    file = pq.ParquetFile(pa.BufferReader(data))
    for number in range(file.num_row_groups):
        group = file.read_row_group(number)
        yield list(zip(group["station_id"].to_pylist(), group["metric"].to_pylist(), strict=True))


@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 35), min_size=1, max_size=12))
def test_a_series_is_never_split(small_row_groups: int, lengths: list[int]) -> None:
    rows = [(s, f"ST-{n // 2:02d}", f"m{n % 2}", 1.0, 1) for n, length in enumerate(lengths) for s in range(length)]
    table = raw_table(rows)
    data = parquet.encode(table, {}).data
    groups = list(row_groups(data))
    assert [key for group in groups for key in group] == list(
        zip(table["station_id"].to_pylist(), table["metric"].to_pylist(), strict=True)
    )
    series = [key for group in groups for key, _ in groupby(group)]
    assert len(series) == len(set(series)) == len(lengths)
    for group in groups:
        assert len(group) <= small_row_groups or len(set(group)) == 1, "larger only for one long series"
    for before, after in pairwise(groups):
        first = [key for key in after if key == after[0]]
        assert len(before) + len(first) > small_row_groups, "no smaller than it must be"


def test_any_reader_sees_plain_strings_and_utc_times() -> None:
    data = parquet.encode(
        raw_table([(0, "ST-1", "air_temperature", 1.5, 1), (60, "ST-1", "wind_speed", None, 9)]), {}
    ).data
    frame = pd.read_parquet(io.BytesIO(data))
    assert frame.station_id.map(type).unique().tolist() == [str]
    assert not isinstance(frame.metric.dtype, pd.CategoricalDtype)
    assert str(frame.observed_at.dt.tz) == "UTC"
    assert frame.value.isna().tolist() == [False, True]
    assert pq.read_schema(pa.BufferReader(data)).field("station_id").type == pa.string()


def test_duckdb_sees_plain_strings_and_utc_times(tmp_path: Any) -> None:
    path = tmp_path / "day.parquet"
    path.write_bytes(parquet.encode(raw_table([(0, "ST-1", "air_temperature", 1.5, 1)]), {}).data)
    described = duckdb.sql(f"describe select * from '{path}'").fetchall()
    assert {name: kind for name, kind, *_ in described} == {
        "observed_at": "TIMESTAMP WITH TIME ZONE", "station_id": "VARCHAR", "metric": "VARCHAR", "value": "DOUBLE",
        "quality": "TINYINT", "interval_seconds": "INTEGER", "interval_end_offset_seconds": "INTEGER",
    }  # fmt: skip
    assert duckdb.sql(f"select epoch_us(observed_at), station_id, value from '{path}'").fetchall() == [
        (1_711_843_200_000_000, "ST-1", 1.5)
    ]


def test_tables_are_put_below_one_another() -> None:
    first, second = (raw_table([(0, station, "x", 1.0, 1)]) for station in ("b", "a"))
    both = parquet.concat([first, second], RAW)
    assert both["station_id"].to_pylist() == ["b", "a"]
    assert both.schema.equals(RAW)
    assert parquet.concat([], RAW).schema.equals(RAW)


def scans(points: int, scans_a_day: int) -> pa.Table:
    """A site's day: all points read at once, at stamps that wander; values to a tenth, some missing."""
    rng = np.random.default_rng(3)
    stamps = 1_786_060_800_000_000 + np.arange(scans_a_day) * 60_000_000 + rng.integers(0, 900_000, scans_a_day)
    value = np.round(20 + 5 * np.sin(np.arange(scans_a_day) / 229) + rng.random((points, scans_a_day)), 1).ravel()
    rows = points * scans_a_day
    columns = [
        pa.array(np.tile(stamps, points)).cast(RAW.field("observed_at").type),
        pa.DictionaryArray.from_arrays(np.zeros(rows, "i4"), ["site"]),
        pa.DictionaryArray.from_arrays(
            np.repeat(np.arange(points, dtype="i4"), scans_a_day), [f"point/{n:04}" for n in range(points)]
        ),
        pa.array(value, mask=rng.random(rows) < 0.01),
        pa.array(rng.choice([1, 3, 4], rows).astype("i1")),
        *[pa.array(np.zeros(rows, "i4"))] * 2,
    ]
    return pa.Table.from_arrays(columns, schema=RAW)


def test_pyarrow_duckdb_and_pandas_read_the_same_rows(tmp_path: Path) -> None:
    table = scans(200, 1440)  # more than one page
    path = tmp_path / "day.parquet"
    path.write_bytes(parquet.encode(table, {}).data)
    expected = table.to_pandas().astype({"station_id": str, "metric": str})
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        by_duckdb = connection.read_parquet(str(path)).to_arrow_table().to_pandas()
    for found in (pq.read_table(path).to_pandas(), pd.read_parquet(path), by_duckdb):
        found = found.astype({"station_id": str, "metric": str, "observed_at": expected.observed_at.dtype})
        pd.testing.assert_frame_equal(found[expected.columns], expected)


def test_stamps_of_scans_take_next_to_nothing() -> None:
    table = scans(200, 1440)
    metadata = pq.read_metadata(pa.BufferReader(parquet.encode(table, {}).data))
    sizes = {metadata.row_group(0).column(n).path_in_schema: metadata.row_group(0).column(n) for n in range(5)}
    assert sizes["observed_at"].total_compressed_size < 0.06 * table.num_rows


@pytest.mark.parametrize(
    ("rows", "stamps"),
    [(17, "own"), (1_000, "own"), (200_000, "own"), (200_000, "shared")],
    ids=["a message", "an hour", "a day, own clocks", "a day of scans"],
)
def test_what_a_value_stands_for_costs_next_to_nothing(rows: int, stamps: str) -> None:
    """At most 600 bytes or 3 % of a file more than without the two columns, worst with lengths that change."""
    rng = np.random.default_rng(1)
    table = scans(max(rows // 1440, 1), min(rows, 1440))
    rows = table.num_rows
    if stamps == "own":
        times = np.asarray(table["observed_at"].cast(pa.int64())) + rng.integers(0, 900_000, rows)
        table = table.set_column(0, RAW.field(0), pa.array(times).cast(RAW.field(0).type))
    lengths = pa.array(np.where(rng.random(rows) < 0.001, 300, 60).astype("i4"))
    table = table.set_column(5, RAW.field(5), lengths)
    without = len(parquet.encode(table.drop_columns(RAW.names[5:]), {}).data)
    assert len(parquet.encode(table, {}).data) - without <= max(600, 0.03 * without)


def test_a_file_of_a_newer_release_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its columns could be read and mean something else."""
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "SCHEMA_VERSION", "99")
        data = parquet.encode(raw_table([(0, "ST-1", "x", 1.0, 1)]), {}).data
    path = tmp_path / "day.parquet"
    path.write_bytes(data)
    every = pc.field("value").is_valid()
    for read in (
        lambda: parquet.open_file(path),
        lambda: parquet.decode(data),
        lambda: parquet.rows(data, every),
    ):
        with pytest.raises(NewerSchemaError, match=r"schema version 99, this release .* knows versions up to 2"):
            read()
