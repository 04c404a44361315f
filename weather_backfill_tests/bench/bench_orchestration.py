"""5. Orchestration: from a request of 30 or 365 days to its end, through real servers and the daemon's real ticks.

Two kinds of work: a trivial day (one station that reports twice an hour, one object) and a real one (five
stations, a report a minute, 120 objects). The peers: a bare loop over the product's functions, and plain Dagster
with one run a day (365 days of it once, because it takes so long). Airflow's task does nothing at all: what it
takes is Airflow's own.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weather_backfill_tests.bench.airflow import NAME as AIRFLOW
from weather_backfill_tests.bench.airflow import airflow_python
from weather_backfill_tests.bench.data import DAY, range_archive, trivial_archive
from weather_backfill_tests.bench.harness import PACKAGE, Comparison, Options, Result, Side, Target, compare

STATIONS, MINUTES_PER_OBJECT = 5, 60
WAYS = {"dagit": "by Dagster's page", "cli": "by the command line", "sensor": "by the sensor"}
_TIMES_LOOP, _MORE_SECONDS = 1.5, 90
_MOST_RUNS = 3
_LONGEST_PLAIN = 30


def run(options: Options) -> Sequence[Comparison]:
    """Both lengths, both kinds of work."""
    lengths = [5] if options.quick else [30, 365]
    options = replace(options, runs=min(options.runs, _MOST_RUNS), folder=options.folder.absolute())
    longest = max(lengths)
    archives = {
        "trivial": trivial_archive(options.folder, 365),
        "real": range_archive(options.folder, longest, STATIONS, MINUTES_PER_OBJECT),
    }
    works = ["trivial"] if options.quick else list(archives)
    return [_compare(work, archives[work], days, options) for days in lengths for work in works]


def _compare(work: str, archive: Path, days: int, options: Options) -> Comparison:
    out = options.folder / "out" / "orchestration"
    sides = {way: _side(words, way, archive, out, days) for way, words in WAYS.items()}
    loop = Side.ours("bare loop", "range-loop", str(archive), str(out), DAY.isoformat(), str(days))
    plain = _side("plain Dagster, one run a day", "plain", archive, out, days)
    few = [*sides.values(), loop, *([plain] if days <= _LONGEST_PLAIN else [])]

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)

    results: dict[str, Result] = compare(few, options, before_each=clear)
    once = replace(options, runs=1)
    if days > _LONGEST_PLAIN:
        results |= compare([plain], once, before_each=clear)
    if work == "trivial" and (python := airflow_python(options.folder)):
        side = Side(AIRFLOW, python, [f"{PACKAGE}.airflow", str(out), str(days)])
        try:
            results |= compare([side], once, before_each=clear)
        except RuntimeError as error:  # what is Airflow's trouble is not ours
            print(f"Airflow is left out: {error}", file=sys.stderr, flush=True)
    title = f"5. A request of {days} days, {work} work, from asking to complete"
    limit = _TIMES_LOOP * results[loop.name].seconds + _MORE_SECONDS
    targets = [
        Target(f"{title} {side.name}: seconds, against 1.5 loops + 90", results[side.name].seconds, limit, False)
        for side in sides.values()
    ]
    return Comparison(f"orchestration_{work}_{days}", title, results, targets)


def _side(name: str, way: str, archive: Path, out: Path, days: int) -> Side:
    arguments = [f"{PACKAGE}.orchestrated", way, str(archive), str(out), DAY.isoformat(), str(days)]
    return Side(name, Path(sys.executable), arguments)
