"""`python -m weather_backfill_tests.hostile`: many hostile inputs, a table of what came of them.

`WEATHER_HOSTILE_INPUTS` says how many in all (100,000), `WEATHER_HOSTILE_SEED` which ones, `WEATHER_HOSTILE_ONLY` one
parser. An input is known by seed, parser and number, and is made again from them. Each parser runs in a process of
its own, so that even one that brings its process down is named. Exits with 1 if there is a defect.
"""

from __future__ import annotations

import os
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from weather_backfill_tests.hostile.parsers import CASES
from weather_backfill_tests.hostile.running import ROWS, run_apart


def main() -> int:
    """Run all parsers and print the table."""
    inputs = int(os.environ.get("WEATHER_HOSTILE_INPUTS", "100000"))
    seed = os.environ.get("WEATHER_HOSTILE_SEED", "1")
    only = os.environ.get("WEATHER_HOSTILE_ONLY")
    names = [only] if only else list(CASES)
    shown = Table(title=f"{inputs} hostile inputs, seed {seed}")
    columns = ("inputs", "accepted", "refused", *ROWS)
    for heading in ("parser", *(c.replace("_", " ") for c in columns), "slowest ms", "MB", "defects"):
        shown.add_column(heading, justify="left" if heading == "parser" else "right")
    totals: Counter[str] = Counter()
    defects: list[str] = []
    for place, name in enumerate(names):
        found = run_apart(name, seed, inputs // len(names) + (place < inputs % len(names)))
        totals.update({column: found.get(column, 0) for column in columns})
        defects += [f"{name} {number}: {text} ({times} times)" for times, number, text in found["defects"]]
        cells = [f"{found.get(column, 0):,}" for column in columns]
        slowest = f"{found.get('slowest', 0) * 1000:.0f}"
        shown.add_row(name, *cells, slowest, str(found.get("memory", "")), str(len(found["defects"])))
    shown.add_section()
    shown.add_row("all", *(f"{totals[column]:,}" for column in columns), "", "", str(len(defects)))
    console = Console(width=max(Console().width, 150))
    console.print(shown)
    for defect in defects:
        console.print(defect, markup=False, soft_wrap=True)
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
