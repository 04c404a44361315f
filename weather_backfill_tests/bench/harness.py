"""Runs the sides of a comparison in turns, each in a process of its own, and judges the medians.

Sides alternate (A B A B ...), so that a machine that slows down halfway slows both. CPU seconds stand beside
seconds, because a busy machine disturbs them less.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from weather_backfill_tests.bench.measured import MARK

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = PROJECT / "docs" / "benchmarks.json"
QUICK_RESULTS = PROJECT / "build" / "bench" / "quick.json"
DATA = PROJECT / "build" / "bench" / "data"
MEDIANS = ("seconds", "cpu_seconds", "peak_bytes", "output_bytes", "done")
PACKAGE = "weather_backfill_tests.bench"


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: how often, in what size, where the peers' Python and the inputs are, and whether slow peers may
    take all the time they need.
    """

    runs: int
    quick: bool
    peer_python: Path
    folder: Path
    thorough: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """One way of doing the work: a module of this package with its arguments; one that is slow runs once."""

    name: str
    python: Path
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False

    @classmethod
    def ours(cls, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Side:
        """The product, in this environment."""
        return cls(name, Path(sys.executable), [f"{PACKAGE}.ours", *arguments], environment or {})

    @classmethod
    def peer(
        cls, python: Path, name: str, *arguments: str, environment: Mapping[str, str] | None = None, slow: bool = False
    ) -> Side:
        """Another way, in the peers' environment."""
        return cls(name, python, [f"{PACKAGE}.peers", *arguments], environment or {}, slow)


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of one side, and the seconds of every run; `done` is below 1 where the side was stopped."""

    seconds: float
    cpu_seconds: float
    peak_bytes: float
    output_bytes: float
    done: float
    all_seconds: list[float]


@dataclass(frozen=True, slots=True)
class Target:
    """A number that must stay within a limit."""

    text: str
    value: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{'met   ' if self.met else 'MISSED'} {self.text}: {self.value:.2f} ({sign} {self.limit:g})"


def _ratio(value: float, ours: float) -> str:
    """Nothing where our side took less than the clock of CPU seconds tells."""
    return f"{value / ours:.2f}" if ours else ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All sides of one benchmark and the targets judged from them; the first side is ours."""

    name: str
    title: str
    results: Mapping[str, Result]
    targets: Sequence[Target]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """A table with ratios against our side."""
        ours = next(iter(self.results.values()))
        lines = [
            f"### {self.title}",
            "",
            "| side | seconds | x ours | CPU seconds | x ours | peak MB | x ours | output MB | seconds of all runs |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---|",
        ]
        for side, r in self.results.items():
            every = " ".join(f"{s:.2f}" for s in r.all_seconds)
            lines.append(
                f"| {side} | {r.seconds:.2f} | {_ratio(r.seconds, ours.seconds)} "
                f"| {r.cpu_seconds:.2f} | {_ratio(r.cpu_seconds, ours.cpu_seconds)} "
                f"| {r.peak_bytes / 1e6:.0f} | {_ratio(r.peak_bytes, ours.peak_bytes)} "
                f"| {r.output_bytes / 1e6:.2f} | {every} |"
            )
        return "\n".join([*lines, "", *(f"- {line}" for line in (*self.targets, *self.notes)), ""])

    def write(self, options: Options) -> Path:
        """The same as JSON, in place of what the file held of this comparison; other comparisons stay."""
        path = QUICK_RESULTS if options.quick else RESULTS
        path.parent.mkdir(parents=True, exist_ok=True)
        held = json.loads(path.read_text()) if path.exists() else {}
        held[self.name] = {
            "title": self.title,
            "quick": options.quick,
            "machine": machine(),
            "sides": {side: asdict(result) for side, result in self.results.items()},
            "targets": [asdict(target) | {"met": target.met} for target in self.targets],
            "notes": list(self.notes),
        }
        path.write_text(json.dumps(dict(sorted(held.items())), indent=1) + "\n")
        return path


def machine() -> dict[str, Any]:
    """Where and with what this was measured, and how busy the machine was with other things when it ended."""
    packages = ("dagster", "pyarrow", "duckdb", "obstore")
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in packages},
    }


def run_side(side: Side) -> dict[str, float]:
    """One run of one side in its own process; raises with its output if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), **side.environment}
    done = subprocess.run(
        [str(side.python), "-m", *side.arguments], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    found = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not found:
        raise RuntimeError(f"{side.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(found[-1].removeprefix(MARK)))


def _there(side: Side) -> bool:
    if side.python.exists():
        return True
    print(f"  {side.name} is left out: there is no {side.python}", file=sys.stderr, flush=True)
    return False


def compare(
    sides: Sequence[Side], options: Options, before_each: Callable[[], None] = lambda: None
) -> dict[str, Result]:
    """Run all sides in turns; `before_each` clears what a run leaves behind."""
    sides = [side for side in sides if _there(side)]
    runs: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
    for number in range(options.runs):
        for side in sides:
            if side.slow and number:
                continue
            before_each()
            runs[side.name].append(run_side(side))
            seconds = runs[side.name][-1]["seconds"]
            print(f"  run {number + 1} of {options.runs}: {side.name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return {
        name: Result(
            **{what: median(run[what] for run in found) for what in MEDIANS},
            all_seconds=[round(run["seconds"], 3) for run in found],
        )
        for name, found in runs.items()
    }
