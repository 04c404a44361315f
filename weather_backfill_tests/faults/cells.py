"""The matrix: each fault at each point of the path by the command line, and what came of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace

from weather_backfill_tests.clocks import NO_LIBRARY, faketime_library
from weather_backfill_tests.faults import kinds, points, proxy
from weather_backfill_tests.faults.scene import Scene, Stage

MIDWAY = {
    "list": 8, "fetch": 30, "decode": 3, "check": 11, "write": 4, "place": 4, "verify": 4, "begin": 5, "record": 5,
    "event": 5, "refine": 3, "audit": 1,
}  # fmt: skip
"""Which call of a point is about the middle of the run: some days are done, others not."""
CALLS = {
    "list": 24, "fetch": 60, "decode": 8, "check": 16, "write": 16, "place": 16, "verify": 16, "begin": 16,
    "record": 16, "event": 16, "refine": 8, "audit": 2,
}  # fmt: skip
"""At least so many calls each point has in a whole run."""
BY_PROCESS = (
    "exception", "time-out", "kill run", "disk full", "home disk full", "memory limit", "database busy",
    "database locked", "database gone", "clock over midnight", "clock over DST", "clock back",
)  # fmt: skip
FITTING = {
    "404": ("fetch", "refine"),
    "truncated body": ("list", "fetch", "refine"),
    "stale ETag": ("verify",),
    "answer lost": ("write", "begin", "record", "audit"),
    "time-out": ("fetch", "write"),
}
"""Where a fault of the server can be; the others can be anywhere. A time-out costs the minute that the client waits."""
ENOUGH = {
    "home disk full": ("fetch", "record", "event", "audit"),
    "database busy": ("check", "event"),
    "clock back": ("write", "event"),
}
"""Where these faults of the process are tried by the matrix: elsewhere they are what a neighbour in the list is."""


@dataclass(frozen=True)
class Cell:
    """One fault at one point: at its `nth` call, the lake local or on S3."""

    point: str
    kind: str
    nth: int
    store: str = "local"
    server: bool = False
    """Whether the S3 server is at fault, not the process."""

    def __str__(self) -> str:
        return f"{'S3 ' if self.server else ''}{self.kind} at {self.point} {self.nth}, {self.store}"


@dataclass(frozen=True)
class Outcome:
    """What came of it. `reached`: the fault did happen; `retries`: how often a person had to run the command again;
    `given_up`: whether the person had to kill it first, as it did not end."""

    cell: Cell
    reached: bool
    retries: int = 0
    seconds: float = 0
    problems: list[str] = field(default_factory=list)
    given_up: bool = False

    @property
    def survived(self) -> bool:
        return self.reached and not self.problems


def by_process() -> list[Cell]:
    """Faults inside the run's process: all at all points over a local lake, kill -9 on S3 too."""
    found = [Cell(point, kind, MIDWAY[point]) for kind in BY_PROCESS for point in ENOUGH.get(kind, points.POINTS)]
    return found + [Cell(point, "kill run", MIDWAY[point], "s3") for point in points.POINTS if point != "place"]


def by_server() -> list[Cell]:
    """Faults of the S3 server."""
    return [
        Cell(point, kind, min(MIDWAY[point], 6), "s3", server=True)
        for kind in proxy.KINDS
        for point in proxy.POINTS
        if point in FITTING.get(kind, proxy.POINTS)
    ]


def diagonals(cells: list[Cell]) -> list[Cell]:
    """The same in another order: a matrix that is cut short has met each fault somewhere and each point with some."""
    faults = list(dict.fromkeys((cell.kind, cell.store) for cell in cells))
    order = list(points.POINTS)
    return sorted(cells, key=lambda c: (order.index(c.point) + faults.index((c.kind, c.store))) % len(order))


def reason_to_skip(kind: str) -> str | None:
    """Why this machine cannot have a fault; None if it can."""
    if "disk" in kind and os.geteuid() != 0:
        return "a disk that can be filled is mounted by root"
    if kind in kinds.STARTS and faketime_library() is None:
        return NO_LIBRARY
    return None


def try_cell(stage: Stage, cell: Cell) -> Outcome:
    """Let the fault happen, look whether anything false is there, mend the cause, run again, compare."""
    return try_cells(stage, [cell])[0]


def try_cells(stage: Stage, cells: list[Cell]) -> list[Outcome]:
    """The same with a fault in each try: the second meets the retry of the first, and so on. One outcome a fault.

    A fault that is drawn for a retry which is not needed any more is not reached. What is wrong in the end is the
    last fault's that was reached.
    """
    store = cells[0].store
    undisturbed = stage.undisturbed(store)
    outcomes: list[Outcome] = []
    with stage.scene(store, disks=any("disk" in cell.kind for cell in cells)) as scene:
        for cell in cells:
            started = time.monotonic()
            if outcomes and not outcomes[-1].retries:
                outcomes.append(Outcome(cell, False))
                continue
            done = scene.materialize(_disturb(scene, cell))
            reached = bool(scene.proxy.spoilt if cell.server else scene.fired.exists())
            scene.mend()
            problems = scene.dishonest(undisturbed)
            again, seconds = int(done.returncode != 0), time.monotonic() - started
            outcomes.append(Outcome(cell, reached, again, seconds, problems, done.given_up))
        started = time.monotonic()
        last = max(n for n, outcome in enumerate(outcomes) if outcome.seconds)
        if outcomes[last].retries:
            retry = scene.materialize()
            if retry.returncode != 0:
                outcomes[last].problems.append(f"the retry failed: {retry.text}")
        outcomes[last].problems.extend(scene.differences(undisturbed))
    outcomes[last] = replace(outcomes[last], seconds=outcomes[last].seconds + time.monotonic() - started)
    return outcomes


def _disturb(scene: Scene, cell: Cell) -> dict[str, str]:
    """Arrange the fault; the environment that the process needs for it."""
    if not cell.server:
        return scene.fault(cell.point, cell.kind, cell.nth)
    scene.proxy.spoil(cell.point, cell.kind, cell.nth)
    return {}
