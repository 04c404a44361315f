"""`python -m weather_backfill_tests.bench [--quick] [--runs N] [api|archive|refine|range|dwd ...]`: all, then
a summary.

Exit code 1 if a target is missed. `--quick` takes smaller inputs and one run: it shows that the benchmarks work,
and its ratios mean little.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weather_backfill_tests.bench import bench_api, bench_archive, bench_dwd, bench_range, bench_refine
from weather_backfill_tests.bench.harness import PROJECT, RESULTS, Comparison, Options

BENCHMARKS = {
    "api": bench_api.run,
    "archive": bench_archive.run,
    "refine": bench_refine.run,
    "range": bench_range.run,
    "dwd": bench_dwd.run,
}


def main(arguments: list[str]) -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m weather_backfill_tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller inputs, one run")
    parser.add_argument("--runs", type=int, help="runs of each side (5; 1 with --quick)")
    parser.add_argument("--peer-python", type=Path, default=PROJECT / ".bench-venv" / "bin" / "python")
    parser.add_argument("--folder", type=Path, default=RESULTS / "data", help="where inputs and outputs lie")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if not given.peer_python.exists():
        parser.error(f"{given.peer_python} is not there: `make bench` sets the peers' environment up")
    # absolute, not resolved: a virtual environment's python is a link out of it
    options = Options(given.runs or (1 if given.quick else 5), given.quick, given.peer_python.absolute(), given.folder)
    comparisons: list[Comparison] = []
    for name in given.names or BENCHMARKS:
        for comparison in BENCHMARKS[name](options):
            comparison.write(options)
            print(comparison.markdown(), flush=True)
            comparisons.append(comparison)
    targets = [target for comparison in comparisons for target in comparison.targets]
    print("### Targets\n\n" + "\n".join(f"- {target}" for target in targets))
    return 0 if all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
