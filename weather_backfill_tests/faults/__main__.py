"""`python -m weather_backfill_tests.faults --seconds 600 --seed 1`: random faults, one after the other.

Each step is a new platform that meets one to three faults in a row, drawn from the seed: the first in the first run,
the next in its retry, and so on; then the command is run until it succeeds, and the lake has to be the undisturbed
one. Without `--seconds`: the table of what `make test-faults` has found. Exits with 1 if anything did not survive.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time

from weather_backfill_tests.faults import points, proxy, table
from weather_backfill_tests.faults.cells import BY_PROCESS, CALLS, FITTING, Cell, reason_to_skip, try_cells
from weather_backfill_tests.faults.scene import CREDENTIALS, Stage, staged

MATRIX, RANDOM = "matrix", "random"


def draw(rng: random.Random) -> list[Cell]:
    """One to three faults for one platform."""
    store = rng.choice(("local", "s3"))
    return [draw_one(rng, store) for _ in range(rng.choice((1, 1, 2, 3)))]


def draw_one(rng: random.Random, store: str) -> Cell:
    """A fault at any call of any point."""
    if store == "s3" and rng.random() < 0.5:
        kind = rng.choice([kind for kind in proxy.KINDS if kind != "time-out"])  # that one costs a minute each
        point = rng.choice(list(FITTING.get(kind, proxy.POINTS)))
        return Cell(point, kind, rng.randint(1, CALLS[point]), store, server=True)
    there = [k for k in BY_PROCESS if reason_to_skip(k) is None and not (store == "s3" and k == "disk full")]
    point = rng.choice([point for point in points.POINTS if not (store == "s3" and point == "place")])
    return Cell(point, rng.choice(there), rng.randint(1, CALLS[point]), store)


def go_on(stage: Stage, seconds: float, seed: int) -> list[dict]:
    """Random steps until time is up; the rows of all of their faults."""
    rng, end, number = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number += 1
        cells = draw(rng)
        outcomes = try_cells(stage, cells)
        for outcome in outcomes:
            table.append({**table.row(outcome), "step": number, "seed": seed}, RANDOM)
        word = "survived" if not any(o.problems for o in outcomes) else "LOST"
        print(
            f"{number:4} {word}: "
            + "; then ".join(f"{o.cell}{'' if o.reached else ' (not reached)'}" for o in outcomes)
        )
        for problem in [p for o in outcomes for p in o.problems]:
            print("     ", problem)
        sys.stdout.flush()
    return table.collect(RANDOM)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m weather_backfill_tests.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, help="how long; without it the table of the matrix is shown")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="the matrix's table as in docs/trust.md")
    given = parser.parse_args()
    if given.seconds is None:
        rows, title = table.collect(MATRIX), "Each fault at each point"
    else:
        os.environ |= CREDENTIALS
        table.forget(RANDOM)
        with staged() as stage:
            rows = go_on(stage, given.seconds, given.seed)
        title = f"Random faults for {given.seconds:.0f} s, seed {given.seed}, {rows[-1]['step']} steps"
    if given.markdown:
        print(table.markdown(rows))
    else:
        table.show(rows, title)
    return 0 if rows and all(row["survived"] or not row["reached"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
