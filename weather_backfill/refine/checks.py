"""Asset checks per partition: each judges one day from its table alone.

Gaps warn, corruption is an error. In a run over a range Dagster records no partition for an
`AssetCheckResult`, so each day's result is logged as an evaluation of its partition (`dagster/events.py`)
and one result for the run sums them up (`summarize`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.model import intervals
from weather_backfill.model.days import Cadence, CheckResult, RawDay
from weather_backfill.model.metrics import METRICS
from weather_backfill.model.schemas import FAIL, RAW, REFINED
from weather_backfill.refine.parts import covered_by_series
from weather_backfill.refine.samples import samples_of

MAX_FAILED_SHARE = 0.05
_WORST = 5
_BLOCK_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share (0 to 1) of a day that values cover: mean over the stations, and the worst stations."""

    share: float
    worst: Mapping[str, float]


def coverage(day: RawDay) -> Coverage:
    """The share of the day that values cover, over its stations and metrics.

    Intervals cover the time that they hold together; readings, and intervals shorter than the grid, the slots that hold
    their midpoints. An interval belongs whole to its day, also what of it lies outside: the next day lacks as much at
    its end. Counts metrics with a CF name and points that the table of metrics lacks; a station's battery or codes are
    not weather, and what is sporadic is no gap. An expected station without rows counts as empty; a day without rows
    has coverage 0.
    """
    if not day.table.num_rows:
        return Coverage(0.0, dict.fromkeys(sorted(day.expected_stations)[:_WORST], 0.0))
    table = parquet.unified(day.table)
    starts = parquet.series_starts(table)
    metric, metric_names = _codes_at(table, "metric", starts)
    station, station_names = _codes_at(table, "station_id", starts)
    slot_seconds = _slot_seconds(day.cadence, metric, metric_names, station, station_names)
    expected = 86_400 // np.maximum(slot_seconds, 1)
    counted = np.array([_counts(name, day.cadence) for name in metric_names], dtype=bool)[metric]
    slots, covered = _filled(table, starts, slot_seconds)
    filled = np.minimum(slots / expected + covered / intervals.DAY_US, 1)[counted]
    series = np.bincount(station[counted], minlength=len(station_names))
    total = np.bincount(station[counted], filled, minlength=len(station_names))
    by_station = {station_names[code]: float(total[code] / series[code]) for code in np.flatnonzero(series)}
    reporting = {station_names[code] for code in np.unique(station)}  # the dictionary may hold further names
    by_station |= dict.fromkeys(set(day.expected_stations) - reporting, 0.0)
    share = float(np.mean(list(by_station.values()))) if by_station else 0.0
    worst = dict(sorted(by_station.items(), key=lambda item: (item[1], item[0]))[:_WORST])
    return Coverage(share, worst)


def _counts(metric: str, cadence: Cadence) -> bool:
    return metric not in cadence.sporadic and (metric not in METRICS or METRICS[metric].cf)


def _slot_seconds(
    cadence: Cadence, metric: np.ndarray, metric_names: list[str], station: np.ndarray, station_names: list[str]
) -> np.ndarray:
    """The cadence of each series; those of stations without an own one are told by metric alone."""
    seconds = np.array([cadence.of(name) for name in metric_names], dtype="i8")[metric]
    own = np.array([name in cadence.by_station for name in station_names], dtype=bool)
    for at in np.flatnonzero(own[station]) if cadence.by_station else ():
        seconds[at] = cadence.of(metric_names[metric[at]], station_names[station[at]])
    return seconds


def _codes_at(table: pa.Table, column: str, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The dictionary codes of a column at some rows, and the dictionary."""
    chunks = table[column].chunks
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in chunks])
    return codes[rows], chunks[0].dictionary.to_pylist()


def _filled(table: pa.Table, starts: np.ndarray, slot_seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count by series the distinct grid slots that hold a short value, and the microseconds that longer ones cover.

    About a million rows at a time, to save memory.
    """
    edges = np.append(starts, table.num_rows)
    slots, covered = np.zeros(len(starts), "i8"), np.zeros(len(starts))
    first = 0
    while first < len(starts):
        last = max(int(np.searchsorted(edges, edges[first] + _BLOCK_ROWS, side="right")) - 1, first + 1)
        part = table.slice(edges[first], edges[last] - edges[first])
        lengths = np.diff(edges[first : last + 1])
        slots[first:last], covered[first:last] = _filled_in(part, lengths, slot_seconds[first:last])
        first = last
    return slots, covered


def _filled_in(part: pa.Table, lengths: np.ndarray, slot_seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_filled` of some whole series; rows are sorted by time within a series."""
    if part["value"].null_count:
        valid = np.asarray(part["value"].is_valid())
        lengths = np.add.reduceat(valid, np.append(0, np.cumsum(lengths)[:-1]), dtype="i8")
        part = part.filter(pa.array(valid))
    series = np.repeat(np.arange(len(lengths), dtype="i4"), lengths)
    rows = samples_of(part, series).rows(slice(None))
    uniform = slot_seconds.min() == slot_seconds.max()  # dividing by a scalar is several times faster
    slot_us = slot_seconds[0] * 1_000_000 if uniform else (slot_seconds * 1_000_000)[rows.series]
    slots, covered = (rows.end - rows.length // 2) // slot_us, np.zeros(len(lengths))
    lasting = rows.length >= slot_us
    if lasting.any():
        covered = covered_by_series(rows if lasting.all() else rows[lasting], len(lengths))
        slots, series = slots[~lasting], series[~lasting]
    distinct = np.ones(len(slots), dtype=bool)
    distinct[1:] = (slots[1:] != slots[:-1]) | (series[1:] != series[:-1])
    return np.bincount(series[distinct], minlength=len(lengths)), covered


class Limits(Protocol):
    """The platform's settings that checks go by; shares from 0 to 1."""

    @property
    def completeness_target(self) -> float:
        """Share of a day that values must cover before it counts complete."""
        ...

    @property
    def rejects_limit(self) -> float:
        """Share of rejected rows that is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class CheckedDay:
    """A raw day whose `table` is flagged, its coverage, and the limits it is judged by."""

    day: RawDay
    covered: Coverage
    limits: Limits


@dataclass(frozen=True, slots=True)
class CheckedWindows:
    """A refined day's table, and the number of good values (pass, not evaluated or suspect) of its raw day."""

    table: pa.Table
    good_raw_values: int


T = TypeVar("T")
Verdict = tuple[bool, str, Mapping[str, Any]]
"""Passed, a sentence with the figures, and the figures as metadata."""


@dataclass(frozen=True, slots=True)
class Registered(Generic[T]):
    """A check: its description on Dagster's pages, whether failing it is an error (else a warning), its function."""

    description: str
    error: bool
    judge: Callable[[T], Verdict]


@dataclass(slots=True)
class Register(Generic[T]):
    """The checks of a kind of day, by name, in the order in which they are shown."""

    checks: dict[str, Registered[T]] = field(default_factory=dict)

    def __call__(self, description: str, *, error: bool = False) -> Callable[[Callable[[T], Verdict]], Any]:
        """Register a function as the check that is called as it is, without the underscore in front."""

        def register(judge: Callable[[T], Verdict]) -> Callable[[T], Verdict]:
            self.checks[judge.__name__.removeprefix("_")] = Registered(description, error, judge)
            return judge

        return register

    def descriptions(self) -> dict[str, str]:
        """The description of each check."""
        return {name: check.description for name, check in self.checks.items()}

    def run(self, subject: T) -> list[CheckResult]:
        """Judge a day by all checks."""
        results = []
        for name, check in self.checks.items():
            passed, text, metadata = check.judge(subject)
            results.append(CheckResult(name, passed, check.error, text, metadata))
        return results


raw_check: Register[CheckedDay] = Register()
refined_check: Register[CheckedWindows] = Register()


@raw_check("Share of the day that values cover (readings: of its grid slots), by station and metric")
def _completeness(checked: CheckedDay) -> Verdict:
    share, target = checked.covered.share, checked.limits.completeness_target
    worst = ", ".join(f"{name} {part:.0%}" for name, part in checked.covered.worst.items()) or "no station reported"
    text = f"values cover {share:.1%} of the day (target {target:.0%}); worst: {worst}"
    return share >= target, text, {"completeness": share, "worst_stations": worst}


@raw_check("One row per station, metric, time and interval, in order", error=True)
def _no_duplicates(checked: CheckedDay) -> Verdict:
    table = checked.day.table
    starts = parquet.series_starts(table)
    time = np.asarray(table["observed_at"].cast(pa.int64()))
    later = np.ones(len(time), dtype=bool)
    length = intervals.lengths(table, unknown=-1)
    later[1:] = (time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & (length[1:] > length[:-1]))
    later[starts] = True
    repeated = int((~later).sum())
    station, metric = (_ranks_at(table, name, starts) for name in parquet.TAGS)
    rising = np.where(station[1:] == station[:-1], metric[1:] > metric[:-1], station[1:] > station[:-1])
    disordered = int((~rising).sum())
    text = (
        f"{repeated} rows repeat or step back in time, {disordered} series are repeated or out of order"
        if repeated or disordered
        else "every station, metric, time and interval occurs once, in order"
    )
    return not repeated and not disordered, text, {"duplicates": repeated + disordered}


def _raw_schema(checked: CheckedDay) -> Verdict:
    return _conforms(checked.day.table, RAW)


raw_check.checks["schema"] = Registered("Columns and types are those of the raw schema", True, _raw_schema)


@raw_check("Few values fail the range and step tests")
def _plausible_values(checked: CheckedDay) -> Verdict:
    rows = checked.day.table.num_rows
    failed = int(np.sum(np.asarray(checked.day.table["quality"]) == FAIL))
    text = f"{failed} of {rows} values fail the range or step test"
    return failed <= MAX_FAILED_SHARE * rows, text, {"failed_values": failed}


@raw_check("Few rows were rejected, by what the rejects may stand for")
def _rejects_under_limit(checked: CheckedDay) -> Verdict:
    day, limit = checked.day, checked.limits.rejects_limit
    rejects, lost = day.rejects.num_rows, stand_for(day.rejects)
    share = lost / max(lost + day.facts.get("reports_kept", day.table.num_rows), 1)
    text = f"{rejects} rejects that may stand for {lost} rows, {share:.2%} (limit {limit:.2%})"
    return share <= limit, text, {"rejects": rejects, "rejects_stand_for": lost}


def stand_for(rejects: pa.Table) -> int:
    """The number of rows that rejects may stand for in all; one that does not say it counts as one."""
    return pc.sum(pc.fill_null(rejects["stands_for"], 1)).as_py() or 0


def _refined_schema(checked: CheckedWindows) -> Verdict:
    return _conforms(checked.table, REFINED)


refined_check.checks["schema"] = Registered("Columns and types are those of the refined schema", True, _refined_schema)


@refined_check("The windows hold every good raw value exactly once", error=True)
def _counts_agree(checked: CheckedWindows) -> Verdict:
    table, good = checked.table, checked.good_raw_values
    samples = int(np.sum(np.asarray(table["sample_count"]))) if table.num_rows else 0
    text = f"{samples} values have their midpoint in a window, the raw day holds {good} good ones"
    return samples == good, text, {"refined_samples": samples, "raw_values": good}


RAW_CHECKS = raw_check.descriptions()
REFINED_CHECKS = refined_check.descriptions()


def check_raw(day: RawDay, covered: Coverage, limits: Limits) -> list[CheckResult]:
    """Run all checks of a raw day with a flagged `table`."""
    return raw_check.run(CheckedDay(day, covered, limits))


def check_refined(table: pa.Table, good_raw_values: int) -> list[CheckResult]:
    """Run all checks of a refined day, against the number of good values of its raw day."""
    return refined_check.run(CheckedWindows(table, good_raw_values))


def _ranks_at(table: pa.Table, column: str, rows: np.ndarray) -> np.ndarray:
    """The ranks of a column's names at some rows, in the order of the names."""
    if not len(rows):
        return rows
    codes, names = _codes_at(parquet.unified(table), column, rows)
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1][codes]


def _conforms(table: pa.Table, expected: pa.Schema) -> Verdict:
    problems = [
        f"{field.name}: expected {field.type}, found "
        + (str(table.schema.field(field.name).type) if field.name in table.schema.names else "nothing")
        for field in expected
        if field.name not in table.schema.names or table.schema.field(field.name).type != field.type
    ]
    nulls = [f.name for f in expected if f.name in table.schema.names and not f.nullable and table[f.name].null_count]
    problems += [f"{name}: holds nulls" for name in nulls]
    return not problems, "; ".join(problems) or "as expected", {}


def summarize(check: str, outcomes: Sequence[tuple[str, CheckResult]]) -> tuple[bool, bool, str]:
    """Sum up a check over the days of a run, by partition key: passed, error, and a text naming the failed days."""
    failed = [(key, result) for key, result in outcomes if not result.passed]
    if not failed:
        return True, False, f"passed on {len(outcomes)} days"
    named = ", ".join(key for key, _ in failed[:10]) + (" ..." if len(failed) > 10 else "")
    return False, any(result.error for _, result in failed), f"failed on {len(failed)} of {len(outcomes)} days: {named}"
