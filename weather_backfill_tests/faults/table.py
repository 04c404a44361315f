"""What came of the faults, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from weather_backfill_tests.faults.cells import Outcome

FOLDER = Path(__file__).resolve().parents[2] / "build" / "faults"
"""Where results go; `make clean` takes it away."""


def row(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a row of JSON."""
    cell = outcome.cell
    return {
        "fault": f"S3 {cell.kind}" if cell.server else cell.kind, "point": cell.point, "nth": cell.nth,
        "store": cell.store, "reached": outcome.reached, "retries": outcome.retries, "survived": outcome.survived,
        "given_up": outcome.given_up,
        "seconds": round(outcome.seconds, 1), "problems": [problem[:2000] for problem in outcome.problems],
    }  # fmt: skip


def append(row: dict[str, Any], name: str) -> None:
    """Add a row to the results of this name, JSON lines; safe with several writers."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def collect(name: str) -> list[dict[str, Any]]:
    """The rows of a name."""
    path = FOLDER / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def forget(name: str) -> None:
    """Begin anew."""
    (FOLDER / f"{name}.jsonl").unlink(missing_ok=True)


def show(rows: Iterable[dict[str, Any]], title: str, console: Console | None = None) -> None:
    """Faults by points: survived/tried, `r` where a person had to run it again at least once."""
    rows = list(rows)
    points = [point for point in _ORDER if any(r["point"] == point for r in rows)]
    table = Table(title=title)
    for heading in ("fault", "store", *points, "survived", "seconds"):
        table.add_column(heading, justify="left" if heading in ("fault", "store") else "right")
    for fault, store in dict.fromkeys((r["fault"], r["store"]) for r in rows):
        own = [r for r in rows if (r["fault"], r["store"]) == (fault, store) and r["reached"]]
        cells = [_cell([r for r in own if r["point"] == point]) for point in points]
        table.add_row(fault, store, *cells, _cell(own).rstrip("rk"), f"{sum(r['seconds'] for r in own):.0f}")
    reached = [r for r in rows if r["reached"]]
    table.add_section()
    table.add_row(
        "all", "", *(_cell([r for r in reached if r["point"] == p]).rstrip("rk") for p in points),
        _cell(reached).rstrip("rk"), f"{sum(r['seconds'] for r in reached):.0f}",
    )  # fmt: skip
    console = console or Console(width=170)
    console.print(table)
    console.print(
        "survived/tried; r: run again by hand; k: killed first, as it did not end; else the run itself got over it"
    )


def markdown(rows: Iterable[dict[str, Any]]) -> str:
    """The same for a page."""
    reached = [r for r in rows if r["reached"]]
    points = [point for point in _ORDER if any(r["point"] == point for r in reached)]
    lines = ["| fault | " + " | ".join(points) + " |", "|---|" + "---|" * len(points)]
    for fault, store in dict.fromkeys((r["fault"], r["store"]) for r in reached):
        own = [r for r in reached if (r["fault"], r["store"]) == (fault, store)]
        where = "" if store == "local" or fault.startswith("S3") else f", {_WHERE[store]}"
        cells = " | ".join(_cell([r for r in own if r["point"] == point]) for point in points)
        lines.append(f"| {fault}{where} | {cells} |")
    return "\n".join(lines)


_WHERE = {"s3": "lake on S3", "daemon": "under a daemon", "order": "`start`"}
_ORDER = ("list", "fetch", "decode", "check", "write", "place", "verify", "begin", "record", "event", "refine", "audit")


def _cell(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    mark = "k" if any(r.get("given_up") for r in rows) else "r" if any(r["retries"] for r in rows) else ""
    return f"{sum(r['survived'] for r in rows)}/{len(rows)}{mark}"
