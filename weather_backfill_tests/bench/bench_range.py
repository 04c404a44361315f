"""8. A run of Dagster over a range against a plain loop over the same functions, and memory against its length."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weather_backfill_tests.bench.data import DAY, range_archive
from weather_backfill_tests.bench.harness import Comparison, Options, Side, Target, compare

STATIONS, MINUTES_PER_OBJECT = 5, 60
FIXED_SECONDS = 3.0


def run(options: Options) -> Sequence[Comparison]:
    """Overhead and memory."""
    short, days, long = (3, 10, 30) if options.quick else (10, 30, 90)
    archive = range_archive(options.folder, long, STATIONS, MINUTES_PER_OBJECT)
    out = options.folder / "out"
    return [_overhead(archive, out / "range", days, options), _memory(archive, out / "memory", short, long, options)]


def _overhead(archive: Path, out: Path, days: int, options: Options) -> Comparison:
    sides = [_side(f"Dagster run over {days} days", "range-dagster", archive, out, days)]
    sides.append(_side(f"plain loop over {days} days", "range-loop", archive, out, days))
    results = compare(sides, options, before_each=lambda: _clear(out))
    run_seconds, loop_seconds = (results[side.name].seconds for side in sides)
    title = f"8. A run over {days} days"
    value = (run_seconds - FIXED_SECONDS) / loop_seconds
    target = Target(f"{title}: seconds, less 3, against the plain loop", value, 1.5, at_least=False)
    return Comparison("range", title, results, [target])


def _memory(archive: Path, out: Path, short: int, long: int, options: Options) -> Comparison:
    sides = [_side(f"{days} days", "range-dagster", archive, out, days) for days in (short, long)]
    once = replace(options, runs=1)  # memory hardly differs from run to run
    results = compare(sides, once, before_each=lambda: _clear(out))
    few, many = (results[side.name].peak_bytes for side in sides)
    title = f"8. Memory of a run over {long} days"
    target = Target(f"{title}: peak against {short} days", many / few, 1.3, at_least=False)
    return Comparison("range_memory", title, results, [target])


def _side(name: str, work: str, archive: Path, out: Path, days: int) -> Side:
    return Side.ours(name, work, str(archive), str(out), DAY.isoformat(), str(days))


def _clear(out: Path) -> None:
    """A run starts with an empty lake and Dagster home."""
    for folder in (out, Path(f"{out}-home"), Path(f"{out}-tenants")):
        shutil.rmtree(folder, ignore_errors=True)
