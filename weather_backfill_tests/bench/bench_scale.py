"""6. Scale: 10, 100 and 1,000 tenants with a year each, in Dagster's event log and in the lake."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from weather_backfill_tests.bench.data import trivial_archive
from weather_backfill_tests.bench.harness import PACKAGE, Comparison, Options, Result, Side, Target, compare
from weather_backfill_tests.bench.scale_data import many

# What it is called, what it may take for 100 tenants, in seconds.
OPERATIONS = {
    "plan": ("plan of every tenant's year", 10),
    "launch": ("launch of five years", None),
    "tick": ("sensor tick", 5),
    "gaps": ("look for gaps in every tenant's year", None),
    "status": ("status of all backfills", 2),
    "page": ("Dagster's page of partitions", None),
}
_NOISE_SECONDS = 0.5  # below this, a ratio is chance
_GROWTH = 1.3  # times linear
_MOST_RUNS = 3
_LIMITED = 100  # tenants that a limit is for; more than these run once


def run(options: Options) -> Sequence[Comparison]:
    """One comparison an operation, its sides the numbers of tenants."""
    days, sizes = (20, [5, 10]) if options.quick else (365, [10, 100, 1000])
    options = replace(options, runs=min(options.runs, _MOST_RUNS))
    folder = options.folder.absolute()
    archive = trivial_archive(folder, 365)
    platforms = {size: many(folder, archive, days, size) for size in sizes}
    return [_operation(name, platforms, archive, days, options) for name in OPERATIONS]


def _operation(operation: str, platforms: Mapping[int, Path], archive: Path, days: int, options: Options) -> Comparison:
    words, limit = OPERATIONS[operation]
    sides = {
        size: Side(
            f"{size:,} tenants",
            Path(sys.executable),
            [f"{PACKAGE}.scaled", operation, str(root), str(archive), str(days)],
            slow=size > _LIMITED and not options.thorough,
        )
        for size, root in platforms.items()
    }
    results = compare(list(sides.values()), options)
    title = f"6. {words[0].upper()}{words[1:]}, {days} days each"
    targets = [
        Target(f"{title}: seconds for {size} tenants", results[side.name].seconds, limit, at_least=False)
        for size, side in sides.items()
        if limit and size == _LIMITED
    ]
    return Comparison(f"scale_{operation}", title, results, [*targets, *_growth(title, sides, results)])


def _growth(title: str, sides: Mapping[int, Side], results: Mapping[str, Result]) -> list[Target]:
    """Ten times the tenants may take ten times as long, and a little for what is measured is never the same."""
    found = []
    for fewer, more in zip(sides, list(sides)[1:], strict=False):
        few, many_ = results[sides[fewer].name].seconds, results[sides[more].name].seconds
        linear = max(few, _NOISE_SECONDS) * more / fewer
        text = f"{title}: {more:,} tenants against {fewer:,}, times linear growth"
        found.append(Target(text, many_ / linear, _GROWTH, at_least=False))
    return found
