"""A zip of a million ten-minute rows to 365 days of Parquet: ours, plain pandas, and wetterdienst's parser.

    python weather_backfill_tests/bench/bench_dwd.py [--rows 1000000] [--repeats 5] [--no-wetterdienst]

A million rows are 19 stations' years, so the file is made of one station's stamps over 19 years and the days
taken are 365 spread evenly; every contender reads the same zip, cuts the same days, and writes one file a
day. Each repeat is a fresh process, so that peak memory is the contender's own. wetterdienst is installed into
an environment of the bench's own below `--folder`, and left out with a word if that is not possible.
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
from datetime import date, timedelta
from pathlib import Path

import numpy as np

NAME = "10minutenwerte_TU_00433_akt.zip"
FOLDER = "10_minutes/air_temperature/recent"
START = np.datetime64("2001-01-01T00:00")


def make_zip(root: Path, rows: int) -> Path:
    """A station's file with that many rows, five values each, CRLF, padded as the server does."""
    target = root / FOLDER / NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    stamps = np.datetime_as_string(START + np.arange(rows) * np.timedelta64(10, "m"), unit="m")
    values = np.round(random.normal([970, 9, 8, 80, 6], [8, 8, 8, 10, 6], (rows, 5)), 1)
    values[random.random((rows, 5)) < 0.002] = -999
    lines = ["STATIONS_ID;MESS_DATUM;  QN;PP_10;TT_10;TM5_10;RF_10;TD_10;eor"]
    for stamp, row in zip(stamps, values, strict=True):
        digits = stamp[:4] + stamp[5:7] + stamp[8:10] + stamp[11:13] + stamp[14:16]
        cells = ";".join(f"{v:6.1f}" for v in row)
        lines.append(f"        433;{digits};    3;{cells};eor")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("produkt_zehn_min_tu_20010101_20200101_00433.txt", "\r\n".join(lines) + "\r\n")
    return target


def wanted_days(rows: int) -> list[date]:
    """365 days that together hold all the file's rows if it is a year long, else an even choice of them."""
    last = rows // 144
    step = max(last // 365, 1)
    return [START.astype("datetime64[D]").item() + timedelta(days=n * step) for n in range(min(365, last))]


def ours(root: Path, rows: int, out: Path) -> int:
    """Through the source, as a run does it."""
    import pyarrow.parquet as pq

    from weather_backfill.sources.base import RawDay
    from weather_backfill.sources.dwd.connection import DwdConnection
    from weather_backfill.sources.dwd.source import DwdSource

    connection = DwdConnection(base_url=root.as_uri(), resolution="10_minutes", stations="all")
    written = 0
    for day in DwdSource(connection).days(wanted_days(rows)):
        assert isinstance(day, RawDay), day
        pq.write_table(day.table, out / f"{day.date}.parquet", compression="zstd")
        written += day.table.num_rows
    return written


def pandas_way(root: Path, rows: int, out: Path) -> int:
    """What one writes in an afternoon: read_csv, melt, group by day, to_parquet."""
    import pandas as pd

    with zipfile.ZipFile(root / FOLDER / NAME) as archive:
        text = archive.read(archive.namelist()[0])
    wide = pd.read_csv(io.BytesIO(text), sep=";", skipinitialspace=True, na_values=[-999])
    wide = wide.drop(columns="eor").rename(columns=str.strip)
    wide["MESS_DATUM"] = pd.to_datetime(wide["MESS_DATUM"], format="%Y%m%d%H%M", utc=True)
    wide["STATIONS_ID"] = wide["STATIONS_ID"].astype(str).str.zfill(5)
    long = wide.melt(["STATIONS_ID", "MESS_DATUM", "QN"], var_name="metric")
    return _by_day(long, "MESS_DATUM", rows, out)


def wetterdienst_way(root: Path, rows: int, out: Path) -> int:
    """wetterdienst's own parser, then its rows by day."""
    import polars as pl
    from wetterdienst.metadata.period import Period
    from wetterdienst.provider.dwd.observation import DwdObservationMetadata
    from wetterdienst.provider.dwd.observation import parser

    with zipfile.ZipFile(root / FOLDER / NAME) as archive:
        text = archive.read(archive.namelist()[0])
    dataset = DwdObservationMetadata["10_minutes"]["temperature_air"]
    parse = (
        getattr(parser, "parse_climate_observations_data", None) or parser._parse_climate_observations_data
    )
    try:
        found = parse([("produkt.txt", io.BytesIO(text))], dataset, Period.RECENT)
    except (TypeError, AttributeError):
        found = parse([io.BytesIO(text)], dataset, Period.RECENT)
    if isinstance(found, pl.LazyFrame):
        found = found.collect()
    names = [
        c for c in found.columns if c not in ("station_id", "date", "resolution", "dataset", "qn", "quality")
    ]
    stamp = "date" if "date" in found.columns else "mess_datum"
    numbers = [c for c in names if found.schema[c].is_numeric()]
    if not numbers:
        numbers = [c for c in names if c not in (stamp, "stations_id", "eor")]
        found = found.with_columns(pl.col(numbers).cast(pl.Float64, strict=False))
    long = found.select([stamp, *numbers]).unpivot(index=stamp, on=numbers)
    wanted = set(wanted_days(rows))
    written = 0
    for (day,), part in (
        long.with_columns(pl.col(stamp).dt.date().alias("day")).partition_by("day", as_dict=True).items()
    ):
        if day in wanted:
            part.write_parquet(out / f"{day}.parquet")
            written += part.height
    return written


def _by_day(long: object, stamp: str, rows: int, out: Path) -> int:
    wanted = set(wanted_days(rows))
    written = 0
    for day, part in long.groupby(long[stamp].dt.date):  # type: ignore[attr-defined]
        if day in wanted:
            part.to_parquet(out / f"{day}.parquet")
            written += len(part)
    return written


CONTENDERS = {"ours": ours, "pandas": pandas_way, "wetterdienst": wetterdienst_way}


def once(name: str, root: Path, rows: int) -> None:
    """One timed run in this process; prints seconds, rows and peak memory as JSON."""
    with tempfile.TemporaryDirectory() as out:
        if name == "ours":  # imports are not what is measured
            import weather_backfill.sources.dwd.source
        elif name == "pandas":
            import pandas
            import pyarrow.parquet  # noqa: F401
        else:
            import wetterdienst.provider.dwd.observation  # noqa: F401
        started = time.perf_counter()
        written = CONTENDERS[name](root, rows, Path(out))
        seconds = time.perf_counter() - started
        files = len(list(Path(out).iterdir()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "rows": written, "files": files, "peak_mb": peak}))


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
        return once(given.once, root, given.rows)
    if not (root / FOLDER / NAME).exists():
        make_zip(root, given.rows)
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
        spread = f"{min(r['seconds'] for r in runs):.2f} to {max(r['seconds'] for r in runs):.2f}"
        print(
            f"{name:13} {seconds:6.2f} s median of {len(runs)} ({spread}), {seconds / base:5.1f} times ours, "
            f"peak {max(r['peak_mb'] for r in runs):6.0f} MB, {runs[0]['rows']:.0f} rows in {runs[0]['files']:.0f} files"
        )


if __name__ == "__main__":
    main()
