from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.schemas import PASS, RAW, REJECTS
from weather_backfill.sources.aceiot import day_assembly as module
from weather_backfill.sources.aceiot.day_assembly import WindowFile, assemble, sort_window, write_window
from weather_backfill.sources.aceiot.decode import Counts, Page, Samples
from weather_backfill.sources.aceiot.pagination import WalkResult
from weather_backfill.sources.aceiot.points import PointSet

Rows = list[tuple[int, int, float]]


def window(*pages: Rows) -> WalkResult:
    result = WalkResult()
    for rows in pages:
        codes, times, values = zip(*rows, strict=True) if rows else ((), (), ())
        samples = Samples(np.array(codes, np.int32), np.array(times, np.int64), np.array(values, float))
        counts = Counts(read=len(rows), kept=len(rows))
        result.add(Page(samples, REJECTS.empty_table(), counts, None, False, samples.times))
    return result


rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.floats(-9, 9)), max_size=30)


@given(st.lists(rows, min_size=1, max_size=4))
def test_the_last_received_of_a_point_and_time_wins_and_the_others_are_counted(pages: list[Rows]) -> None:
    result = window(*pages)
    got = list(zip(*[c.tolist() for c in sort_window(result)], strict=True))
    last = {(code, time): value for page in pages for code, time, value in page}
    assert got == [(*key, last[key]) for key in sorted(last)]
    assert result.counts.duplicate == sum(map(len, pages)) - len(last)
    assert result.counts.reconciled


def points(site: str, *metrics: str) -> PointSet:
    return PointSet(site, len(metrics), pa.array(metrics), metrics)


def test_a_day_is_sorted_by_station_metric_and_time_over_windows_and_sites(tmp_path: Path) -> None:
    module._SLICE_ROWS, usual = 2, module._SLICE_ROWS  # many slices of few rows
    try:
        files = []
        for number, result in enumerate(
            [
                window([(0, 10, 1.0), (1, 10, 2.0)]),
                window([(0, 20, 3.0), (2, 21, 4.0)]),
                window([]),
                window([(1, 5, 9.0)]),
            ]
        ):
            write_window(tmp_path / f"{number}.window", result)
            files.append(WindowFile(tmp_path / f"{number}.window"))
        sites = [(points("a", "m", "x", "z"), files[:3]), (points("b", "a", "m"), files[3:])]
        table = assemble(tmp_path / "day", sites)
    finally:
        module._SLICE_ROWS = usual
    assert not (tmp_path / "day").exists()
    assert table.schema == RAW
    got = table.select(["station_id", "metric", "value"]).to_pylist()
    assert [tuple(r.values()) for r in got] == [
        ("a", "m", 1.0), ("a", "m", 3.0), ("a", "x", 2.0), ("a", "z", 4.0), ("b", "m", 9.0),
    ]  # fmt: skip
    assert set(table["quality"].to_pylist()) == {PASS}
    table.validate(full=True)


def test_a_day_without_samples_is_an_empty_table(tmp_path: Path) -> None:
    write_window(tmp_path / "w.window", window([]))
    table = assemble(tmp_path / "day", [(points("a", "m"), [WindowFile(tmp_path / "w.window")])])
    assert (table.num_rows, table.schema) == (0, RAW)
