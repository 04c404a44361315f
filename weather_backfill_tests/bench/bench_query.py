"""7. Query: the hourly means of a month of one station out of a year of the lake, by plain DuckDB, in four layouts.

    python -m weather_backfill_tests.bench.bench_query LAYOUT FOLDER STATION FIRST LAST

ours      a file a day as the product writes it: sorted by station, metric and time, zstd, dictionaries and deltas
unsorted  a file a day in order of arrival, snappy, row groups of 10,000 rows
stations  the product's order, a row group a station
months    the product's encoding and order, one file a month

All hold the same rows in Hive folders and are asked the same; what the process has read is in `output MB`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weather_backfill.lake import parquet
from weather_backfill.model.partitions import days_between
from weather_backfill.model.schemas import RAW
from weather_backfill_tests.bench.data import once
from weather_backfill_tests.bench.harness import Comparison, Options, Side, compare
from weather_backfill_tests.bench.measured import peak_bytes, say

LAYOUTS = {
    "ours": "weather_backfill: a sorted file a day",
    "unsorted": "unsorted, snappy, row groups of 10,000, a file a day",
    "stations": "sorted, a row group a station, a file a day",
    "months": "sorted, a file a month",
}
METRICS = ("air_temperature", "relative_humidity", "surface_air_pressure", "wind_from_direction", "wind_speed")
FIRST = date(2024, 1, 1)
MINUTES = 1440


def run(options: Options) -> Sequence[Comparison]:
    """The comparison; it has no target."""
    days, stations = (62, 4) if options.quick else (366, 20)
    options = replace(options, folder=options.folder.absolute())
    root = lake(options.folder, days, stations)
    month = (date(2024, 2, 1), date(2024, 2, 29))
    asked = [_station(stations // 2), *map(str, month)]
    module = "weather_backfill_tests.bench.bench_query"
    sides = [Side(name, Path(sys.executable), [module, key, str(root), *asked]) for key, name in LAYOUTS.items()]
    results = compare(sides, options)
    rows = days * stations * len(METRICS) * MINUTES
    title = f"7. A month of one of {stations} stations out of {days} days ({rows / 1e6:.0f} million rows), by DuckDB"
    held = {key: sum(p.stat().st_size for p in (root / key).rglob("*.parquet")) for key in LAYOUTS}
    notes = [
        "`output MB` is what was read. " + ", ".join(f"{LAYOUTS[k]}: {v / 1e6:.0f} MB held" for k, v in held.items())
    ]
    return [Comparison("query", title, results, [], notes)]


def _station(number: int) -> str:
    return f"ST-{number:08d}"


def lake(folder: Path, days: int, stations: int) -> Path:
    """The same rows in all layouts."""

    def make(root: Path) -> None:
        dates = days_between(FIRST, FIRST + timedelta(days=days - 1))
        for (year, month), part in groupby(dates, key=lambda day: (day.year, day.month)):
            tables = []
            for day in part:
                table = _day(day, stations)
                tables.append(table)
                _put(root / "ours" / f"date={day}", parquet.encode(table, {}).data)
                arrived = table.take(np.argsort(np.asarray(table["observed_at"]), kind="stable"))
                _write(arrived, root / "unsorted" / f"date={day}", "snappy", 10_000)
                _write(table, root / "stations" / f"date={day}", "zstd", len(METRICS) * MINUTES)
            whole = pa.concat_tables(tables).unify_dictionaries()
            # Every day has all series in order: the days of one series, then those of the next.
            rows = np.arange(whole.num_rows).reshape(len(tables), -1, MINUTES).transpose(1, 0, 2).ravel()
            whole = whole.take(rows)
            _put(root / "months" / f"month={year}-{month:02d}", parquet.encode(whole, {}).data)

    return once(folder / f"query-{days}-days-{stations}-stations", make)


def _write(table: pa.Table, folder: Path, compression: str, row_group: int) -> None:
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "part.parquet", compression=compression, row_group_size=row_group)


def _put(folder: Path, data: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "part.parquet").write_bytes(data)


def _day(day: date, stations: int) -> pa.Table:
    rng = np.random.default_rng(day.toordinal())
    series = stations * len(METRICS)
    stamps = int(np.datetime64(day, "us").astype("i8")) + np.arange(MINUTES) * 60_000_000
    values = np.round(20 + np.cumsum(rng.normal(0, 0.1, (series, MINUTES)), axis=1), 1).ravel()
    station = np.repeat(np.arange(stations, dtype="i4"), len(METRICS) * MINUTES)
    metric = np.tile(np.repeat(np.arange(len(METRICS), dtype="i4"), MINUTES), stations)
    columns = [
        pa.array(np.tile(stamps, series)).cast(RAW.field("observed_at").type),
        pa.DictionaryArray.from_arrays(pa.array(station), pa.array([_station(n) for n in range(stations)])),
        pa.DictionaryArray.from_arrays(pa.array(metric), pa.array(METRICS)),
        pa.array(values),
        pa.array(np.ones(len(values), "i1")),
        pa.array(np.full(len(values), 60, "i4")),
        pa.array(np.zeros(len(values), "i4")),
    ]
    return pa.Table.from_arrays(columns, schema=RAW)


def ask(layout: str, folder: str, station: str, first: str, last: str) -> None:
    """Ask once and say what it took and what was read."""
    where = f"month = '{first[:7]}'" if layout == "months" else f"date BETWEEN '{first}' AND '{last}'"
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    query = f"""
        SELECT metric, time_bucket(INTERVAL 1 HOUR, observed_at) AS hour, avg(value)
        FROM read_parquet('{folder}/{layout}/*/*.parquet', hive_partitioning = true, hive_types_autocast = false)
        WHERE {where} AND station_id = ? AND quality <= 3
        GROUP BY ALL ORDER BY ALL"""
    before, began, cpu = _read_so_far(), time.perf_counter(), time.process_time()
    found = connection.execute(query, [station]).fetchall()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    hours = 24 * ((date.fromisoformat(last) - date.fromisoformat(first)).days + 1)
    assert len(found) == hours * len(METRICS), len(found)
    say(seconds, cpu_seconds, peak_bytes(), _read_so_far() - before)


def _read_so_far() -> int:
    """Bytes this process has asked the system for, whether they came from the disk or its cache."""
    counters = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in counters if line.startswith("rchar")))


if __name__ == "__main__":
    ask(*sys.argv[1:])
