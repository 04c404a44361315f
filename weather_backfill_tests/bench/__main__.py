"""`python -m weather_backfill_tests.bench [--quick] [--runs N] [NAME ...]`: benchmarks by name or number, or all.

Results go to docs/benchmarks.json, each in place of an older one of its name, so the page may be made from runs of
different times. `report` makes docs/benchmarks.md, docs/benchmarks.png and the README's table from them.

Exit code 1 if a target is missed. `--quick` takes smaller inputs and one run: it shows that the benchmarks work,
and its ratios mean little.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from weather_backfill_tests.bench import (
    bench_api,
    bench_archive,
    bench_dwd,
    bench_ghcnh,
    bench_orchestration,
    bench_query,
    bench_range,
    bench_refine,
    bench_scale,
)
from weather_backfill_tests.bench.harness import DATA, PROJECT, Comparison, Options
from weather_backfill_tests.bench.report import write_report

BENCHMARKS: dict[str, Callable[[Options], Iterable[Comparison]]] = {
    "api": bench_api.run,
    "archive": bench_archive.run,
    "refine": bench_refine.run,
    "dwd": bench_dwd.run,
    "orchestration": bench_orchestration.run,
    "scale": bench_scale.run,
    "query": bench_query.run,
    "range": bench_range.run,
    "ghcnh": bench_ghcnh.run,
}
NUMBERS = {str(number): name for number, name in enumerate(BENCHMARKS, 1)}
REPORT = "report"


def main(arguments: list[str]) -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m weather_backfill_tests.bench")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} or 1 to {len(BENCHMARKS)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="smaller inputs, one run")
    parser.add_argument("--runs", type=int, help="runs of each side that is not slow (3; 1 with --quick)")
    parser.add_argument("--thorough", action="store_true", help="hours: slow peers to their end, more ways and runs")
    parser.add_argument("--peer-python", type=Path, default=PROJECT / ".bench-venv" / "bin" / "python")
    parser.add_argument("--folder", type=Path, default=DATA, help="where inputs and outputs lie")
    given = parser.parse_args(arguments)
    if given.names == [REPORT]:
        print("\n".join(map(str, write_report())))
        return 0
    names = [NUMBERS.get(name, name) for name in given.names]
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    # absolute, not resolved: a virtual environment's python is a link out of it
    runs = given.runs or (1 if given.quick else 3)
    options = Options(runs, given.quick, given.peer_python.absolute(), given.folder.absolute(), given.thorough)
    comparisons: list[Comparison] = []
    failed: list[str] = []
    for name in names or BENCHMARKS:
        began = time.monotonic()
        for comparison in _results(name, options, failed):
            comparison.write(options)
            print(comparison.markdown(), flush=True)
            comparisons.append(comparison)
        print(f"  {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    targets = [target for comparison in comparisons for target in comparison.targets]
    print("### Targets\n\n" + "\n".join(f"- {target}" for target in targets))
    for text in failed:
        print(f"- FAILED {text}")
    return 0 if all(target.met for target in targets) and not failed else 1


def _results(name: str, options: Options, failed: list[str]) -> Iterator[Comparison]:
    """A benchmark's comparisons as they come; one that breaks is noted, and the others go on."""
    try:
        yield from BENCHMARKS[name](options)
    except Exception as error:
        traceback.print_exc()
        failed.append(f"{name}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
