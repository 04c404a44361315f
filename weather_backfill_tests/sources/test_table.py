"""Columns to RAW and REJECTS tables, each against a slow count in Python."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.schemas import MISSING, NOT_EVALUATED, PASS, RAW, RAW_TEXT_LIMIT, REJECTS
from weather_backfill.sources.table import (
    RAW_WITH_SOURCE_QUALITY,
    UNKNOWN,
    Interval,
    Reject,
    Tags,
    cut_text,
    cut_texts,
    estimate,
    latest_rows,
    raw_batch,
    reject_columns,
    reject_table,
    stable_order,
)

keys = st.tuples(st.integers(0, 4), st.integers(-3, 5))


@given(st.lists(keys), st.booleans())
def test_rows_are_sorted_and_the_last_received_of_equal_ones_is_kept(
    rows: list[tuple[int, int]], by_time: bool
) -> None:
    if by_time:
        rows = sorted(rows, key=lambda row: row[1])  # as pages of a series of scans come
    latest = {key: position for position, key in enumerate(rows)}
    series = np.array([code for code, _ in rows], dtype=np.int32)
    times = np.array([time for _, time in rows], dtype=np.int64)
    found = latest_rows(series, times)
    assert list(zip(found.series.tolist(), found.times.tolist(), strict=True)) == sorted(latest)
    assert found.order.tolist() == [latest[key] for key in sorted(latest)]
    assert sorted(found.replaced.tolist()) == sorted(set(range(len(rows))) - set(latest.values()))


@pytest.mark.parametrize("lowest", [0, 70_000], ids=["codes of 16 bits", "codes of 32 bits"])
def test_equal_codes_stay_in_their_order(lowest: int) -> None:
    codes = np.random.default_rng(1).integers(lowest, lowest + 3, 1000).astype(np.int32)
    expected = sorted(range(1000), key=lambda row: codes[row])
    assert stable_order(codes, lowest).tolist() == expected
    assert stable_order(np.append(codes, 200_000), lowest).tolist() == [*expected, 1000]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=3)))
def test_tags_name_each_row_and_are_sorted(texts: list[str]) -> None:
    tags = Tags.of(texts)
    names = tags.names.to_pylist()
    assert names == sorted(set(texts))
    assert [names[code] for code in tags.codes] == texts


def batch(values: list[float], **options: object) -> pa.RecordBatch:
    times = np.arange(len(values), dtype=np.int64)
    options = {"interval": Interval(60), **options}
    return raw_batch(times, Tags.of(["ST-1"] * len(values)), Tags.of(["x"] * len(values)), np.array(values), **options)  # type: ignore[arg-type]


def test_a_missing_value_is_null_and_flagged_so() -> None:
    rows = batch([1.5, np.nan])
    assert rows.schema == RAW
    assert rows["value"].to_pylist() == [1.5, None]
    assert rows["quality"].to_pylist() == [PASS, MISSING]
    assert rows["observed_at"].cast(pa.int64()).to_pylist() == [0, 1]
    rows.validate(full=True)


def test_one_flag_for_all_rows_and_the_upstream_s_own_level() -> None:
    rows = batch([1.5, 2.5], quality=NOT_EVALUATED, source_quality=pa.array([3, None], pa.int8()))
    assert rows.schema == RAW_WITH_SOURCE_QUALITY
    assert rows["quality"].to_pylist() == [NOT_EVALUATED] * 2
    assert rows["source_quality"].to_pylist() == [3, None]


def test_rejects_are_sorted_by_the_key_and_typed() -> None:
    rejects = [
        Reject("no time", "b", "x"),
        Reject("a", "b", "y", "00044", -1),
        Reject("a", "a", "z", None, 1),
    ]
    table = reject_table(rejects, lambda row: (row.observed_at or 0, row.reason))
    assert table.schema == REJECTS
    assert table["raw_text"].to_pylist() == ["y", "x", "z"]
    assert table["observed_at"].cast(pa.int64()).to_pylist() == [-1, None, 1]
    assert table["station_id"].to_pylist() == ["00044", None, None]
    assert reject_table([], lambda row: row.reason).schema == REJECTS


def test_a_reject_is_measured_before_it_is_cut() -> None:
    long = "ü" * RAW_TEXT_LIMIT
    for text in (long, long.encode()):
        reject = Reject("bad", "a", text)
        assert (reject.raw_text, reject.raw_bytes) == (long[: RAW_TEXT_LIMIT // 2], 2 * RAW_TEXT_LIMIT)
        assert reject.stands_for == 1
    times = pa.nulls(2, REJECTS.field("observed_at").type)
    table = reject_columns("bad", "a", "north", times, pa.array([long, ""]))
    assert table["raw_bytes"].to_pylist() == [2 * RAW_TEXT_LIMIT, 0]
    assert table["raw_text"].to_pylist() == [long[: RAW_TEXT_LIMIT // 2], ""]
    assert table["stands_for"].to_pylist() == [1, 1]


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [
        (10, 2000, [5, 1, 3]),  # 200 bytes a row
        (10, 20_000, [1, 1, 3]),  # one at least
        (0, 0, [10, 1, 3]),  # nothing to go by: 100 bytes a row
    ],
)
def test_what_is_not_known_is_estimated_by_what_was_read(rows: int, size: int, expected: list[int]) -> None:
    texts = [("x" * 1000, UNKNOWN), ("", UNKNOWN), ("x" * 1000, 3)]
    rejects = [Reject("bad", "a", text, stands_for=stands_for) for text, stands_for in texts]
    estimate(rejects, rows, size, 100)
    assert [reject.stands_for for reject in rejects] == expected


def test_a_text_for_all_rejects_is_repeated() -> None:
    times = pa.nulls(2, REJECTS.field("observed_at").type)
    table = reject_columns("bad", "page 1", "north", times, pa.array(["x", "y"]))
    assert table.select(["reason", "source_object", "station_id", "raw_text"]).to_pylist() == [
        {"reason": "bad", "source_object": "page 1", "station_id": "north", "raw_text": text} for text in "xy"
    ]


def test_texts_are_cut_at_the_limit() -> None:
    assert cut_text("a" + "ü" * RAW_TEXT_LIMIT) == "a" + "ü" * ((RAW_TEXT_LIMIT - 1) // 2), "between characters"
    assert cut_text(b"\xff" + b"a" * RAW_TEXT_LIMIT) == "\ufffd" + "a" * (RAW_TEXT_LIMIT - 1)
    short = pa.array(["a", "b"])
    assert cut_texts(short).equals(short)
    assert cut_texts(pa.array([], pa.string())).to_pylist() == []
