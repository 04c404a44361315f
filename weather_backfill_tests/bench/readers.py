"""Whether five readers find the same rows in a raw file: pyarrow, DuckDB, polars, pandas and Spark.

    python -m weather_backfill_tests.bench.readers READER FILE

The last line printed is what was found: rows, stations, metrics, first and last time in microseconds, and the sum
of the values. Nothing of ours is imported.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

Found = tuple[int, int, int, int, int, float]
_QUESTION = """
SELECT count(*), count(DISTINCT station_id), count(DISTINCT metric), {micros}(min(observed_at)),
       {micros}(max(observed_at)), sum(value)
FROM {table}"""


def by_pyarrow(path: str) -> Found:
    """Arrow's own functions."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(path).read()
    times = pc.min_max(rows["observed_at"].cast(pa.int64()))
    ids = [pc.count_distinct(rows[name].cast(pa.string())).as_py() for name in ("station_id", "metric")]
    return rows.num_rows, ids[0], ids[1], times["min"].as_py(), times["max"].as_py(), pc.sum(rows["value"]).as_py()


def by_duckdb(path: str) -> Found:
    """One query."""
    import duckdb

    asked = _QUESTION.format(micros="epoch_us", table=f"read_parquet('{path}')")
    (found,) = duckdb.execute(asked).fetchall()
    return found


def by_polars(path: str) -> Found:
    """A lazy scan."""
    import polars as pl

    time = pl.col("observed_at").dt.timestamp("us")
    return pl.scan_parquet(path).select(
        pl.len(), pl.col("station_id").n_unique(), pl.col("metric").n_unique(), time.min().alias("first"),
        time.max().alias("last"), pl.col("value").sum(),
    ).collect().row(0)  # fmt: skip


def by_pandas(path: str) -> Found:
    """A frame of everything."""
    import pandas as pd

    rows = pd.read_parquet(path)
    times = rows["observed_at"].dt.as_unit("us").astype("int64")
    ids = [int(rows[name].nunique()) for name in ("station_id", "metric")]
    return len(rows), ids[0], ids[1], int(times.min()), int(times.max()), float(rows["value"].sum())


def by_spark(path: str) -> Found:
    """A query over the file as a table."""
    from pyspark.sql import SparkSession

    options = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.memory": "2g"}
    spark = SparkSession.builder.master("local[2]").config(map=options).getOrCreate()
    spark.read.parquet(path).createOrReplaceTempView("raw")
    row = spark.sql(_QUESTION.format(micros="unix_micros", table="raw")).collect()[0]
    spark.stop()
    return tuple(row)


READERS: Mapping[str, Callable[[str], Found]] = {
    "pyarrow": by_pyarrow, "DuckDB": by_duckdb, "polars": by_polars, "pandas": by_pandas, "Spark": by_spark
}  # fmt: skip


def agreeing_readers(python: Path, path: Path) -> list[str]:
    """Those that run here and find what pyarrow finds; others are named on standard error with the reason."""
    found: dict[str, Found] = {}
    for name in READERS:
        command = [str(python), "-m", "weather_backfill_tests.bench.readers", name, str(path)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        if done.returncode:
            print(f"  {name} does not read {path}: {done.stderr[-400:]}", file=sys.stderr, flush=True)
        else:
            found[name] = tuple(json.loads(done.stdout.splitlines()[-1]))
    first = found["pyarrow"]
    for name, other in found.items():
        if not _same(first, other):
            print(f"  {name} reads {other} where pyarrow reads {first}", file=sys.stderr, flush=True)
    return [name for name, other in found.items() if _same(first, other)]


def _same(one: Found, other: Found) -> bool:
    return one[:-1] == other[:-1] and math.isclose(one[-1], other[-1], rel_tol=1e-9)


if __name__ == "__main__":
    print(json.dumps(READERS[sys.argv[1]](sys.argv[2])))
