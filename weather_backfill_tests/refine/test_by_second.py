"""Refined files of any mix of intervals against an integral by seconds."""

from __future__ import annotations

import math
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.lake import parquet
from weather_backfill.model.days import Cadence
from weather_backfill.model.schemas import FAIL, MISSING, PASS, RAW
from weather_backfill.refine.windows import refine_file
from weather_backfill_tests.examples import examples
from weather_backfill_tests.refine.by_second import LENGTH, WINDOWS, Value, assert_windows, midnight

DAY = date(2024, 3, 31)
RAIN, AIR = "precipitation_amount", "air_temperature"
Row = tuple[str, str, int, int, float | None, int]
"""Station, metric, start and seconds of the interval, value, quality."""


def refined(rows: list[Row], folder: Path) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["station_id", "metric", "start", "seconds", "value", "quality"])
    frame["observed_at"] = pd.to_datetime(frame.start + frame.seconds + midnight(DAY), unit="s", utc=True)
    frame = frame.sort_values(["station_id", "metric", "observed_at", "seconds"])
    frame = frame.rename(columns={"seconds": "interval_seconds"}).assign(interval_end_offset_seconds=0)
    table = pa.Table.from_pandas(frame[RAW.names].reset_index(drop=True), preserve_index=False)
    table = pa.Table.from_arrays([_as(table[field.name], field) for field in RAW], schema=RAW)
    path = folder / "raw.parquet"
    path.write_bytes(parquet.encode(table, parquet.cadence_lineage(Cadence(600))).data)
    return refine_file(path, DAY).table.to_pandas().astype({"station_id": str, "metric": str})


def _as(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    return column.dictionary_encode() if pa.types.is_dictionary(field.type) else column.cast(field.type)


@st.composite
def row(draw: st.DrawFn) -> Row:
    """A row of 1 s to 3 h whose midpoint lies in the day, as sources file rows."""
    seconds = draw(st.sampled_from([1, 60, 300, 600, 899, 900, 901, 3600, 10_800]) | st.integers(1, 10_800))
    middle = draw(
        st.integers(0, 7200) | st.integers(86_400 - 3600, 86_399) | st.integers(0, 24).map(lambda n: 300 * n)
        | st.sampled_from([0, 86_399])
    )  # fmt: skip
    value = draw(st.none() | st.floats(-50, 50).map(lambda v: round(v, 2)))
    quality = MISSING if value is None else draw(st.sampled_from([PASS, PASS, PASS, FAIL]))
    station, metric = draw(st.sampled_from(["ST-1", "ST-2"])), draw(st.sampled_from([RAIN, AIR]))
    return station, metric, middle - seconds // 2, seconds, value, quality


def unique(rows: list[Row]) -> list[Row]:
    """One row of a station, metric, stamp and length, as the lake has them."""
    return list({(r[0], r[1], r[2] + r[3], r[3]): r for r in rows}.values())


@examples(10)
@given(st.lists(row(), min_size=1, max_size=30).map(unique))
def test_any_mix_of_intervals_equals_the_integral_by_seconds(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        windows = refined(rows, Path(folder))
    for station, metric in {r[:2] for r in rows}:
        mine = windows[(windows.station_id == station) & (windows.metric == metric)]
        good = [r for r in rows if r[:2] == (station, metric) and r[4] is not None and r[5] != FAIL]
        short = [Value(start, seconds, value) for *_, start, seconds, value, _ in good if seconds <= LENGTH]  # type: ignore[arg-type]
        if short:
            assert_windows(mine[mine.window_seconds == LENGTH], short, DAY)
        own = mine[(mine.window_seconds > LENGTH) & (mine.sample_count > 0)]
        starts = own.window_start.astype("int64") // 10**6 - midnight(DAY)
        assert set(zip(starts, own.window_seconds, strict=True)) == {r[2:4] for r in good if r[3] > LENGTH}
        assert (own.completeness == 1).all()
        assert mine.sample_count.sum() == len(good)
        if metric == RAIN:
            assert mine.partial_sum.sum() == pytest.approx(math.fsum(r[4] for r in good), abs=1e-9)  # type: ignore[misc]
        else:
            assert mine.partial_sum.isna().all()


def test_the_integral_itself_by_numbers_worked_out_on_paper(tmp_path: Path) -> None:
    """Rain of ten minutes across the first edge, 600 of 900 s covered in both windows."""
    rows: list[Row] = [
        ("ST-1", RAIN, 0, 300, 4.0, PASS), ("ST-1", RAIN, 600, 600, 6.0, PASS), ("ST-1", RAIN, 1200, 300, 1.0, PASS),
    ]  # fmt: skip
    windows = refined(rows, tmp_path)
    assert windows.partial_sum.tolist() == [7.0, 4.0]
    assert windows["sum"].isna().all()
    assert windows.completeness.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert windows["mean"].tolist() == [5.0, 3.5]
    assert windows.sample_count.tolist() == [1, 2]
    assert windows.standard_deviation.tolist() == pytest.approx([math.sqrt(2), math.sqrt(12.5)])
    assert_windows(windows, [Value(start, seconds, value) for *_, start, seconds, value, _ in rows], DAY)  # type: ignore[arg-type]
    assert WINDOWS * LENGTH == 86_400
    assert np.isclose(windows.partial_sum.sum(), 11.0)
