"""Runs a parser's cases, in a process of its own where one may bring its process down."""

from __future__ import annotations

import faulthandler
import multiprocessing
import random
import resource
import time
import traceback
from collections import Counter
from dataclasses import astuple
from typing import Any

from weather_backfill.model.errors import WeatherError
from weather_backfill_tests.hostile.parsers import CASES

MEMORY_MB = 1500  # what a parser's process may grow to, libraries included
GROWTH_MB = 300  # what it may grow by where it was larger before
SECONDS = 10.0  # that a single input may take
ROWS = ("rows_in", "rows_out", "rejects", "duplicates")


def run(name: str, seed: str, inputs: int) -> dict[str, Any]:
    """One parser's inputs: counts, the slowest, and defects by their kind with one number to make them again."""
    counts: Counter[str] = Counter(inputs=inputs)
    defects: dict[str, list[Any]] = {}
    slowest, before = 0.0, _peak_mb()
    for number in range(inputs):
        started = time.monotonic()
        try:
            outcome = CASES[name](random.Random(f"{seed}/{name}/{number}"))
            counts["accepted"] += 1
            counts.update(dict(zip(ROWS, astuple(outcome), strict=True)))
        except WeatherError:
            counts["refused"] += 1
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {last.filename.rsplit('/', 1)[-1]}:{last.lineno}: {str(error)[:150]}"
            defects.setdefault(kind.split(": ")[0], [0, number, kind])[0] += 1
        slowest = max(slowest, time.monotonic() - started)
    memory = _peak_mb()
    if memory > max(MEMORY_MB, before + GROWTH_MB):  # other tests may have been in this process before
        defects["memory"] = [1, -1, f"{memory} MB of memory"]
    if slowest > SECONDS:
        defects["time"] = [1, -1, f"{slowest:.1f} s for one input"]
    return {**counts, "slowest": slowest, "memory": memory, "defects": list(defects.values())}


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run_apart(name: str, seed: str, inputs: int) -> dict[str, Any]:
    """As `run`, in a new process; its death is a defect."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(False)
    process = context.Process(target=_child, args=(theirs, name, seed, inputs))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        process.join()
        return {"inputs": inputs, "defects": [[1, -1, f"the process died with {process.exitcode}"]]}
    process.join()
    return found


def _child(pipe: Any, name: str, seed: str, inputs: int) -> None:
    faulthandler.enable()
    pipe.send(run(name, seed, inputs))
