"""The page about the benchmarks, its picture and the README's table, from docs/benchmarks.json."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weather_backfill_tests.bench.harness import PROJECT, RESULTS

DOCS = PROJECT / "docs"
MISSED = Path(__file__).with_name("missed.md")
_AWAY = (6, -6, 17, -17)  # points
_NO_PEERS = ("scale_", "range_memory", "query")  # their sides are sizes of our own
_OWN_LOAD = 2  # what a benchmark adds itself
_OURS_TOO = ("by ", "weather_backfill", "ours, whole")
_RERUN = """\
## Run it again

```console
make bench          # everything, 50 minutes on two idle cores; the first time half an hour more, for inputs and peers
make bench-quick    # small inputs, to see that it works: its ratios mean little
.venv/bin/python -m weather_backfill_tests.bench 3 dwd        # some of them, by number or name
.venv/bin/python -m weather_backfill_tests.bench --thorough 5 # hours: slow peers to their end
.venv/bin/python -m weather_backfill_tests.bench report       # this page from the results there are
```

Results are merged into `docs/benchmarks.json`, so the page may be made from runs of different times. Each side is a
process of its own; sides take turns (A B A B). Seconds are medians; imports lie before the clock; a peer that takes
minutes runs once. Peers have environments of their own, pinned in `weather_backfill_tests/bench/peers.txt` and
`environments.py`; one that cannot be installed is left out with a word. Spark needs Java (Debian:
`openjdk-17-jre-headless`).
"""
_LIMITS = """\
## Where Dagster itself ends, and what to do

- **The daemon looks at its backfills every 5 seconds**, where Dagster by itself looks every 30, and a request needs
  three looks: launch raw, launch refined, see the end. `backfill_tick_seconds` of the run coordinator in
  `dagster.yaml` sets it. (The figures above are of Dagster's 30.)
- **A run takes some 5 seconds of CPU to start**, most of it imports. A year of small days in runs of 30 days took 150
  to 180 s, in runs of 92 days 120 s; where a day takes seconds it makes no difference. `WEATHER_CHUNK_DAYS` sets it.
- **An asset's partitions are one value to Dagster**: the page of partitions and the backfill daemon read and
  write all of them at once, so that the page's first answer after a load takes seconds for 100 tenants with a year
  each, and most of a minute for 1,000. Our own verbs ask for a tenant's days alone and do not grow with the others.
- **Beyond that**: shard by service. Each service has assets of its own, and so status values of its own;
  several installations, each with its `DAGSTER_HOME` and its tenants, may share one lake. Begin
  `WEATHER_FIRST_DAY` where the data begins: days before it cost, too.
- **SQLite is for one machine**, and one process writes at a time. From some tens of tenants, or with runs on
  several hosts, use PostgreSQL (`deploy/postgres`).
"""


def write_report() -> list[Path]:
    """Write page, picture and README's table from whatever results there are; their paths. Raises `SystemExit` if
    there are none.
    """
    if not RESULTS.exists():
        raise SystemExit(f"there is no {RESULTS}: run `make bench` first.")
    found = [document | {"name": name} for name, document in json.loads(RESULTS.read_text()).items()]
    found.sort(key=lambda document: _order(document["title"]))
    page, picture, readme = DOCS / "benchmarks.md", DOCS / "benchmarks.png", PROJECT / "README.md"
    page.write_text(_page(found))
    peers = [document for document in found if not document["name"].startswith(_NO_PEERS)]
    draw(peers, picture)
    readme.write_text(with_table(readme.read_text(), peers))
    return [page, picture, readme]


def _order(title: str) -> tuple[int, int]:
    """The workload's number, then the first size in its title."""
    workload, *sizes = [int(number) for number in re.findall(r"\d+", title.replace(",", ""))]
    return workload, (sizes or [0])[0]


def _page(found: Sequence[dict[str, Any]]) -> str:
    parts = ["# Benchmarks", _machines(found), "![Times as long as ours, by workload](benchmarks.png)", _targets(found)]
    parts += [text] if (text := _why_missed(found)) else []
    parts += [_table(document) for document in found]
    return "\n\n".join([*parts, _LIMITS, _RERUN])


def _why_missed(found: Sequence[dict[str, Any]]) -> str:
    """The parts of missed.md about comparisons that miss a target now: their headings are the comparisons' names."""
    title, *parts = re.split(r"^## ", MISSED.read_text(), flags=re.MULTILINE)
    texts = dict(part.split("\n", 1) for part in parts)
    missing = [d for d in found if not all(t["met"] for t in d["targets"])]
    about = [f"### {d['title']}\n\n{texts[d['name']].strip()}" for d in missing if d["name"] in texts]
    heading = title.splitlines()[0]
    return "\n\n".join([f"#{heading}", *about]) if about else ""


_BEGIN, _END = "<!-- benchmarks: written by `make bench` -->", "<!-- /benchmarks -->"
_README = ("api", "archive_s3", "refine_days", "dwd_real", "orchestration_trivial_365")


def with_table(readme: str, found: Sequence[dict[str, Any]]) -> str:
    """The README with table and picture between the marks made anew; raises `ValueError` if it has no marks."""
    rows = ["| workload | weather_backfill | peers, times as long |", "|---|---:|---|"]
    shown = [document for document in found if document["name"] in _README]
    for document in shown:
        ours, *others = document["sides"].items()
        peers = [
            f"{name} {'> ' if r['done'] < 1 else ''}{_times(r['seconds'] / ours[1]['seconds'])}"
            for name, r in sorted(others, key=lambda item: -item[1]["seconds"])
            if not name.startswith(_OURS_TOO)
        ]
        rows.append(f"| {document['title'][3:]} | {ours[1]['seconds']:.1f} s | {', '.join(peers)} |")
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    if not after:
        raise ValueError(f"README.md does not hold {_BEGIN} and {_END}")
    plot = "![Times as long as ours, by workload](docs/benchmarks.png)"
    return "\n".join([before + _BEGIN, *rows, "", plot, "", _machines(shown), _END + after])


def _times(ratio: float) -> str:
    return f"{ratio:.2g}×" if ratio < 10 else f"{ratio:.0f}×"


def _machines(found: Sequence[dict[str, Any]]) -> str:
    lines = []
    for document in found:
        machine = document["machine"]
        memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in machine else ""
        versions = ", ".join(f"{name} {number}" for name, number in sorted(machine.get("versions", {}).items()))
        line = (
            f"{machine['cpus']} CPUs{memory}, {machine['system']}, Python {machine['python']}"
            + (f", {versions}" if versions else "")
            + (f" ({machine['date']})" if "date" in machine else "")
            + (" **with `--quick`: small inputs, one run; ratios mean little**" if document["quick"] else "")
        )
        if line not in lines:
            lines.append(line)
    return "\n".join(f"- {line}" for line in lines)


def _targets(found: Sequence[dict[str, Any]]) -> str:
    rows = [
        f"| {t['text']} | {'≥' if t['at_least'] else '≤'} {t['limit']:.4g} | {t['value']:.2f} "
        f"| {'met' if t['met'] else '**missed**'} |"
        for document in found
        for t in document["targets"]
    ]
    return "\n".join(["## Targets", "", "| what | target | measured | |", "|---|---:|---:|---|", *rows])


def _table(document: dict[str, Any]) -> str:
    sides = document["sides"]
    base = max(next(iter(sides.values()))["seconds"], 1e-9)
    rows = [
        f"| {side} | {_bound(r)}{r['seconds']:.2f} | {_bound(r)}{r['seconds'] / base:.2f} | {r['cpu_seconds']:.2f} "
        f"| {r['peak_bytes'] / 1e6:.0f} | {r['output_bytes'] / 1e6:.2f} |"
        for side, r in sides.items()
    ]
    runs = max(len(r["all_seconds"]) for r in sides.values())
    load = document["machine"].get("load")
    rounds = f"Medians of {runs} runs" if runs > 1 else "One run"
    once = [side for side, r in sides.items() if len(r["all_seconds"]) < runs]
    about = rounds + (f" ({', '.join(once)}: one)" if once else "")
    about += f"; load of the machine {load}." if load is not None else "."
    if load is not None and load > document["machine"]["cpus"] + _OWN_LOAD:
        about += " **Others were busy on it: the seconds mean little.**"
    head = ["| | seconds | × the first | CPU seconds | peak MB | output MB |", "|---|---:|---:|---:|---:|---:|"]
    stopped = [f"\n{side} was stopped with {r['done']:.0%} of the work done." for side, r in sides.items() if _bound(r)]
    notes = [f"\n{note}" for note in document.get("notes", [])]
    return "\n".join([f"## {document['title']}", "", *head, *rows, "", about, *stopped, *notes])


def _bound(result: dict[str, Any]) -> str:
    return "> " if result["done"] < 1 else ""


def draw(found: Sequence[dict[str, Any]], path: Path) -> None:
    """One line a workload, ours at 1, every peer a dot at the times it took as long; a log axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter

    figure, axes = plt.subplots(figsize=(11, max(3.0, 0.95 * len(found) + 1.4)), layout="constrained")
    axes.axvline(1, color="#1b5e20", linewidth=2)
    for row, document in enumerate(found):
        ours, *others = document["sides"].items()
        axes.axhline(row, color="#e0e0e0", linewidth=1, zorder=0)
        peers = [
            (_bound(r), name, r["seconds"] / ours[1]["seconds"]) for name, r in others if not name.startswith(_OURS_TOO)
        ]
        for number, (bound, name, ratio) in enumerate(sorted(peers, key=lambda peer: peer[2])):
            axes.plot(ratio, row, "o", color="#c62828" if ratio < 1 else "#1565c0", markersize=7)
            away = _AWAY[number % len(_AWAY)]  # neighbours' names do not lie on each other
            axes.annotate(
                f"{name} {bound}{_times(ratio)}", (ratio, row), xytext=(0, away), textcoords="offset points",
                ha="center", va="bottom" if away > 0 else "top", fontsize=8,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_yticks(range(len(found)), [_wrapped(document["title"]) for document in found], fontsize=9)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.set_xlabel("times as long as weather_backfill (the green line); to the right is slower than ours")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _wrapped(title: str) -> str:
    import textwrap

    return textwrap.fill(title, 38)
