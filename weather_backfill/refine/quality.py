"""Quality flags for raw observations: flag, never drop.

Tests are Zahumenský's (WMO CBS/OPAG-IOS 2004: plausible value, maximum allowed and minimum required variability,
internal consistency), limits those of `model/metrics.py` with their sources, flags QARTOD's (Manual for Real-Time
Quality Control, flag table: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing). The worst flag wins. A day is
judged by itself, so its flags do not depend on which other days happen to be in the lake.

What that costs: a stuck sensor is told by the hour before a value, which for the first hour of a day lies in another
file. So the first hour of a day is never called stuck: 75 of 1,511 such flags of 03379 (temperature and pressure,
every ten minutes, 550 days) are missing, all of them there. Judging that hour by the hour after it instead found 11 of
them and flagged 61 values that a look at both days passes; so it is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from weather_backfill.lake.parquet import unified
from weather_backfill.model import intervals
from weather_backfill.model.days import Cadence
from weather_backfill.model.metrics import METRICS, Metric, Rule
from weather_backfill.model.schemas import FAIL, MISSING, NOT_EVALUATED, PASS, SUSPECT

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
LONGEST_GAP_US = 2 * HOUR_US
"""Across a longer gap neither a step nor a stuck sensor can be told; ours."""
CALM = 0.1
"""m/s: up to here a vane stands still by rights, wherever it points; ours, half of what counts as calm in a window."""
FEWEST_SAMPLES_OF_AN_HOUR = 6
"""The fewest samples of an hour for the persistence test. The rule is made for minute data; two hourly values are often
equal at a resolution of 0.1, whatever happened between them. Ours: ten minutes are the coarsest that has it."""
ORDERED_PAIRS = (("dew_point_temperature", "air_temperature"), ("wind_speed", "wind_speed_of_gust"))
"""The first must not exceed the second where both are of one interval (Zahumenský 2004, internal consistency test)."""


@dataclass(frozen=True, slots=True)
class _Series:
    """The non-null rows of one metric in a day, sorted by station and time."""

    rows: np.ndarray
    station: np.ndarray
    time: np.ndarray
    value: np.ndarray
    length: np.ndarray


def flag(table: pa.Table, cadence: Cadence) -> pa.Table:
    """Judge `quality` by the range, step, persistence and consistency tests; the other columns stay as they are.

    `table` has the columns of `schemas.RAW`, sorted by station, metric and time, without duplicates. Limits of what
    adds up (rain, sunshine) are multiplied by the minutes of a value's interval: `interval_seconds` where the table
    says it, else the cadence.
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


def with_service_flags(judged: pa.Table, read: pa.Table) -> pa.Table:
    """The judged table with the flags that the service itself gave (`quality` as read), where those are worse.

    `PASS` as read says nothing; `NOT_EVALUATED` says that the service has not looked at a value that our tests pass.
    """
    told = [np.asarray(chunk) for chunk in read["quality"].chunks]
    if not any(np.any((flags > PASS) & (flags < MISSING)) for flags in told):
        return judged
    flags = np.concatenate(told)
    ours = np.asarray(judged["quality"])
    worst = np.where(flags < MISSING, np.maximum(ours, flags), ours)
    position = judged.schema.get_field_index("quality")
    return judged.set_column(position, judged.schema.field("quality"), pa.array(worst))


def _judge_metrics(
    table: pa.Table, metric_codes: np.ndarray, codes: np.ndarray, names: list[str], value: np.ndarray,
    cadence: Cadence, flags: np.ndarray,
) -> None:  # fmt: skip
    """Set the flags of the metrics with these codes, in place."""
    station = _codes(table, "station_id")
    time = np.asarray(table["observed_at"].cast(pa.int64()))
    length = intervals.lengths(table)
    series: dict[str, _Series] = {}
    for code in codes:
        metric = METRICS[names[code]]
        rows = np.flatnonzero(metric_codes == code)
        rows = rows[~np.isnan(value[rows])]
        samples = series[metric.name] = _Series(rows, station[rows], time[rows], value[rows], length[rows])
        seconds = np.where(samples.length > 0, samples.length, cadence.of(metric.name))
        flags[rows] = judge(samples.station, samples.time, samples.value, metric, seconds)
    _excuse_calms(series, flags)
    _judge_pairs(series, flags)


def judge(
    station: np.ndarray, time: np.ndarray, value: np.ndarray, metric: Metric, interval: int | np.ndarray
) -> np.ndarray:
    """Flag one metric's values by the range, step and persistence tests.

    Rows are sorted by station and time; `time` in microseconds, `value` in the stored unit, `interval` the seconds that
    values stand for.
    """
    flags = np.full(len(value), PASS, dtype="i1")
    if metric.min_change_per_hour is not None:
        flags[_persistent(station, time, value, metric)] = SUSPECT
    if metric.max_step_per_minute is not None:
        flags[_jumps(station, time, value, metric)] = FAIL if metric.step_fails else SUSPECT
    if metric.lowest is not None:
        flags[value < metric.lowest] = FAIL
    if metric.highest is not None:
        flags[value > metric.highest] = FAIL
    if metric.highest_per_minute is not None:
        flags[value > metric.highest_per_minute * interval / 60] = FAIL
    return flags


def _jumps(station: np.ndarray, time: np.ndarray, value: np.ndarray, metric: Metric) -> np.ndarray:
    """The rows that differ from the row before by more than the limit, unless they return from such a jump.

    Without that exception the good value after every spike would fail as well.
    """
    jump = np.zeros(len(value), dtype=bool)
    jump[1:] = _too_far(station, time, value, metric, 1)
    returns = np.zeros(len(value), dtype=bool)
    returns[2:] = jump[1:-1] & ~_too_far(station, time, value, metric, 2)
    return jump & ~returns


def _too_far(station: np.ndarray, time: np.ndarray, value: np.ndarray, metric: Metric, back: int) -> np.ndarray:
    """Whether a value differs from that `back` rows before by more than the limit for the time between; not across
    stations and long gaps.
    """
    step = _difference(value[back:], value[:-back])
    far = step > metric.max_step_per_minute  # the limit of longer times is never less
    at = np.flatnonzero(far & (station[back:] == station[:-back]))
    apart = time[back:][at] - time[:-back][at]
    far[:] = False
    far[at] = (apart <= LONGEST_GAP_US) & (step[at] > max_step(metric, apart / MINUTE_US))
    return far


def max_step(metric: Metric, minutes: np.ndarray) -> np.ndarray:
    """The largest believable change within some minutes, at least one: the power of time through the limits of a minute
    and of an hour.
    """
    a_minute, an_hour = metric.max_step_per_minute, metric.max_step_per_hour
    assert a_minute is not None
    power = 0.0 if an_hour is None else np.log(an_hour / a_minute) / np.log(60)
    return np.asarray(a_minute * np.maximum(minutes, 1.0) ** power)


def _persistent(station: np.ndarray, time: np.ndarray, value: np.ndarray, metric: Metric) -> np.ndarray:
    """The rows that end a full hour of enough samples in which the value changed by less than the metric's limit."""
    if not len(value):
        return np.zeros(0, dtype=bool)
    order = _order(station, time - time.min())
    begin = np.searchsorted(order, order - HOUR_US, side="right") - 1
    same_station = (begin >= 0) & (station[np.maximum(begin, 0)] == station)
    begin = np.maximum(begin, 0)
    fresh = same_station & (time - time[begin] <= LONGEST_GAP_US)
    spread = _spread(value, begin)
    if metric.rule is Rule.DIRECTION:
        spread = np.minimum(spread, _spread((value + 180) % 360, begin))  # the circle cut open at south
    enough = np.arange(len(value)) - begin >= FEWEST_SAMPLES_OF_AN_HOUR  # not counting the row at `begin`
    stuck: np.ndarray = fresh & enough & (spread < metric.min_change_per_hour)
    if metric.varies_above is not None:
        stuck &= _window(value, begin, np.minimum) > metric.varies_above
    if metric.varies_below is not None:
        stuck &= _window(value, begin, np.maximum) < metric.varies_below
    return stuck


def _spread(value: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """The highest less the lowest value from `begin` to each row."""
    return _difference(_window(value, begin, np.maximum), _window(value, begin, np.minimum))


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The difference without its last digits: to a computer 10.1 - 10.0 is less than 0.1, and 5.4 - 2.4 more than 3."""
    return np.asarray(np.round(np.abs(one - other), 9))


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


def _excuse_calms(series: dict[str, _Series], flags: np.ndarray) -> None:
    """Pass directions that do not change because there is no wind: their own code 0, or a calm at the same time."""
    direction, speed = series.get("wind_from_direction"), series.get("wind_speed")
    if direction is None:
        return
    still = flags[direction.rows] == SUSPECT
    calm = still & (direction.value == 0)
    if still.any() and speed is not None and len(speed.time):
        start = min(direction.time.min(), speed.time.min())
        slow = speed.value <= CALM
        calms = _order(speed.station, speed.time - start)[slow]
        calm |= still & np.isin(_order(direction.station, direction.time - start), calms)
    flags[direction.rows[calm]] = PASS


def _judge_pairs(series: dict[str, _Series], flags: np.ndarray) -> None:
    """Mark both values suspect where the lower quantity of a pair exceeds the upper one of the same interval."""
    for lower_name, upper_name in ORDERED_PAIRS:
        lower, upper = series.get(lower_name), series.get(upper_name)
        if lower is None or upper is None or not len(lower.time) or not len(upper.time):
            continue
        in_lower, in_upper = _matches(lower, upper)
        contradictory = lower.value[in_lower] > upper.value[in_upper]
        for samples, positions in ((lower, in_lower), (upper, in_upper)):
            rows = samples.rows[positions[contradictory]]
            flags[rows] = np.maximum(flags[rows], SUSPECT)


def _matches(one: _Series, other: _Series) -> tuple[np.ndarray, np.ndarray]:
    """The positions in two series of the values of one station, time and interval."""
    start = min(one.time.min(), other.time.min())
    kinds = np.unique(np.concatenate([one.length, other.length]))

    def keys(quantity: _Series) -> np.ndarray:
        kind = np.searchsorted(kinds, quantity.length)
        return _order(quantity.station.astype("i8") * len(kinds) + kind, quantity.time - start)

    _, in_one, in_other = np.intersect1d(keys(one), keys(other), assume_unique=True, return_indices=True)
    return in_one, in_other


def _codes(table: pa.Table, column: str) -> np.ndarray:
    return np.concatenate([np.asarray(chunk.indices) for chunk in table[column].chunks])


def _dictionary(table: pa.Table, column: str) -> list[str]:
    return table[column].chunk(0).dictionary.to_pylist()
