"""The soak's table and its plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from weather_backfill_tests.soak.samples import LIMITS, Sample


def table(samples: list[Sample], growth: Mapping[str, float], events: Mapping[int, list[str]]) -> str:
    """A row a day, growth a day and its limits below."""
    names = [f.name for f in fields(Sample)]
    rich = Table(title="Soak", show_edge=False, pad_edge=False)
    for name in [*names, "events"]:
        rich.add_column(name.replace("_", "\n"), justify="left" if name == "events" else "right")
    for one in samples:
        rich.add_row(*(str(getattr(one, name)) for name in names), ", ".join(events.get(one.day, ())))
    rich.add_section()
    rich.add_row("", "a day", *(f"{growth[name]:.3f}" if name in growth else "" for name in names[2:]), "")
    rich.add_row("", "limit", *(str(LIMITS.get(name, "")) for name in names[2:]), "")
    console = Console(width=260, no_color=True)
    with console.capture() as captured:
        console.print(rich)
    return captured.get()


def draw(samples: list[Sample], path: Path) -> Path:
    """Memory, files and connections, event log and ticks, by day."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {
        "memory (MB)": ("daemon_used_mb", "daemon_mb", "code_mb"),
        "files, threads, connections": (
            "daemon_files", "code_files", "daemon_threads", "code_threads", "daemon_connections", "code_connections",
        ),
        "event log (MB), partitions": ("event_log_mb", "partitions"),
        "sensors' ticks (s)": ("tick_median", "tick_longest"),
    }  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True, layout="constrained")
    days = [one.day for one in samples]
    for panel, (title, names) in zip(axes.flat, panels.items(), strict=True):
        for name in names:
            panel.plot(days, [getattr(one, name) for one in samples], label=name.replace("_", " "))
        panel.set_title(title, fontsize=10)
        panel.set_ylim(bottom=0)
        panel.legend(fontsize=7, frameon=False)
    for panel in axes[1]:
        panel.set_xlabel("simulated day")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def write(
    folder: Path, samples: list[Sample], growth: Mapping[str, float], found: Mapping[str, Any], text: str
) -> None:
    """`soak.json`, `soak.txt` and `soak.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"samples": [asdict(one) for one in samples], "growth": dict(growth), **found}
    (folder / "soak.json").write_text(json.dumps(document, indent=2, default=str))
    (folder / "soak.txt").write_text(text)
    draw(samples, folder / "soak.png")
