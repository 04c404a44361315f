"""Asset checks per partition: each judges one day from its table alone.

Gaps warn, corruption is an error. In a run over a range Dagster records no partition for an
`AssetCheckResult`, so each day's result is logged as an evaluation of its partition (`dagster/events.py`)
and one result for the run sums them up (`summarize`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import parquet
from weather_backfill.model import intervals
from weather_backfill.model.days import CheckResult, RawDay
from weather_backfill.model.expectation import words
from weather_backfill.model.limits import Limits
from weather_backfill.model.schemas import FAIL, MISSING, RAW, REFINED, SUSPECT
from weather_backfill.refine.coverage import WORST, Coverage, codes_at, least


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
_NAMED = 20
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


@raw_check("Everything that was asked for is there: stations, products, sites and required metrics", error=True)
def _expected_data(checked: CheckedDay) -> Verdict:
    lacks = checked.day.lacks
    text = words(lacks) or "nothing that was asked for is wholly absent"
    named = [[lack.station, lack.metric, lack.part, lack.cause] for lack in lacks[:_NAMED]]
    return not lacks, text, {"lacking": len(lacks), **({"lacks": named} if named else {})}


@raw_check("Share of the day that values cover (readings: of its grid slots), by station and metric")
def _completeness(checked: CheckedDay) -> Verdict:
    covered, limits = checked.covered, checked.limits
    share, target, by_metric = covered.share, limits.completeness_target, covered.by_metric
    short = {m: s for m, s in by_metric.items() if s < limits.targets.get(m, 0)}
    worst, metrics = _shares(covered.worst) or "no station reported", _shares(least(by_metric))
    text = f"values cover {share:.1%} of the day (target {target:.0%}); worst: {worst}"
    text += f"; worst metrics: {metrics}" if metrics else ""
    if short:
        named = ", ".join(f"{metric} {part:.0%} of {limits.targets[metric]:.0%}" for metric, part in short.items())
        text += f"; under their own target: {named}"
    facts = {"completeness": share, "worst_stations": worst, "worst_metrics": metrics}
    return share >= target and not short, text, facts


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


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


@raw_check("Few values of each metric fail the tests of quality, and not too many are suspect")
def _plausible_values(checked: CheckedDay) -> Verdict:
    table, limits = checked.day.table, checked.limits
    failed, suspect, values, metrics = _flagged(table)
    over = [
        f"{metrics[n]}: {flagged[n] / values[n]:.0%} {word} (limit {own.get(metrics[n], limit):.0%})"
        for flagged, word, own, limit in (
            (failed, "failed", limits.failed, limits.failed_limit),
            (suspect, "suspect", limits.suspect, limits.suspect_limit),
        )
        for n in np.flatnonzero(flagged)
        if flagged[n] > own.get(metrics[n], limit) * values[n]
    ]
    text = f"{failed.sum()} of {table.num_rows} values fail the tests of quality, {suspect.sum()} are suspect"
    facts: dict[str, Any] = {"failed_values": int(failed.sum()), "suspect_values": int(suspect.sum())}
    if over:
        text, facts = f"{text}; {', '.join(over[:WORST])}", {**facts, "over_limit": over[:_NAMED]}
    return not over, text, facts


def _flagged(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Count failed, suspect and all values (nulls left out) by metric; and the metrics."""
    if not table.num_rows:
        return (*(np.empty(0, "i8"),) * 3, [])
    metric, names = codes_at(parquet.unified(table), "metric", slice(None))
    quality = np.asarray(table["quality"])
    counts = np.bincount(metric.astype("i8") * 10 + quality, minlength=10 * len(names)).reshape(-1, 10)
    return counts[:, FAIL], counts[:, SUSPECT], counts.sum(axis=1) - counts[:, MISSING], names


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
    codes, names = codes_at(parquet.unified(table), column, rows)
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
