"""CPU and memory of servers and everything they start, read from /proc; zero where there is no /proc."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_EVERY = 0.5


class Watch:
    """Looks twice a second at all processes of some sessions: CPU seconds together, and the most memory at once.

    Memory that processes share counts in each of them, so the figure is an upper limit.
    """

    def __init__(self, sessions: Sequence[int]) -> None:
        self._sessions, self._stop = set(sessions), threading.Event()
        self._cpu: dict[int, float] = {}
        self._before: dict[int, float] = {}
        self.peak_bytes = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds since the watch began; those of a process's last half second may be missing."""
        return sum(seconds - self._before.get(pid, 0) for pid, seconds in self._cpu.items())

    def __enter__(self) -> Watch:
        self._look()
        self._before = dict(self._cpu)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        held = 0
        for entry in Path("/proc").glob("[0-9]*/stat") if Path("/proc").exists() else ():
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended between listing and reading
                continue
            if int(fields[3]) in self._sessions:
                self._cpu[int(entry.parent.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
                held += int(fields[21]) * _PAGE
        self.peak_bytes = max(self.peak_bytes, held)
