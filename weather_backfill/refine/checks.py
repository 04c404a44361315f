"""Asset checks per partition: each judges one day from its table alone.

Gaps warn, corruption is an error. In a run over a range Dagster records no partition for an
`AssetCheckResult`, so each day's result is logged as an evaluation of its partition (`dagster/events.py`)
and one result for the run sums them up (`summarize`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from weather_backfill.lake import parquet
from weather_backfill.model.days import CheckResult, RawDay
from weather_backfill.model.metrics import METRICS
from weather_backfill.model.schemas import FAIL, RAW, REFINED
from weather_backfill.refine.windows import expected_slots

MAX_FAILED_SHARE = 0.05
_WORST = 5
_BLOCK_ROWS = 1_000_000


RAW_CHECKS = {
    "completeness": "Distinct grid slots that hold a value, against the expected, by station and metric",
    "no_duplicates": "One row per station, metric and time, in order",
    "schema": "Columns and types are those of the raw schema",
    "plausible_values": "Few values fail the range and step tests",
    "rejects_under_limit": "Few rows were rejected",
}
REFINED_CHECKS = {
    "schema": "Columns and types are those of the refined schema",
    "counts_agree": "The windows hold every good raw value exactly once",
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share (0 to 1) of a day's grid slots that hold a value: mean over the stations, and the worst stations."""

    share: float
    worst: Mapping[str, float]


def coverage(day: RawDay) -> Coverage:
    """Compare the distinct filled grid slots with the expected ones, over the stations and metrics of the day.

    Counts metrics with a CF name and points that the table of metrics lacks; a station's battery or codes are not
    weather. An expected station without rows counts as empty; a day without rows has coverage 0.
    """
    if not day.table.num_rows:
        return Coverage(0.0, dict.fromkeys(sorted(day.expected_stations)[:_WORST], 0.0))
    table = parquet.unified(day.table)
    starts = parquet.series_starts(table)
    metric, metric_names = _codes_at(table, "metric", starts)
    station, station_names = _codes_at(table, "station_id", starts)
    slot_seconds = np.array([day.cadence.of(name) for name in metric_names], dtype="i8")
    expected_by_metric = np.array([expected_slots(int(s)) for s in slot_seconds], dtype="i8")
    counted = np.array([name not in METRICS or METRICS[name].cf for name in metric_names], dtype=bool)[metric]
    filled = np.minimum(_filled_slots(table, starts, slot_seconds[metric]) / expected_by_metric[metric], 1)[counted]
    series = np.bincount(station[counted], minlength=len(station_names))
    total = np.bincount(station[counted], filled, minlength=len(station_names))
    by_station = {station_names[code]: float(total[code] / series[code]) for code in np.flatnonzero(series)}
    reporting = {station_names[code] for code in np.unique(station)}  # the dictionary may hold further names
    by_station |= dict.fromkeys(set(day.expected_stations) - reporting, 0.0)
    share = float(np.mean(list(by_station.values()))) if by_station else 0.0
    worst = dict(sorted(by_station.items(), key=lambda item: (item[1], item[0]))[:_WORST])
    return Coverage(share, worst)


def _codes_at(table: pa.Table, column: str, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The dictionary codes of a column at some rows, and the dictionary."""
    chunks = table[column].chunks
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in chunks])
    return codes[rows], chunks[0].dictionary.to_pylist()


def _filled_slots(table: pa.Table, starts: np.ndarray, slot_seconds: np.ndarray) -> np.ndarray:
    """Count the distinct grid slots with a value by series, about a million rows at a time to save memory."""
    edges = np.append(starts, table.num_rows)
    filled = np.zeros(len(starts), "i8")
    first = 0
    while first < len(starts):
        last = max(int(np.searchsorted(edges, edges[first] + _BLOCK_ROWS, side="right")) - 1, first + 1)
        part = table.slice(edges[first], edges[last] - edges[first])
        filled[first:last] = _filled_in(part, np.diff(edges[first : last + 1]), slot_seconds[first:last])
        first = last
    return filled


def _filled_in(part: pa.Table, lengths: np.ndarray, slot_seconds: np.ndarray) -> np.ndarray:
    """Count the filled slots of some whole series; rows are sorted by time within a series."""
    series = np.repeat(np.arange(len(lengths), dtype="i4"), lengths)
    time = np.asarray(part["observed_at"].cast(pa.int64()))
    uniform = slot_seconds.min() == slot_seconds.max()  # dividing by a scalar is several times faster
    slots = time // (slot_seconds[0] * 1_000_000 if uniform else (slot_seconds * 1_000_000)[series])
    if part["value"].null_count:
        valid = np.asarray(part["value"].is_valid())
        slots, series = slots[valid], series[valid]
    distinct = np.ones(len(slots), dtype=bool)
    distinct[1:] = (slots[1:] != slots[:-1]) | (series[1:] != series[:-1])
    return np.bincount(series[distinct], minlength=len(lengths))


def check_raw(day: RawDay, covered: Coverage, completeness_target: float, rejects_limit: float) -> list[CheckResult]:
    """Run all checks of a raw day with a flagged `table`; the target and the limit are shares (0 to 1)."""
    rows, rejected = day.table.num_rows, day.rejects.num_rows
    failed = int(np.sum(np.asarray(day.table["quality"]) == FAIL))
    share = covered.share
    worst = ", ".join(f"{name} {part:.0%}" for name, part in covered.worst.items()) or "no station reported"
    rejected_share = rejected / max(rejected + day.facts.get("reports_kept", rows), 1)
    return [
        CheckResult(
            "completeness",
            share >= completeness_target,
            False,
            f"{share:.1%} of the expected slots hold a value (target {completeness_target:.0%}); worst: {worst}",
            {"completeness": share, "worst_stations": worst},
        ),
        _duplicates(day.table),
        _schema(day.table, RAW),
        CheckResult(
            "plausible_values",
            failed <= MAX_FAILED_SHARE * rows,
            False,
            f"{failed} of {rows} values fail the range or step test",
            {"failed_values": failed},
        ),
        CheckResult(
            "rejects_under_limit",
            rejected_share <= rejects_limit,
            False,
            f"{rejected} rows rejected, {rejected_share:.2%} (limit {rejects_limit:.2%})",
            {"rejects": rejected},
        ),
    ]


def check_refined(table: pa.Table, good_raw_values: int) -> list[CheckResult]:
    """Run all checks of a refined day, against the number of good values of its raw day."""
    samples = int(np.sum(np.asarray(table["sample_count"]))) if table.num_rows else 0
    return [
        _schema(table, REFINED),
        CheckResult(
            "counts_agree",
            samples == good_raw_values,
            True,
            f"the windows hold {samples} values, the raw day {good_raw_values} good ones",
            {"refined_samples": samples, "raw_values": good_raw_values},
        ),
    ]


def _duplicates(table: pa.Table) -> CheckResult:
    starts = parquet.series_starts(table)
    time = np.asarray(table["observed_at"].cast(pa.int64()))
    later = np.ones(len(time), dtype=bool)
    later[1:] = time[1:] > time[:-1]
    later[starts] = True
    repeated = int((~later).sum())
    station, metric = (_ranks_at(table, name, starts) for name in parquet.TAGS)
    rising = np.where(station[1:] == station[:-1], metric[1:] > metric[:-1], station[1:] > station[:-1])
    disordered = int((~rising).sum())
    return CheckResult(
        "no_duplicates",
        not repeated and not disordered,
        True,
        f"{repeated} rows repeat or step back in time, {disordered} series are repeated or out of order"
        if repeated or disordered
        else "every station, metric and time occurs once, in order",
        {"duplicates": repeated + disordered},
    )


def _ranks_at(table: pa.Table, column: str, rows: np.ndarray) -> np.ndarray:
    """The ranks of a column's names at some rows, in the order of the names."""
    if not len(rows):
        return rows
    codes, names = _codes_at(parquet.unified(table), column, rows)
    return np.unique(np.array(names, dtype=object), return_inverse=True)[1][codes]


def _schema(table: pa.Table, expected: pa.Schema) -> CheckResult:
    problems = [
        f"{field.name}: expected {field.type}, found "
        + (str(table.schema.field(field.name).type) if field.name in table.schema.names else "nothing")
        for field in expected
        if field.name not in table.schema.names or table.schema.field(field.name).type != field.type
    ]
    nulls = [f.name for f in expected if f.name in table.schema.names and not f.nullable and table[f.name].null_count]
    problems += [f"{name}: holds nulls" for name in nulls]
    return CheckResult("schema", not problems, True, "; ".join(problems) or "as expected")


def summarize(check: str, outcomes: Sequence[tuple[str, CheckResult]]) -> tuple[bool, bool, str]:
    """Sum up a check over the days of a run, by partition key: passed, error, and a text naming the failed days."""
    failed = [(key, result) for key, result in outcomes if not result.passed]
    if not failed:
        return True, False, f"passed on {len(outcomes)} days"
    named = ", ".join(key for key, _ in failed[:10]) + (" ..." if len(failed) > 10 else "")
    return False, any(result.error for _, result in failed), f"failed on {len(failed)} of {len(outcomes)} days: {named}"
