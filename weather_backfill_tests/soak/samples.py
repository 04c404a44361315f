"""What is measured at the end of each day, and what may grow by how much."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import dagster as dg
import numpy as np
import psutil
from dagster._core.definitions.run_request import InstigatorType

from weather_backfill.model.partitions import tenants_partition_name
from weather_backfill.sources.registry import SERVICES
from weather_backfill_tests.soak.clock import Running

MB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """One day. Ticks are the sensors' seconds, of this day alone."""

    day: int
    seconds: float
    daemon_used_mb: float
    daemon_mb: float
    code_mb: float
    daemon_files: int
    code_files: int
    daemon_threads: int
    code_threads: int
    daemon_connections: int
    code_connections: int
    children: int
    partitions: int
    event_log_mb: float
    objects: int
    tick_median: float
    tick_longest: float
    ticks: int


LIMITS: dict[str, float] = {
    "daemon_used_mb": 0.5, "daemon_mb": 2.0, "code_mb": 1.0, "daemon_files": 0.25, "code_files": 0.25,
    "daemon_threads": 0.25, "code_threads": 0.25, "daemon_connections": 0.25, "code_connections": 0.25,
    "children": 0.1, "tick_median": 0.05,
}  # fmt: skip
"""What may grow by how much a day once it is warm. A leak of one file, thread or connection a day is over it.

`daemon_used_mb` is what the daemon has allocated, `daemon_mb` what it holds: CPython and glibc keep what was freed, and
the more runs and partitions there are, the larger is the largest thing that a tick has ever looked at.
"""


def take(running: Running, instance: dg.DagsterInstance, home: Path, objects: int, day: int, seconds: float,
         since: float) -> Sample:  # fmt: skip
    """A sample; `since` is when the day began, in the platform's time."""
    durations = tick_seconds(instance, since)
    used = round(running.daemon_in_use() / MB, 2)
    both = [_process(p) for p in (running.daemon, running.code_server)]
    (daemon, code) = both
    return Sample(
        day, round(seconds, 1), used, daemon[0], code[0], daemon[1], code[1], daemon[2], code[2], daemon[3], code[3],
        len(running.daemon.children(recursive=True)) + len(running.code_server.children(recursive=True)),
        sum(len(instance.get_dynamic_partitions(tenants_partition_name(service))) for service in SERVICES),
        round(sum(f.stat().st_size for f in home.rglob("*.db*") if f.is_file()) / MB, 2), objects,
        round(float(np.median(durations)), 3) if durations else 0.0, round(max(durations, default=0.0), 3),
        len(durations),
    )  # fmt: skip


def _process(process: psutil.Process) -> tuple[float, int, int, int]:
    with process.oneshot():
        connections = [c for c in process.net_connections("tcp") if c.status != psutil.CONN_LISTEN]
        return round(process.memory_info().rss / MB, 1), process.num_fds(), process.num_threads(), len(connections)


def tick_seconds(instance: dg.DagsterInstance, since: float) -> list[float]:
    """How long each tick of a sensor took that began since then."""
    return [
        tick.end_timestamp - tick.timestamp
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since)
        if tick.end_timestamp
    ]


def slopes(samples: list[Sample], warm: int) -> dict[str, float]:
    """Growth a day of every measure since day `warm`: the median of the slopes of all pairs (Theil and Sen), so that
    one odd day says nothing."""
    late = [asdict(one) for one in samples if one.day >= warm]
    names = [f.name for f in fields(Sample) if f.name not in ("day", "seconds", "ticks")]
    return {name: _slope([one["day"] for one in late], [one[name] for one in late]) for name in names}


def _slope(days: list[int], values: list[float]) -> float:
    pairs = [(values[b] - values[a]) / (days[b] - days[a]) for a in range(len(days)) for b in range(a + 1, len(days))]
    return float(np.median(pairs)) if pairs else 0.0


def leaks(growth: dict[str, float], limits: dict[str, float] = LIMITS) -> list[str]:
    """What grows by more than it may."""
    return [
        f"{name} grows by {growth[name]:.3f} a day, allowed {most}"
        for name, most in limits.items()
        if growth[name] > most
    ]
