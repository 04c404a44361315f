"""A million ten-minute rows in zips to 365 days of Parquet: ours, plain pandas, and wetterdienst's parser.

    python -m weather_backfill_tests.bench dwd

A year of ten-minute data has 52,560 rows, so a million rows are 19 stations: 19 zips, five values a row, near
five million observations. Every contender reads the same zips, makes long rows, sorts nothing it need not,
and writes one file a day with all stations in it. Each repeat is a fresh process, so that peak memory is the
contender's own; imports are not timed. wetterdienst is installed into an environment of its own below
`--folder`, and left out with a word if that is not possible.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from weather_backfill_tests.bench.measured import measure

if TYPE_CHECKING:
    from weather_backfill_tests.bench.harness import Comparison, Options

MODULE = "weather_backfill_tests.bench.bench_dwd"
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


def once(name: str, root: Path, out: Path) -> Callable[[], Path]:
    """One contender's work; imports are not what is measured."""
    if name == "ours":
        import pandas  # pyarrow's to_numpy would load it on its first call

        import weather_backfill.sources.dwd.source  # noqa: F401
    elif name == "pandas":
        import pandas  # noqa: F401
    else:
        import wetterdienst.provider.dwd.observation  # noqa: F401
    out.mkdir(parents=True)

    def work() -> Path:
        CONTENDERS[name](root, out)
        return out

    return work


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


def run(options: Options) -> Sequence[Comparison]:
    """The comparison and its targets."""
    from weather_backfill_tests.bench.harness import Comparison, Side, Target, compare

    rows = 100_000 if options.quick else 1_000_000
    root, out = options.folder / f"dwd-tree-{rows}", options.folder / "out" / "dwd"
    if not root.exists():
        make_tree(root, rows)
    pythons = {"ours": Path(sys.executable), "pandas": Path(sys.executable)}
    if own := install_wetterdienst(options.folder / "wetterdienst"):
        pythons["wetterdienst"] = Path(own)
    sides = [Side(name, python, [MODULE, name, str(root), str(out)]) for name, python in pythons.items()]
    results = compare(sides, options, before_each=lambda: shutil.rmtree(out, ignore_errors=True))
    title = f"(e) {rows:,} ten-minute rows of DWD to 365 days"
    mine = results["ours"].seconds
    targets = [
        Target(f"{title}: times faster than {name}", results[name].seconds / mine, 3, at_least=True)
        for name in pythons
        if name != "ours"
    ]
    return [Comparison("dwd", title, results, targets)]


if __name__ == "__main__":
    measure(once(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
