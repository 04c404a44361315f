"""(b) A raw day of 6.6 million rows to 15-minute windows, against one bare DuckDB query, pandas, polars and
Spark.

All sides read the same file and write a sorted Parquet file. The peers compute the plain aggregates and nothing
else; ours also takes failed values out, counts grid slots, applies each metric's rule, carries flags, checks
the result, and gives the same bytes every time. Spark's side is left out where there is no Java.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from weather_backfill.lake import layout
from weather_backfill.partitions import PartitionKey
from weather_backfill_tests.bench.agree import assert_same
from weather_backfill_tests.bench.data import DAY, SERVICE, TENANT, raw_day
from weather_backfill_tests.bench.harness import Comparison, Options, Side, Target, compare

TITLES = {"duckdb": "bare DuckDB", "pandas": "pandas", "polars": "polars", "spark": "Spark local[2]"}
SAME = ["sample_count", "mean", "minimum", "maximum", "first", "last", "standard_deviation"]


def run(options: Options) -> Sequence[Comparison]:
    """The comparison."""
    stations = 5 if options.quick else 46
    lake, out = raw_day(options.folder, stations, 100), options.folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    key = PartitionKey(DAY, TENANT)
    raw = str(lake / layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, key))
    outs = {name: out / f"refine-{name}.parquet" for name in ("duckdb", "pandas", "polars", "spark")}
    sides = [
        Side.ours("weather_backfill", "refine", str(lake), str(out / "refine-lake"), DAY.isoformat()),
        *(
            Side.peer(options, TITLES[name], f"refine-{name}", raw, str(outs[name]))
            for name in outs
            if name != "spark" or shutil.which("java")
        ),
    ]
    results = compare(sides, options)
    ours = out / "refine-lake" / layout.day_key(layout.REFINED_15M, SERVICE, key)
    for side in sides[1:]:
        assert_same(ours, Path(side.arguments[-1]), ["station_id", "metric", "window_start"], SAME)
    mine, bare, pandas = (results[side.name] for side in sides[:3])
    title = f"(b) {stations * 100 * 1440 / 1e6:.1f} million raw rows to refined"
    targets = [
        Target(f"{title}: seconds against bare DuckDB", mine.seconds / bare.seconds, 1.2, at_least=False),
        Target(f"{title}: times faster than pandas", pandas.seconds / mine.seconds, 3, at_least=True),
        Target(f"{title}: peak memory against pandas", mine.peak_bytes / pandas.peak_bytes, 1 / 3, at_least=False),
    ]
    if spark := results.get(TITLES["spark"]):
        targets.append(Target(f"{title}: times faster than Spark", spark.seconds / mine.seconds, 10, at_least=True))
    return [Comparison("refine", title, results, targets)]
