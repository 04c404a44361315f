"""5. Orchestration: from a request of 30 or 365 days to its end, through real servers and the daemon's real ticks.

Two kinds of work: a trivial day (one station that reports twice an hour, one object) and a real one (five
stations, a report a minute, 120 objects). The peers: a bare loop over the product's functions, plain Dagster with
one run a day, and Airflow's backfill, whose task does nothing at all: what it takes is Airflow's own.

A whole grid of this takes hours, so each side runs once, real work is asked for by Dagster's page alone and stands
beside the loop alone, and a peer that is not done with a year after `_PATIENCE` seconds is stopped: its seconds
are a lower bound then, and the page says how much of it was done. `--thorough` runs everything to its end, three
times.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from weather_backfill_tests.bench.airflow import NAME as AIRFLOW_NAME
from weather_backfill_tests.bench.data import DAY, range_archive, trivial_archive
from weather_backfill_tests.bench.environments import AIRFLOW, python_with
from weather_backfill_tests.bench.harness import PACKAGE, Comparison, Options, Result, Side, Target, compare

STATIONS, MINUTES_PER_OBJECT = 5, 60
WAYS = {"dagit": "by Dagster's page", "cli": "by the command line", "sensor": "by the sensor"}
_TIMES_LOOP, _MORE_SECONDS = 1.5, 90
_LONG = 30  # a longer peer is stopped after
_PATIENCE = 90


def run(options: Options) -> Iterator[Comparison]:
    """Both lengths, both kinds of work; the one with the target first, for all of it takes long."""
    lengths = [5] if options.quick else [365, 30]
    options = options if options.thorough else replace(options, runs=1)
    works = ["trivial"] if options.quick else ["trivial", "real"]
    for work in works:
        for days in lengths:
            yield _compare(work, _archive(work, days, options), days, options)


def _archive(work: str, days: int, options: Options) -> Path:
    """An archive of just the days: the sensor takes all that there are."""
    if work == "trivial":
        return trivial_archive(options.folder, days)
    return range_archive(options.folder, days, STATIONS, MINUTES_PER_OBJECT)


def _compare(work: str, archive: Path, days: int, options: Options) -> Comparison:
    out = options.folder / "out" / "orchestration"
    ways = WAYS if work == "trivial" or options.thorough else {"dagit": WAYS["dagit"]}
    patience = [str(_PATIENCE)] if days > _LONG and not options.thorough else []
    asked = [_side(words, way, archive, out, days) for way, words in ways.items()]
    loop = Side.ours("bare loop", "range-loop", str(archive), str(out), DAY.isoformat(), str(days))
    sides = [*asked, loop]
    if work == "trivial" or options.thorough:
        sides.append(_side("plain Dagster, one run a day", "plain", archive, out, days, patience))

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)

    results = compare(sides, options, before_each=clear)
    if work == "trivial":
        results |= _airflow(out, days, patience, options)
        clear()
    title = f"5. A request of {days} days, {work} work, from asking to complete"
    limit = _TIMES_LOOP * results[loop.name].seconds + _MORE_SECONDS
    targets = [
        Target(f"{title} {side.name}: seconds, against 1.5 loops + 90", results[side.name].seconds, limit, False)
        for side in asked
    ]
    return Comparison(f"orchestration_{work}_{days}", title, results, targets)


def _airflow(out: Path, days: int, patience: list[str], options: Options) -> dict[str, Result]:
    """Airflow's result, if it can be had."""
    python = python_with(options.folder / "airflow", AIRFLOW)
    if not python:
        return {}
    shutil.rmtree(out, ignore_errors=True)
    side = Side(AIRFLOW_NAME, python, [f"{PACKAGE}.airflow", str(out), str(days), *patience], slow=True)
    try:
        return compare([side], options)
    except RuntimeError as error:  # what is Airflow's trouble is not ours
        print(f"Airflow is left out: {error}", file=sys.stderr, flush=True)
        return {}


def _side(name: str, way: str, archive: Path, out: Path, days: int, patience: Sequence[str] = ()) -> Side:
    arguments = [f"{PACKAGE}.orchestrated", way, str(archive), str(out), DAY.isoformat(), str(days), *patience]
    return Side(name, Path(sys.executable), arguments, slow=way == "plain")
