"""3. A raw day of 6.6 million rows to 15-minute windows, and thirty of them, against one bare DuckDB query, pandas,
polars and Spark.

All sides read the same files and write sorted Parquet. The peers compute the plain aggregates and nothing
else; ours also takes failed values out, counts grid slots, applies each metric's rule, carries flags, checks
the result, and gives the same bytes every time. Over thirty days ours and pandas go day by day and write a file a
day; the others are asked once and write one file. Spark's side is left out, with a word, where there is no Java.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey
from weather_backfill_tests.bench.agree import assert_same
from weather_backfill_tests.bench.data import DAY, SERVICE, TENANT, raw_day, raw_days
from weather_backfill_tests.bench.harness import Comparison, Options, Result, Side, Target, compare

TITLES = {"duckdb": "bare DuckDB", "pandas": "pandas", "polars": "polars", "spark": "Spark local[2]"}
KEYS = ["station_id", "metric", "window_start"]
SAME = ["sample_count", "mean", "minimum", "maximum", "first", "last", "standard_deviation"]
POINTS = 100


def run(options: Options) -> Sequence[Comparison]:
    """One day, then many."""
    stations, days = (5, 3) if options.quick else (46, 30)
    (options.folder / "out").mkdir(parents=True, exist_ok=True)
    return [_one_day(stations, options), _many_days(stations, days, options)]


def _peers() -> list[str]:
    if shutil.which("java"):
        return list(TITLES)
    print("  Spark is left out: there is no java (Debian: apt-get install openjdk-17-jre-headless)", file=sys.stderr)
    return [name for name in TITLES if name != "spark"]


def _one_day(stations: int, options: Options) -> Comparison:
    lake, out = raw_day(options.folder, stations, POINTS), options.folder / "out"
    key = PartitionKey(DAY, TENANT)
    raw = str(lake / layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, key))
    outs = {name: out / f"refine-{name}.parquet" for name in _peers()}
    sides = [
        Side.ours("weather_backfill", "refine", str(lake), str(out / "refine-lake"), DAY.isoformat()),
        *(
            Side.peer(options.peer_python, TITLES[name], f"refine-{name}", raw, str(outs[name]), slow=name == "spark")
            for name in outs
        ),
    ]
    results = compare(sides, options)
    ours = out / "refine-lake" / layout.day_key(layout.REFINED_15M, SERVICE, key)
    for side in sides[1:]:
        assert_same(ours, Path(side.arguments[-1]), KEYS, SAME)
    title = f"3. {stations * POINTS * 1440 / 1e6:.1f} million raw rows to refined"
    return Comparison("refine", title, results, _targets(title, results))


def _many_days(stations: int, days: int, options: Options) -> Comparison:
    lake, out = raw_days(options.folder, stations, POINTS, days), options.folder / "out" / "refine-days"
    every = str(lake / layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, PartitionKey(DAY, TENANT)))
    every = every.replace(DAY.isoformat(), "*")
    sides = [Side.ours("weather_backfill", "refine", str(lake), str(out / "lake"), DAY.isoformat(), str(days))]
    for name in _peers():
        work = "refine-pandas-days" if name == "pandas" else f"refine-{name}"
        title = f"{TITLES[name]}, day by day" if name == "pandas" else TITLES[name]
        slow = name != "duckdb"
        sides.append(Side.peer(options.peer_python, title, work, every, str(out / name), slow=slow))
    out.mkdir(parents=True, exist_ok=True)
    results = compare(sides, options)
    ours = out / "lake" / layout.day_key(layout.REFINED_15M, SERVICE, PartitionKey(DAY, TENANT))
    assert_same(ours, out / "pandas" / "00.parquet", KEYS, SAME)
    title = f"3. {days} days of {stations * POINTS * 1440 / 1e6:.1f} million raw rows to refined"
    targets = _targets(title, results)
    peak = results[sides[0].name].peak_bytes / 1e9
    return Comparison("refine_days", title, results, [*targets, Target(f"{title}: peak GB", peak, 1, at_least=False)])


def _targets(title: str, results: dict[str, Result]) -> list[Target]:
    mine, bare, pandas = list(results.values())[:3]
    targets = [
        Target(f"{title}: seconds against bare DuckDB", mine.seconds / bare.seconds, 1.2, at_least=False),
        Target(f"{title}: times faster than pandas", pandas.seconds / mine.seconds, 3, at_least=True),
    ]
    if spark := results.get(TITLES["spark"]):
        targets.append(Target(f"{title}: times faster than Spark", spark.seconds / mine.seconds, 10, at_least=True))
    return targets
