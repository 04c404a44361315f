"""DWD's zips to a Parquet file a day: ours, wetterdienst's parser, plain pandas, and Arrow's CSV reader as the floor.

    python -m weather_backfill_tests.bench dwd

Two inputs. *Real*: a snapshot of hourly air temperature, 182 stations over 18 months, 8 of them with history that
overlaps; left out with a word where the files are absent (`WEATHER_TEST_DATA`). *Made*: a year of ten-minute data
has 52,560 rows, so a million rows are 19 stations; five values a row, near five million observations.

Every contender reads the same zips, takes history over recent where both hold an hour, makes long rows, sorts
nothing it need not, and writes one file a day with all stations in it. "ours, whole" is what the raw asset does
beyond that: flags, checks, lineage, and a verified write. The floor unzips, decodes and writes a file a zip, on all
cores: no long rows, no days. Each repeat is a fresh process, so that peak memory is the contender's own; imports
are not timed. wetterdienst is installed into an environment of its own below `--folder`, and left out with a word
if that is not possible.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weather_backfill_tests.bench.measured import measure

if TYPE_CHECKING:
    from weather_backfill_tests.bench.harness import Comparison, Options

MODULE = "weather_backfill_tests.bench.bench_dwd"
ROWS_A_YEAR = 365 * 144


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to read: the files' folder, the days wanted, and the columns by name."""

    resolution: str
    folder: str
    first: date
    last: date
    level: str
    values: tuple[str, ...]
    stamp: str


ROOT = Path(__file__).resolve().parents[2]
REAL = (ROOT / os.environ.get("WEATHER_TEST_DATA", "../shared/data")).resolve() / "dwd" / "cdc-2020-03-27"
WORKS = {
    "real": Work(
        "hourly", "hourly/air_temperature", date(2018, 9, 24), date(2020, 3, 26), "QN_9", ("TT_TU", "RF_TU"), "%Y%m%d%H"
    ),
    "made": Work(
        "10_minutes", "10_minutes/air_temperature", date(2019, 1, 1), date(2019, 12, 31), "QN",
        ("PP_10", "TT_10", "TM5_10", "RF_10", "TD_10"), "%Y%m%d%H%M",
    ),
}  # fmt: skip


def make_tree(root: Path, rows: int) -> None:
    """Stations' files of a year each, CRLF, padded as the server does, until they hold that many rows."""
    import numpy as np

    folder = root / WORKS["made"].folder / "recent"
    folder.mkdir(parents=True, exist_ok=True)
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
        target = folder / f"10minutenwerte_TU_{station:05d}_akt.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            name = f"produkt_zehn_min_tu_20190101_20191231_{station:05d}.txt"
            archive.writestr(name, "\r\n".join(lines) + "\r\n")


def station_files(root: Path, work: Work) -> Iterator[list[Path]]:
    """Each station's zips, history before recent."""

    def station(path: Path) -> str:
        return path.name.split("_")[2]

    found = [p for period in ("historical", "recent") for p in sorted((root / work.folder / period).glob("*.zip"))]
    for _, files in groupby(sorted(found, key=station), key=station):
        yield list(files)


def text_of(path: Path) -> bytes:
    """The product text of a zip."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(n for n in archive.namelist() if n.startswith("produkt_")))


def ours(root: Path, out: Path, work: Work) -> int:
    """Through the source, as a run does it, and out as plainly as the others."""
    import pyarrow.parquet as pq

    written = 0
    for day in days_of(root, work):
        pq.write_table(day.table, out / f"{day.date}.parquet", compression="zstd")
        written += day.table.num_rows
    return written


def ours_whole(root: Path, out: Path, work: Work) -> int:
    """All that the raw asset does with a day."""
    from weather_backfill.lake import layout
    from weather_backfill.lake.writer import write_day
    from weather_backfill.model.days import DayTable
    from weather_backfill.model.partitions import PartitionKey
    from weather_backfill.refine.days import to_raw_table
    from weather_backfill.settings import Settings
    from weather_backfill.storage.object_store import ObjectStore

    settings, lake, written = Settings(), ObjectStore(str(out)), 0
    for day in days_of(root, work):
        table = to_raw_table(PartitionKey(day.date, "bench"), day, settings.limits_of("dwd"))
        assert isinstance(table, DayTable)
        write_day(lake, "dwd", layout.RAW_OBSERVATIONS, table)
        written += day.table.num_rows
    return written


def days_of(root: Path, work: Work) -> Iterator[Any]:
    """The source's days, none of them failed."""
    from weather_backfill.model.days import RawDay
    from weather_backfill.model.partitions import days_between
    from weather_backfill.sources.dwd.connection import DwdConnection
    from weather_backfill.sources.dwd.source import DwdSource

    connection = DwdConnection(base_url=root.as_uri(), resolution=work.resolution, stations="all")
    for day in DwdSource(connection).days(days_between(work.first, work.last)):
        assert isinstance(day, RawDay), day
        assert day.incomplete is None, day.incomplete
        yield day


def pandas_way(root: Path, out: Path, work: Work) -> int:
    """What one writes in an afternoon: read_csv, melt, group by day, to_parquet."""
    import pandas as pd

    parts = []
    for files in station_files(root, work):
        texts = [io.BytesIO(text_of(path)) for path in files]
        frames = [pd.read_csv(t, sep=";", skipinitialspace=True, na_values=["-999"]) for t in texts]
        wide = pd.concat([f.rename(columns=str.strip) for f in frames])
        if len(files) > 1:
            wide = wide.drop_duplicates("MESS_DATUM")
        wide = wide[["STATIONS_ID", "MESS_DATUM", work.level, *work.values]]
        wide["MESS_DATUM"] = pd.to_datetime(wide["MESS_DATUM"].astype(str), format=work.stamp, utc=True)
        wide["STATIONS_ID"] = wide["STATIONS_ID"].astype(str).str.zfill(5)
        wide = wide[wide["MESS_DATUM"].between(pd.Timestamp(work.first, tz="UTC"), after(work))]
        parts.append(wide.melt(["STATIONS_ID", "MESS_DATUM", work.level], var_name="metric"))
    long = pd.concat(parts)
    written = 0
    for day, part in long.groupby(long["MESS_DATUM"].dt.floor("D")):
        part.to_parquet(out / f"{day:%Y-%m-%d}.parquet", compression="zstd")
        written += len(part)
    return written


def after(work: Work) -> Any:
    """The last moment of the wanted days, for pandas."""
    import pandas as pd

    return pd.Timestamp(work.last, tz="UTC") + pd.Timedelta("23:59:59")


def wetterdienst_way(root: Path, out: Path, work: Work) -> int:
    """wetterdienst's own parser (as of 0.175), its columns made numbers and long rows, cut and written."""
    import polars as pl
    from wetterdienst.metadata.period import Period
    from wetterdienst.provider.dwd.observation.metadata import DwdObservationMetadata
    from wetterdienst.provider.dwd.observation.parser import parse_climate_observations_data
    from wetterdienst.util.network import File

    dataset = DwdObservationMetadata[work.resolution]["temperature_air"]
    metrics = [name.lower() for name in work.values]
    parts = []
    for paths in station_files(root, work):
        frames = []
        for path in paths:
            period = Period.HISTORICAL if path.parent.name == "historical" else Period.RECENT
            file = File(url=path.name, content=io.BytesIO(text_of(path)), status=200)
            frames.append(parse_climate_observations_data([file], dataset, period))
        wide = pl.concat(frames) if len(frames) > 1 else frames[0]
        wide = wide.filter(pl.col("timestamp").dt.date().is_between(work.first, work.last))
        if len(frames) > 1:
            wide = wide.unique("timestamp", keep="first", maintain_order=True)
        wide = wide.with_columns(pl.col(metrics).cast(pl.Float64, strict=False)).collect()
        ids = [c for c in ("station_id", "timestamp", work.level.lower(), "quality") if c in wide.columns]
        parts.append(wide.unpivot(index=ids, on=metrics))
    long = pl.concat(parts)
    days = long.with_columns(pl.col("timestamp").dt.date().alias("day")).partition_by("day", as_dict=True)
    for (day,), part in days.items():
        part.write_parquet(out / f"{day}.parquet", compression="zstd")
    return sum(part.height for part in days.values())


def floor(root: Path, out: Path, work: Work) -> int:
    """Arrow's CSV reader and Parquet writer and nothing else: the columns as they are, a file a zip."""
    import pyarrow as pa
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    def one(path: Path) -> int:
        text = text_of(path)
        header = [name.strip() for name in text[: text.index(b"\n")].decode().split(";")]
        types = {"STATIONS_ID": pa.int64(), "MESS_DATUM": pa.int64(), work.level: pa.int64()}
        types |= dict.fromkeys(work.values, pa.float64())
        table = pv.read_csv(
            pa.BufferReader(text),
            read_options=pv.ReadOptions(column_names=header, skip_rows=1, block_size=4 << 20),
            parse_options=pv.ParseOptions(delimiter=";", quote_char=False),
            convert_options=pv.ConvertOptions(column_types=types, include_columns=list(types)),
        )
        pq.write_table(table, out / f"{path.stem}.parquet", compression="zstd")
        return table.num_rows * len(work.values)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(one, [path for files in station_files(root, work) for path in files]))


CONTENDERS = {
    "ours": ours,
    "ours, whole": ours_whole,
    "wetterdienst": wetterdienst_way,
    "pandas": pandas_way,
    "arrow csv (floor)": floor,
}


def once(name: str, root: Path, out: Path, work: Work) -> Callable[[], Path]:
    """One contender's work; imports are not what is measured."""
    if name != "wetterdienst":
        import pandas  # noqa: F401 - pyarrow's to_numpy would load it on its first call
        import pyarrow.csv
        import pyarrow.parquet  # noqa: F401
    if name.startswith("ours"):
        import weather_backfill.dagster.assets.raw
        import weather_backfill.sources.dwd.source  # noqa: F401
    elif name == "wetterdienst":
        import wetterdienst.provider.dwd.observation.metadata
        import wetterdienst.provider.dwd.observation.parser
        import wetterdienst.util.network  # noqa: F401
    out.mkdir(parents=True)

    def measured() -> Path:
        rows = CONTENDERS[name](root, out, work)
        print(f"{rows} rows", flush=True)
        return out

    return measured


def run(options: Options) -> Sequence[Comparison]:
    """Both comparisons and their targets."""
    from weather_backfill_tests.bench.environments import WETTERDIENST, python_with

    pythons = dict.fromkeys(CONTENDERS, Path(sys.executable))
    own = python_with(options.folder / "wetterdienst", WETTERDIENST)
    if own:
        pythons["wetterdienst"] = own
    else:
        del pythons["wetterdienst"]
    rows = 100_000 if options.quick else 1_000_000
    made = options.folder / f"dwd-tree-{rows}"
    if not made.exists():
        make_tree(made, rows)
    found = [compared("made", f"4. {rows:,} ten-minute rows of DWD to 365 days", made, pythons, options, 3)]
    if REAL.is_dir():
        title = "4. 182 real stations of DWD, 18 months, to 550 days"
        found.insert(0, compared("real", title, REAL, pythons, options, 5))
    else:
        print(f"The real stations of DWD are left out: no files at {REAL}; set WEATHER_TEST_DATA.")
    return found


def compared(work: str, title: str, root: Path, pythons: dict[str, Path], options: Options, times: float) -> Comparison:
    """One input through all contenders; `times` is how much faster than wetterdienst we mean to be."""
    from weather_backfill_tests.bench.harness import Comparison, Side, Target, compare

    out = options.folder / "out" / "dwd"
    sides = [Side(name, python, [MODULE, name, work, str(root), str(out)]) for name, python in pythons.items()]
    results = compare(sides, options, before_each=lambda: shutil.rmtree(out, ignore_errors=True))
    mine = results["ours"].seconds
    targets = [
        Target(f"{title}: times faster than {name}", results[name].seconds / mine, least, at_least=True)
        for name, least in (("wetterdienst", times), ("pandas", times))
        if name in results
    ]
    return Comparison(f"dwd_{work}", title, results, targets)


if __name__ == "__main__":
    measure(once(sys.argv[1], Path(sys.argv[3]), Path(sys.argv[4]), WORKS[sys.argv[2]]))
