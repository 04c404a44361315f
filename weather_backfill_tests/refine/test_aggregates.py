"""Windows of any mix of intervals against a slow computation, interval by interval, as the rules read."""

from __future__ import annotations

import math
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weather_backfill.model.schemas import FAIL, MISSING, PASS
from weather_backfill.refine.aggregates import aggregate
from weather_backfill.refine.parts import DAY_US, Samples, Span, covered_by_series
from weather_backfill_tests.examples import examples

DAY = Span.of(date(2024, 3, 31))
SECOND, WINDOW = 1_000_000, 900_000_000
SLOT = 600


class Row(NamedTuple):
    """A raw row, in seconds from midnight."""

    series: int
    stamp: int
    seconds: int
    offset: int = 0
    value: float | None = 1.0
    quality: int = PASS

    @property
    def end(self) -> int:
        return self.stamp + self.offset

    @property
    def start(self) -> int:
        return self.end - self.seconds

    @property
    def good(self) -> bool:
        return self.value is not None and self.quality != FAIL


def computed(rows: list[Row], series: int = 2) -> dict[tuple[int, int, int], dict[str, Any]]:
    """The product's windows, by series, start in seconds from midnight, and length."""
    rows = sorted(rows, key=lambda row: (row.series, row.stamp, row.seconds))
    columns = [np.array([getattr(row, name) for row in rows]) for name in ("series", "stamp", "quality")]
    value = np.array([math.nan if row.value is None else row.value for row in rows], "f8")
    samples = Samples(
        columns[0].astype("i4"), columns[1] * SECOND + DAY.start, value, columns[2].astype("i1"),
        np.array([row.seconds for row in rows], "i4"), np.array([row.offset for row in rows], "i4"),
    )  # fmt: skip
    table = aggregate(samples, np.full(series, SLOT * SECOND), DAY).to_pylist()
    found = {(r["series"], (r["start_us"] - DAY.start) // SECOND, r["window_seconds"]): r for r in table}
    assert len(found) == len(table), "windows are unique"
    return found


def place(row: Row, window: int) -> tuple[float, float]:
    """The seconds of a row in a window of the day: what counts there, and what covers the window's own time."""
    inside = max(0, min(row.end, window + 900) - max(row.start, window))
    before = max(0, min(row.end, 0) - row.start) if window == 0 else 0
    after = max(0, row.end - max(row.start, 86_400)) if window == 86_400 - 900 else 0
    return inside + before + after, inside


def holds(row: Row, window: int, moment: float) -> bool:
    """Whether a window holds a moment; the day's first and last window also hold what is before and after the day."""
    return min(max(moment // 900 * 900, 0), 86_400 - 900) == window


def by_hand(rows: list[Row], window: int) -> dict[str, Any] | None:
    """A window of one series' rows of at most 900 s; None where it has none."""
    parts = [(row, place(row, window)[0]) for row in rows if row.seconds and place(row, window)[0]]
    readings = [row for row in rows if not row.seconds and holds(row, window, row.end)]
    if not parts and not readings:
        return None
    parts = [(row, seconds) for row, seconds in parts if row.good]
    readings = [row for row in readings if row.good]
    weighed = [(row.value, seconds) for row, seconds in parts] + [(row.value, SLOT) for row in readings]
    covered = np.zeros(900, dtype=bool)
    for row, _ in parts:
        covered[max(row.start - window, 0) : max(row.end - window, 0)] = True
    most = [row.value for row, seconds in parts if 2 * seconds >= row.seconds] + [row.value for row in readings]
    # an interval that ends on the edge ends in the window before it
    ends = sorted(
        [(row.end, -row.seconds, row.stamp, row.value) for row, _ in parts if holds(row, window, row.end - 0.5)]
        + [(row.end, 0, row.stamp, row.value) for row in readings]
    )
    expected: dict[str, Any] = {
        "good": sum(holds(row, window, (row.start + row.end) / 2) for row in rows if row.good),
        "parts": len(weighed), "slots": len({row.end // SLOT for row in readings}), "covered": int(covered.sum()),
        "total": math.fsum([r.value * s / r.seconds for r, s in parts] + [r.value for r in readings]),
        "minimum": min(most, default=None), "maximum": max(most, default=None),
        "first_value": ends[0][-1] if ends else None, "last_value": ends[-1][-1] if ends else None,
        "mean": None, "deviation": None,
    }  # fmt: skip
    if not weighed:
        return expected | {"total": None}
    weight = math.fsum(w for _, w in weighed)
    mean = math.fsum(v * w for v, w in weighed) / weight
    count = len(weighed)
    if count > 1:
        variance = math.fsum((v - mean) ** 2 * w for v, w in weighed) / weight * count / (count - 1)
        expected["deviation"] = math.sqrt(variance)
    return expected | {"mean": mean}


def assert_window(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["covered_us"] == expected["covered"] * SECOND
    for name, value in expected.items():
        if name != "covered":
            assert found[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-7)), name


# midpoints lie in the day, as sources file rows
@st.composite
def intervals(draw: st.DrawFn) -> Row:
    seconds = draw(st.sampled_from([0, 0, 1, 60, 300, 600, 899, 900, 901, 3600, 10_800]) | st.integers(1, 10_800))
    middle = draw(
        st.integers(0, 7200) | st.integers(86_400 - 3600, 86_399)
        | st.integers(0, 20).map(lambda n: 300 * n) | st.sampled_from([0, 86_399])
    )  # fmt: skip
    offset = draw(st.sampled_from([0, 0, 0, -600, 60]))
    value = draw(st.none() | st.floats(-50, 50).map(lambda v: round(v, 2)))
    quality = MISSING if value is None else draw(st.sampled_from([PASS, PASS, PASS, FAIL]))
    end = middle + seconds // 2
    return Row(draw(st.integers(0, 1)), end - offset, seconds, offset, value, quality)


def unique(rows: list[Row]) -> list[Row]:
    return list({(row.series, row.stamp, row.seconds): row for row in rows}.values())


@examples(60)
@given(st.lists(intervals(), min_size=1, max_size=25).map(unique))
@example([Row(0, 0, 600, value=2.0), Row(0, 86_400, 600, value=3.0)])
@example([Row(0, 83_250, 901, 0, 0.0), Row(0, 83_850, 901, -600, 0.0)])  # one interval, told twice
@example([Row(0, 83_250, 900, 0, 0.0), Row(0, 83_850, 900, -600, 0.0)])
def test_any_mix_of_intervals_equals_the_computation_by_hand(rows: list[Row]) -> None:
    found = computed(rows)
    for series in {row.series for row in rows}:
        mine = [row for row in rows if row.series == series]
        short, long = ([row for row in mine if (row.seconds > 900) is kind] for kind in (False, True))
        touched = {min(max(m // 900 * 900, 0), 85_500) for row in short for m in (row.start, row.end - 1, row.end)}
        windows = {w: by_hand(short, w) for w in touched}
        own = {(row.start, row.seconds) for row in long}
        assert {key[1:] for key in found if key[0] == series} == own | {(w, 900) for w, r in windows.items() if r}
        for window, expected in windows.items():
            if expected:
                assert_window(found[series, window, 900], expected)
        for start, seconds in own:
            good = [row for row in long if (row.start, row.seconds) == (start, seconds) and row.good]
            row = found[series, start, seconds]
            assert (row["good"], row["covered_us"]) == (len(good), seconds * SECOND if good else 0)
            assert row["mean"] == (pytest.approx(np.mean([r.value for r in good])) if good else None)
        good = [row for row in mine if row.good]
        totals = [row["total"] or 0 for key, row in found.items() if key[0] == series]
        assert math.fsum(totals) == pytest.approx(math.fsum(row.value or 0 for row in good), rel=1e-9, abs=1e-6)
        assert sum(row["good"] for key, row in found.items() if key[0] == series) == len(good)


def test_ten_minutes_are_split_two_to_one() -> None:
    found = computed([Row(0, 600, 600, value=6.0), Row(0, 1200, 600, value=3.0), Row(0, 1800, 600, value=9.0)])
    first, second = found[0, 0, 900], found[0, 900, 900]
    assert (first["total"], second["total"]) == (7.5, 10.5)
    assert (first["good"], second["good"]) == (1, 2), "the middle one has its midpoint on the edge"
    assert (first["minimum"], second["minimum"]) == (3.0, 3.0), "a tie counts in both"
    assert first["mean"] == pytest.approx((6.0 * 600 + 3.0 * 300) / 900)
    assert (first["last_value"], second["first_value"]) == (6.0, 3.0)
    assert first["covered_us"] == second["covered_us"] == WINDOW


def test_what_lies_outside_the_day_counts_in_its_nearest_window_and_covers_nothing() -> None:
    found = computed([Row(0, 400, 600, value=6.0), Row(0, 86_600, 600, value=3.0)])
    assert {key[1]: (row["total"], row["covered_us"] // SECOND) for key, row in found.items()} == {
        0: (6.0, 400), 86_400 - 900: (3.0, 400),
    }  # fmt: skip


def test_other_series_beside_it_change_no_bit_of_a_series() -> None:
    rng = np.random.default_rng(3)
    mine = [Row(0, 37 + 60 * n, 60, value=float(rng.normal())) for n in range(1440)]
    others = [Row(1, 11 + 97 * n, 97 + n % 5, value=float(rng.normal())) for n in range(800)] + [Row(1, 5, 0)]
    alone, beside = computed(mine), computed(mine + others)
    assert alone == {key: row for key, row in beside.items() if key[0] == 0}


@given(st.lists(intervals(), min_size=1, max_size=25).map(unique))
def test_the_time_that_a_series_covers(rows: list[Row]) -> None:
    ordered = sorted(rows, key=lambda row: (row.series, row.stamp, row.seconds))
    columns = (np.array([getattr(row, name) for row in ordered]) for name in ("series", "stamp"))
    numbers = (np.array([getattr(row, name) for row in ordered], "i4") for name in ("seconds", "offset"))
    series, stamp = columns
    nothing = np.zeros(len(rows))
    samples = Samples(series, stamp * SECOND, nothing, nothing, *numbers)
    covered = covered_by_series(samples.rows(slice(None)), 2)
    for number in (0, 1):
        seconds = {s for row in rows if row.series == number for s in range(row.start, row.end)}
        assert covered[number] == len(seconds) * SECOND
    assert DAY.end - DAY.start == DAY_US
