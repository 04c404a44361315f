"""The windows of one series second by second: what the rules of docs/values.md give, computed without the product.

A value stands for each second of its interval. Slow, and so plain that it can be read beside the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
import pandas as pd

WINDOWS = 96
LENGTH = 900


class Value(NamedTuple):
    """A good value of an interval `[start, start + seconds)`, in seconds from its day's midnight."""

    start: int
    seconds: int
    value: float


def midnight(day: date) -> int:
    """The epoch second at which a UTC day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def windows_of(values: Iterable[Value]) -> pd.DataFrame:
    """The windows of 900 s of a day's values of at most 900 s, by number of the window; deviation of two or more."""
    rows = list(values)
    start, seconds, value = (np.array(column) for column in zip(*rows, strict=True))
    row = np.repeat(np.arange(len(rows)), seconds)
    second = start[row] + np.arange(len(row)) - np.repeat(np.cumsum(seconds) - seconds, seconds)
    window = np.clip(second // LENGTH, 0, WINDOWS - 1)  # what lies outside the day counts in the nearest window
    table = pd.DataFrame({"window": window, "row": row, "second": second, "value": value[row]})
    table["of_sum"] = table["value"] / seconds[row]
    by_window = table.groupby("window")
    result = pd.DataFrame({"mean": by_window["value"].mean(), "partial_sum": by_window["of_sum"].sum()})
    inside = table[(table["second"] >= 0) & (table["second"] < WINDOWS * LENGTH)]
    result["completeness"] = inside.groupby("window")["second"].nunique() / LENGTH
    result["completeness"] = result["completeness"].fillna(0.0)

    middle = np.clip((2 * start + seconds) // (2 * LENGTH), 0, WINDOWS - 1)
    result["sample_count"] = pd.Series(middle).value_counts()
    result["sample_count"] = result["sample_count"].fillna(0).astype(int)
    shares = table.groupby(["window", "row"]).size()
    number = shares.index.get_level_values("row")
    most = shares.index[2 * shares.to_numpy() >= seconds[number]]
    extremes = pd.Series(value[most.get_level_values("row")], most.get_level_values("window")).groupby(level=0)
    result["minimum"], result["maximum"] = extremes.min(), extremes.max()

    away = (table["value"] - result["mean"].reindex(window).to_numpy()) ** 2
    count = by_window["row"].nunique()
    variance = away.groupby(window).mean() * count / (count - 1).where(count > 1)
    result["standard_deviation"] = np.sqrt(variance)
    return result


def assert_windows(refined: pd.DataFrame, values: Iterable[Value], day: date) -> None:
    """The refined rows of one series and day (of `schemas.REFINED`) are those computed here; 900 s windows alone."""
    expected = windows_of(values)
    found = refined[refined["sample_count"].gt(0) | refined["mean"].notna()]
    numbers = (found["window_start"].astype("int64") // 10**6 - midnight(day)) // LENGTH
    found = found.set_axis(pd.Index(numbers, name="window"))
    assert found.index.tolist() == expected.index.tolist()
    for name in expected.columns:
        if name == "partial_sum" and found[name].isna().all():  # of what does not add up
            continue
        pd.testing.assert_series_equal(
            found[name], expected[name], check_dtype=False, check_index_type=False, rtol=1e-9, atol=1e-9
        )
    complete = expected["completeness"] >= 0.75
    if found["partial_sum"].notna().any():
        pd.testing.assert_series_equal(
            found["sum"], expected["partial_sum"].where(complete), check_names=False, check_index_type=False
        )
