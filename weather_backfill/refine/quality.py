"""Quality flags for raw observations: flag, never drop.

Tests and limits are Zahumenský's (WMO CBS/OPAG-IOS 2004), flags QARTOD's (1 pass, 2 not evaluated, 3 suspect,
4 fail, 9 missing). The worst flag wins. A day is judged by itself, so its flags do not depend on which other
days happen to be in the lake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from weather_backfill.lake.parquet import unified
from weather_backfill.model.days import Cadence
from weather_backfill.model.metrics import METRICS, Metric
from weather_backfill.model.schemas import FAIL, MISSING, NOT_EVALUATED, PASS, SUSPECT

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
MAX_RAIN_PER_MINUTE = 40.0  # mm
FEWEST_SAMPLES_OF_AN_HOUR = 6
"""The fewest samples of an hour for the persistence test. The rule is made for minute data; two hourly values are often
equal at a resolution of 0.1, whatever happened between them."""
# lower must not exceed upper where both are reported at the same time
_ORDERED_PAIRS = (("dew_point_temperature", "air_temperature"), ("wind_speed", "wind_speed_of_gust"))


@dataclass(frozen=True, slots=True)
class _Series:
    """The non-null rows of one metric in a day, sorted by station and time."""

    rows: np.ndarray
    station: np.ndarray
    time: np.ndarray
    value: np.ndarray


def flag(table: pa.Table, cadence: Cadence) -> pa.Table:
    """Judge `quality` by the range, step, persistence and consistency tests; the other columns stay as they are.

    `table` has the columns of `schemas.RAW`, sorted by station, metric and time, without duplicates. The limit of rain,
    40 mm per minute, is multiplied by the cadence.
    """
    if not table.num_rows:
        return table
    # Columns keep their chunks: a day can be a memory-mapped file too large to be copied.
    table = unified(table)
    metric_codes = _codes(table, "metric")
    names = _dictionary(table, "metric")
    has_rules = np.array([METRICS.get(name) is not None for name in names], dtype=bool)
    flags = np.where(has_rules, PASS, NOT_EVALUATED).astype("i1")[metric_codes]
    value = table["value"].to_numpy()
    if has_rules.any():
        _judge_metrics(table, metric_codes, np.flatnonzero(has_rules), names, value, cadence, flags)
    flags[np.isnan(value)] = MISSING
    position = table.schema.get_field_index("quality")
    return table.set_column(position, table.schema.field("quality"), pa.array(flags))


def _judge_metrics(
    table: pa.Table, metric_codes: np.ndarray, codes: np.ndarray, names: list[str], value: np.ndarray,
    cadence: Cadence, flags: np.ndarray,
) -> None:  # fmt: skip
    """Set the flags of the metrics with these codes, in place."""
    station = _codes(table, "station_id")
    time = np.asarray(table["observed_at"].cast(pa.int64()))
    series: dict[str, _Series] = {}
    for code in codes:
        metric = METRICS[names[code]]
        rows = np.flatnonzero(metric_codes == code)
        rows = rows[~np.isnan(value[rows])]
        samples = series[metric.name] = _Series(rows, station[rows], time[rows], value[rows])
        flags[rows] = judge(samples.station, samples.time, samples.value, metric, cadence.of(metric.name))
    _judge_pairs(series, flags)


def judge(station: np.ndarray, time: np.ndarray, value: np.ndarray, metric: Metric, cadence: int) -> np.ndarray:
    """Flag one metric's values by the range, step and persistence tests.

    Rows are sorted by station and time; `time` in microseconds, `cadence` in seconds, `value` in the stored unit.
    """
    flags = np.full(len(value), PASS, dtype="i1")
    if metric.min_change_per_hour is not None:
        flags[_persistent(station, time, value, metric.min_change_per_hour)] = SUSPECT
    if metric.max_step_per_minute is not None:
        flags[_jumps(station, time, value, metric.max_step_per_minute)] = FAIL
    highest = MAX_RAIN_PER_MINUTE * cadence / 60 if metric.name == "precipitation_amount" else metric.highest
    if metric.lowest is not None:
        flags[value < metric.lowest] = FAIL
    if highest is not None:
        flags[value > highest] = FAIL
    return flags


def _jumps(station: np.ndarray, time: np.ndarray, value: np.ndarray, per_minute: float) -> np.ndarray:
    """The rows that differ from the row before by more than the limit, unless they return from such a jump.

    Without that exception the good value after every spike would fail as well.
    """
    jump = np.zeros(len(value), dtype=bool)
    jump[1:] = _step(station, time, value, 1) > per_minute
    returns = np.zeros(len(value), dtype=bool)
    returns[2:] = jump[1:-1] & (_step(station, time, value, 2) <= per_minute)
    return jump & ~returns


def _step(station: np.ndarray, time: np.ndarray, value: np.ndarray, back: int) -> np.ndarray:
    """The change per minute since the row `back` rows before, 0 across stations; times under a minute count as one."""
    minutes = np.maximum((time[back:] - time[:-back]) / MINUTE_US, 1.0)
    step = np.abs(value[back:] - value[:-back]) / minutes
    return np.where(station[back:] == station[:-back], step, 0.0)


def _persistent(station: np.ndarray, time: np.ndarray, value: np.ndarray, least: float) -> np.ndarray:
    """The rows that end a full hour of enough samples in which the value changed by less than `least`."""
    if not len(value):
        return np.zeros(0, dtype=bool)
    order = _order(station, time - time.min())
    begin = np.searchsorted(order, order - HOUR_US, side="right") - 1
    same_station = (begin >= 0) & (station[np.maximum(begin, 0)] == station)
    begin = np.maximum(begin, 0)
    fresh = same_station & (time - time[begin] <= 2 * HOUR_US)  # no judgement across a long gap
    spread = _window(value, begin, np.maximum) - _window(value, begin, np.minimum)
    enough = np.arange(len(value)) - begin >= FEWEST_SAMPLES_OF_AN_HOUR  # not counting the row at `begin`
    return fresh & enough & (spread < least)


def _order(station: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Combine station and time since the first into one sortable number: up to 32,768 stations and nine years."""
    return station.astype("i8") * (1 << 48) + time


def _window(value: np.ndarray, begin: np.ndarray, best: Callable[..., np.ndarray]) -> np.ndarray:
    """The largest or smallest (`best`) of `value[begin[i] : i + 1]` for every i, from spans of doubling length."""
    rows = np.arange(len(value))
    width = rows - begin + 1
    level = np.floor(np.log2(width)).astype("i8")
    result = value.copy()
    span = value
    for power in range(int(level.max()) + 1):
        if power:
            half = 1 << (power - 1)
            span = np.concatenate([best(span[:-half], span[half:]), span[-half:]])
        chosen = level == power
        tail = np.maximum(rows[chosen] - (1 << power) + 1, 0)
        result[chosen] = best(span[begin[chosen]], span[tail])
    return result


def _judge_pairs(series: dict[str, _Series], flags: np.ndarray) -> None:
    """Mark both values suspect where the lower quantity of a pair exceeds the upper one at the same time."""
    for lower_name, upper_name in _ORDERED_PAIRS:
        lower, upper = series.get(lower_name), series.get(upper_name)
        if lower is None or upper is None or not len(lower.time) or not len(upper.time):
            continue
        start = min(lower.time.min(), upper.time.min())
        lower_keys, upper_keys = (_order(quantity.station, quantity.time - start) for quantity in (lower, upper))
        _, in_lower, in_upper = np.intersect1d(lower_keys, upper_keys, assume_unique=True, return_indices=True)
        contradictory = lower.value[in_lower] > upper.value[in_upper]
        for samples, positions in ((lower, in_lower), (upper, in_upper)):
            rows = samples.rows[positions[contradictory]]
            flags[rows] = np.maximum(flags[rows], SUSPECT)


def _codes(table: pa.Table, column: str) -> np.ndarray:
    return np.concatenate([np.asarray(chunk.indices) for chunk in table[column].chunks])


def _dictionary(table: pa.Table, column: str) -> list[str]:
    return table[column].chunk(0).dictionary.to_pylist()
