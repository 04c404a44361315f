"""The obvious ways to do what the product does. Runs in the peers' environment: nothing of ours is imported.

archive-frames  a pandas frame an object, as tutorials do it
archive-rows    the same with one frame for all, as a careful person does it
archive-wrangler  awswrangler's S3 reader, which makes a frame an object itself
archive-duckdb  DuckDB's read_json over all objects
refine-pandas   15-minute windows with pandas
refine-duckdb   15-minute windows with one DuckDB query
refine-polars   15-minute windows with polars, streaming
refine-spark    15-minute windows with Spark on two threads of this machine
refine-pandas-days  the same with pandas, day by day, a file each: a month in one frame would take 36 GB
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any

import pandas as pd

from weather_backfill_tests.bench.measured import measure

DAY = "year=2024/month=01/day=15"
NAMES = [
    "wind_speed_lull", "wind_speed", "wind_speed_of_gust", "wind_from_direction", "wind_sample_interval",
    "surface_air_pressure", "air_temperature", "relative_humidity", "illuminance", "ultraviolet_index",
    "surface_downwelling_shortwave_flux_in_air", "precipitation_amount", "precipitation_type",
    "lightning_mean_distance", "lightning_strike_count", "battery_voltage", "reporting_interval",
]  # fmt: skip
PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "index": False}


def bodies(url: str) -> Iterator[bytes]:
    """The objects of the day, one after another."""
    if not url.startswith("s3://"):
        for path in sorted((Path(url) / DAY).rglob("*.json")):
            yield path.read_bytes()
        return
    import s3fs

    files = s3fs.S3FileSystem()
    for path in files.find(f"{url}/{DAY}"):
        with files.open(path) as file:
            yield file.read()


def bodies_at_once(url: str) -> Iterator[bytes]:
    """The objects of the day, from S3 by one concurrent call."""
    if not url.startswith("s3://"):
        yield from bodies(url)
        return
    import s3fs

    files = s3fs.S3FileSystem()
    yield from files.cat(files.find(f"{url}/{DAY}")).values()


def archive_frames(url: str, output: Path) -> Path:
    """A frame for each object, then one of all, long, sorted, written."""
    frames = []
    for body in bodies(url):
        message = json.loads(body)
        frame = pd.DataFrame(message["obs"], columns=["epoch", *NAMES])
        frame["station_id"] = message["serial_number"]
        frames.append(frame)
    return write_long(pd.concat(frames, ignore_index=True), output)


def archive_rows(url: str, output: Path) -> Path:
    """One frame for all objects."""
    rows = []
    for body in bodies_at_once(url):
        message = json.loads(body)
        rows += [[*report, message["serial_number"]] for report in message["obs"]]
    return write_long(pd.DataFrame(rows, columns=["epoch", *NAMES, "station_id"]), output)


def archive_wrangler(url: str, output: Path) -> Path:
    """One call of awswrangler for all objects, then their reports as rows."""
    import awswrangler as wr

    wr.config.s3_endpoint_url = os.environ["AWS_ENDPOINT_URL"]
    messages = wr.s3.read_json(f"{url}/{DAY}/", lines=True, use_threads=2)
    rows = [
        [*report, serial]
        for serial, reports in zip(messages["serial_number"], messages["obs"], strict=True)
        for report in reports
    ]
    return write_long(pd.DataFrame(rows, columns=["epoch", *NAMES, "station_id"]), output)


def archive_duckdb(url: str, output: Path) -> Path:
    """One query over all objects, sorted and written by DuckDB, on two threads."""
    import duckdb

    connection = duckdb.connect(config={"threads": 2, "allow_unsigned_extensions": True})
    if url.startswith("s3://"):
        from duckdb_extensions import import_extension  # type: ignore[import-not-found]

        import_extension("httpfs", con=connection)
        endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID 'bench', SECRET 'bench', REGION 'us-east-1', ENDPOINT '{endpoint}', "
            "URL_STYLE 'path', USE_SSL false)"
        )
    names = ", ".join(f"'{name}'" for name in NAMES)
    connection.execute(
        f"""
        COPY (
            WITH reports AS (
                SELECT serial_number AS station_id, unnest(obs) AS report
                FROM read_json('{url}/{DAY}/**/*.json', format = 'unstructured', maximum_object_size = 1000000,
                               columns = {{serial_number: 'VARCHAR', obs: 'DOUBLE[][]'}})
            )
            SELECT DISTINCT ON (station_id, metric, observed_at)
                station_id, make_timestamptz((report[1] * 1000000)::BIGINT) AS observed_at,
                unnest([{names}]) AS metric, unnest(report[2:]) AS value
            FROM reports
            ORDER BY station_id, metric, observed_at
        ) TO '{output}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3)
        """
    )
    return output


def write_long(wide: pd.DataFrame, output: Path) -> Path:
    """Long rows like the product's, without its quality flags."""
    wide["observed_at"] = pd.to_datetime(wide.pop("epoch"), unit="s", utc=True).dt.as_unit("us")
    long = wide.melt(["observed_at", "station_id"], NAMES, "metric", "value")
    long = long.drop_duplicates(["station_id", "metric", "observed_at"], keep="last")
    long = long.sort_values(["station_id", "metric", "observed_at"])
    long["value"] = long["value"].astype("float64")
    long.to_parquet(output, **PARQUET)
    return output


def refine_pandas(source: str, output: Path) -> Path:
    """The plain aggregate with groupby."""
    rows = pd.read_parquet(source, columns=["observed_at", "station_id", "metric", "value"])
    rows["window_start"] = rows.pop("observed_at").dt.floor("15min")
    grouped = rows.groupby(["station_id", "metric", "window_start"], sort=True, observed=True)["value"]
    windows = grouped.agg(
        sample_count="count",
        mean="mean",
        minimum="min",
        maximum="max",
        sum="sum",
        first="first",
        last="last",
        standard_deviation="std",
    )
    windows.reset_index().to_parquet(output, **PARQUET)
    return output


def refine_pandas_days(source: str, output: Path) -> Path:
    """A loop over the files that the pattern matches; returns the folder."""
    output.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(glob(source))):
        refine_pandas(path, output / f"{number:02d}.parquet")
    return output


def refine_duckdb(source: str, output: Path) -> Path:
    """The plain aggregate in SQL, on two threads."""
    import duckdb

    connection = duckdb.connect(config={"threads": 2})
    connection.execute(
        """
        COPY (
            SELECT
                make_timestamptz(epoch_us(observed_at) // 900000000 * 900000000) AS window_start,
                station_id,
                metric,
                count(value) AS sample_count,
                avg(value) AS mean,
                min(value) AS minimum,
                max(value) AS maximum,
                sum(value) AS sum,
                arg_min(value, observed_at) AS first,
                arg_max(value, observed_at) AS last,
                stddev_samp(value) AS standard_deviation
            FROM read_parquet($source)
            GROUP BY ALL
            ORDER BY station_id, metric, window_start
        ) TO $output (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3)
        """,
        {"source": source, "output": str(output)},
    )
    return output


def refine_polars(source: str, output: Path) -> Path:
    """The plain aggregate by polars' streaming engine."""
    import polars as pl

    value, time = pl.col("value"), pl.col("observed_at")
    valid = value.is_not_null()
    windows = (
        pl.scan_parquet(source)
        .group_by("station_id", "metric", time.dt.truncate("15m").alias("window_start"))
        .agg(
            value.count().alias("sample_count"),
            value.mean().alias("mean"),
            value.min().alias("minimum"),
            value.max().alias("maximum"),
            value.sum().alias("sum"),
            value.filter(valid).first().alias("first"),
            value.filter(valid).last().alias("last"),
            value.std().alias("standard_deviation"),
        )
        .sort("station_id", "metric", "window_start")
    )
    windows.collect(engine="streaming").write_parquet(output, compression="zstd", compression_level=3)
    return output


def refine_spark(source: str, output: Path) -> Path:
    """The plain aggregate by Spark; the start of its session counts, its JVM's CPU and memory do not."""
    from pyspark.sql import SparkSession

    options = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.driver.memory": "4g"}
    options |= {"spark.sql.session.timeZone": "UTC", "spark.driver.host": "127.0.0.1"}
    spark = SparkSession.builder.master("local[2]").config(map=options).getOrCreate()
    spark.read.parquet(source).createOrReplaceTempView("raw")
    windows = spark.sql(
        """
        SELECT
            station_id, metric, window(observed_at, '15 minutes').start AS window_start,
            count(value) AS sample_count, avg(value) AS mean, min(value) AS minimum, max(value) AS maximum,
            sum(value) AS sum, min_by(value, observed_at) FILTER (WHERE value IS NOT NULL) AS first,
            max_by(value, observed_at) FILTER (WHERE value IS NOT NULL) AS last,
            stddev_samp(value) AS standard_deviation
        FROM raw
        GROUP BY ALL
        ORDER BY station_id, metric, window_start
        """
    )
    windows.coalesce(1).write.mode("overwrite").option("compression", "zstd").parquet(str(output))
    spark.stop()
    return output


WORKS: dict[str, Callable[[str, Path], Path]] = {
    "archive-frames": archive_frames,
    "archive-rows": archive_rows,
    "archive-wrangler": archive_wrangler,
    "archive-duckdb": archive_duckdb,
    "refine-pandas": refine_pandas,
    "refine-pandas-days": refine_pandas_days,
    "refine-duckdb": refine_duckdb,
    "refine-polars": refine_polars,
    "refine-spark": refine_spark,
}

# Imported before the clock, like the others' imports.
LIBRARIES = {"duckdb": "duckdb", "polars": "polars", "spark": "pyspark.sql", "wrangler": "awswrangler"}

if __name__ == "__main__":
    name, source, output = sys.argv[1:]
    if library := LIBRARIES.get(name.rpartition("-")[2]):
        importlib.import_module(library)
    elif source.startswith("s3://"):
        import s3fs  # noqa: F401
    measure(lambda: WORKS[name](source, Path(output)))
