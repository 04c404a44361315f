"""What a measured process says of itself. Standard library only: the peers' environment loads it too."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

MARK = "measured: "


def peak_bytes() -> int:
    """The most memory this process has held.

    Linux's `ru_maxrss` keeps what the parent held when it started us; the high-water mark in /proc is our own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(work: Callable[[], Path]) -> None:
    """Run the work, which returns the file or folder it wrote, and print seconds, peak memory and bytes written.

    Imports lie before the clock starts, on every side; their memory counts.
    """
    started, cpu = time.perf_counter(), time.process_time()
    output = work()
    say(time.perf_counter() - started, time.process_time() - cpu, peak_bytes(), output)


def say(seconds: float, cpu_seconds: float, peak: float, output: Path | int, done: float = 1.0) -> None:
    """Print what was measured, and the bytes of the file or folder that was written (or those bytes).

    `done` is the share of the work that was done when a slow side was stopped: its seconds are a lower bound.
    """
    found = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak,
        "done": done,
        "output_bytes": output if isinstance(output, int) else _bytes_below(output),
    }
    print(MARK + json.dumps(found), flush=True)


def _bytes_below(output: Path) -> int:
    files = [p for p in output.rglob("*") if p.is_file()] if output.is_dir() else [output]
    return sum(f.stat().st_size for f in files)
