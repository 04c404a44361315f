"""A million ten-minute rows in zips to 365 days of Parquet: ours, plain pandas, and wetterdienst's parser.

    python weather_backfill_tests/bench/bench_dwd.py [--rows 1000000] [--repeats 5] [--no-wetterdienst]

A year of ten-minute data has 52,560 rows, so a million rows are 19 stations: 19 zips, five values a row, near
five million observations. Every contender reads the same zips, makes long rows, sorts nothing it need not,
and writes one file a day with all stations in it. Each repeat is a fresh process, so that peak memory is the
contender's own; imports are not timed. wetterdienst is installed into an environment of the bench's own below
`--folder`, and left out with a word if that is not possible.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import date
from pathlib import Path

FOLDER = "10_minutes/air_temperature/recent"
ROWS_A_YEAR = 365 * 144


def make_tree(root: Path, rows: int) -> None:
    """Stations' files of a year each, CRLF, padded as the server does, until they hold that many rows."""
    import numpy as np

    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    stations = max(round(rows / ROWS_A_YEAR), 1)
    stamps = np.datetime_as_string(
        np.datetime64("2019-01-01T00:00") + np.arange(ROWS_A_YEAR) * np.timedelta64(10, "m"), unit="m"
    )
    digits = [s[:4] + s[5:7] + s[8:10] + s[11:13] + s[14:16] for s in stamps]
    for station in range(1, stations + 1):
        random = np.random.default_rng(station)
        values = np.round(random.normal([970, 9, 8, 80, 6], [8, 8, 8, 10, 6], (ROWS_A_YEAR, 5)), 1)
        values[random.random((ROWS_A_YEAR, 5)) < 0.002] = -999
        lines = ["STATIONS_ID;MESS_DATUM;  QN;PP_10;TT_10;TM5_10;RF_10;TD_10;eor"]
        for stamp, row in zip(digits, values, strict=True):
            cells = ";".join(f"{v:6.1f}" for v in row)
            lines.append(f"{station:11d};{stamp};    3;{cells};eor")
        target = root / FOLDER / f"10minutenwerte_TU_{station:05d}_akt.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            name = f"produkt_zehn_min_tu_20190101_20191231_{station:05d}.txt"
            archive.writestr(name, "\r\n".join(lines) + "\r\n")


def texts(root: Path) -> list[bytes]:
    """The product texts of all zips."""
    found = []
    for path in sorted((root / FOLDER).glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            found.append(archive.read(archive.namelist()[0]))
    return found


def ours(root: Path, out: Path) -> int:
    """Through the source, as a run does it."""
    import pyarrow.parquet as pq

    from weather_backfill.partitions import days_between
    from weather_backfill.sources.base import RawDay
    from weather_backfill.sources.dwd.connection import DwdConnection
    from weather_backfill.sources.dwd.source import DwdSource

    connection = DwdConnection(base_url=root.as_uri(), resolution="10_minutes", stations="all")
    written = 0
    for day in DwdSource(connection).days(days_between(date(2019, 1, 1), date(2019, 12, 31))):
        assert isinstance(day, RawDay), day
        pq.write_table(day.table, out / f"{day.date}.parquet", compression="zstd")
        written += day.table.num_rows
    return written


def pandas_way(root: Path, out: Path) -> int:
    """What one writes in an afternoon: read_csv, melt, group by day, to_parquet."""
    import pandas as pd

    parts = []
    for text in texts(root):
        wide = pd.read_csv(io.BytesIO(text), sep=";", skipinitialspace=True, na_values=[-999])
        wide = wide.drop(columns="eor").rename(columns=str.strip)
        wide["MESS_DATUM"] = pd.to_datetime(wide["MESS_DATUM"], format="%Y%m%d%H%M", utc=True)
        wide["STATIONS_ID"] = wide["STATIONS_ID"].astype(str).str.zfill(5)
        parts.append(wide.melt(["STATIONS_ID", "MESS_DATUM", "QN"], var_name="metric"))
    long = pd.concat(parts)
    written = 0
    for day, part in long.groupby(long["MESS_DATUM"].dt.floor("D")):
        part.to_parquet(out / f"{day:%Y-%m-%d}.parquet", compression="zstd")
        written += len(part)
    return written


def wetterdienst_way(root: Path, out: Path) -> int:
    """wetterdienst's own parser (as of 0.170), its columns made numbers and long rows, cut and written."""
    import polars as pl
    from wetterdienst.metadata.period import Period
    from wetterdienst.provider.dwd.observation.metadata import DwdObservationMetadata
    from wetterdienst.provider.dwd.observation.parser import parse_climate_observations_data
    from wetterdienst.util.network import File

    dataset = DwdObservationMetadata["10_minutes"]["temperature_air"]
    metrics = ["pp_10", "tt_10", "tm5_10", "rf_10", "td_10"]
    parts = []
    for text in texts(root):
        files = [File(url="10minutenwerte_TU_00001_akt.zip", content=io.BytesIO(text), status=200)]
        wide = parse_climate_observations_data(files, dataset, Period.RECENT)
        wide = wide.with_columns(pl.col(metrics).cast(pl.Float64, strict=False)).collect()
        ids = [c for c in ("station_id", "timestamp", "qn", "quality") if c in wide.columns]
        parts.append(wide.unpivot(index=ids, on=metrics))
    long = pl.concat(parts)
    days = long.with_columns(pl.col("timestamp").dt.date().alias("day")).partition_by("day", as_dict=True)
    for (day,), part in days.items():
        part.write_parquet(out / f"{day}.parquet", compression="zstd")
    return sum(part.height for part in days.values())


CONTENDERS = {"ours": ours, "pandas": pandas_way, "wetterdienst": wetterdienst_way}


def once(name: str, root: Path) -> None:
    """One timed run in this process; prints seconds, rows and peak memory as JSON."""
    with tempfile.TemporaryDirectory() as out:
        if name == "ours":  # imports are not what is measured; pyarrow's to_numpy would load pandas on its first call
            import pandas

            import weather_backfill.sources.dwd.source  # noqa: F401
        elif name == "pandas":
            import pandas  # noqa: F401
        else:
            import wetterdienst.provider.dwd.observation  # noqa: F401
        started, computed = time.perf_counter(), time.process_time()
        written = CONTENDERS[name](root, Path(out))
        seconds, computed = time.perf_counter() - started, time.process_time() - computed
        files = len(list(Path(out).iterdir()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": computed, "rows": written, "files": files, "peak_mb": peak}))


def install_wetterdienst(folder: Path) -> str | None:
    """An interpreter with wetterdienst in it, or None."""
    python = folder / "bin" / "python"
    if not python.exists():
        steps = [
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", "wetterdienst", "pyarrow"],
        ]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                print(f"wetterdienst is left out: {done.stderr.strip().splitlines()[-1:]}")
                return None
    return str(python)


def main() -> None:
    """Run every contender in turn, interleaved, and print medians and ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "weather-bench-dwd")
    options.add_argument("--no-wetterdienst", action="store_true")
    options.add_argument("--once", help=argparse.SUPPRESS)
    given = options.parse_args()
    root = given.folder / f"tree-{given.rows}"
    if given.once:
        return once(given.once, root)
    if not root.exists():
        make_tree(root, given.rows)
    pythons = {"ours": sys.executable, "pandas": sys.executable}
    own = None if given.no_wetterdienst else install_wetterdienst(given.folder / "venv")
    if own:
        pythons["wetterdienst"] = own
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for _ in range(given.repeats):
        for name, python in pythons.items():
            command = [
                python,
                __file__,
                "--once",
                name,
                "--rows",
                str(given.rows),
                "--folder",
                str(given.folder),
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
                continue
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    report(results)
    return None


def report(results: dict[str, list[dict[str, float]]]) -> None:
    """One line a contender."""
    base = statistics.median(r["seconds"] for r in results["ours"])
    for name, runs in results.items():
        if not runs:
            continue
        seconds = statistics.median(r["seconds"] for r in runs)
        cpu = statistics.median(r["cpu"] for r in runs)
        spread = f"{min(r['seconds'] for r in runs):.2f} to {max(r['seconds'] for r in runs):.2f}"
        peak = max(r["peak_mb"] for r in runs)
        print(
            f"{name:13} {seconds:6.2f} s median of {len(runs)} ({spread}; {cpu:.2f} s of processor), "
            f"{seconds / base:5.1f} times ours, peak {peak:6.0f} MB, "
            f"{runs[0]['rows']:.0f} rows in {runs[0]['files']:.0f} files"
        )


if __name__ == "__main__":
    main()
