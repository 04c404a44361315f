"""GHCNh's year files to raw: ours, pandas' read_csv of the same columns plus Parquet, and Arrow's CSV reader alone.

    python -m weather_backfill_tests.bench ghcnh

200 station-years in the real shape (329 columns), made by the simulator: a third each of US airports with specials,
half-hourly airports and 3-hourly stations. Ours gives a file a day with all stations in it, long rows, flags of the
sources, running totals told apart; pandas writes a file a station as it was read; Arrow writes nothing. Each repeat is
a fresh process, so that peak memory is the contender's own; imports are not timed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weather_backfill_tests.bench.measured import measure

if TYPE_CHECKING:
    from weather_backfill_tests.bench.harness import Comparison, Options

MODULE = "weather_backfill_tests.bench.bench_ghcnh"
YEAR = 2022
KINDS = 6


def make_tree(root: Path, stations: int) -> None:
    """Year files of some stations: six are made, the others are these under other names."""
    from weather_backfill.sources.ghcnh.catalogue import path_of
    from weather_backfill.sources.ghcnh.simulate_data import Network, body_of
    from weather_backfill.sources.ghcnh.stations import LIST

    network = Network(date(YEAR, 1, 1), date(YEAR + 1, 6, 1), stations)
    made = {name: body_of(name, network.year(name, YEAR)[0]) for name in network.ids[:KINDS]}
    for number, name in enumerate(network.ids):
        path = root / path_of(name, YEAR)
        path.parent.mkdir(parents=True, exist_ok=True)
        model = network.ids[number % KINDS]
        path.write_bytes(made[model].replace(b"\n" + model.encode() + b"|", b"\n" + name.encode() + b"|"))
    (root / LIST).parent.mkdir(parents=True, exist_ok=True)
    (root / LIST).write_bytes(network.list())


def files_of(root: Path) -> list[Path]:
    """The year files."""
    return sorted(root.rglob("*.psv"))


def columns() -> list[str]:
    """The columns that we read."""
    from weather_backfill.sources.ghcnh.elements import ELEMENTS, MEASUREMENT, QUALITY, REPORT, SOURCE

    ends = ("", MEASUREMENT, QUALITY, REPORT, SOURCE)
    return ["STATION", "DATE", *(element.name + end for element in ELEMENTS for end in ends)]


def days_of(root: Path) -> Iterator[Any]:
    """The source's days, none of them failed."""
    from weather_backfill.model.days import RawDay
    from weather_backfill.model.partitions import days_between
    from weather_backfill.sources.ghcnh.connection import GhcnhConnection, remote_of
    from weather_backfill.sources.ghcnh.source import GhcnhSource

    box = {"south": -90, "north": 90, "west": -180, "east": 180}
    connection = GhcnhConnection.model_validate({"base_url": root.as_uri(), "stations": box})
    for day in GhcnhSource(connection, remote_of(connection.base_url)).days(
        days_between(date(YEAR, 1, 1), date(YEAR, 12, 30))
    ):
        assert isinstance(day, RawDay), day
        assert day.incomplete is None, day.incomplete
        yield day


def ours(root: Path, out: Path) -> int:
    """Through the source, as a run does it, and out as plainly as the others."""
    import pyarrow.parquet as pq

    written = 0
    for day in days_of(root):
        pq.write_table(day.table, out / f"{day.date}.parquet", compression="zstd")
        written += day.table.num_rows
    return written


def ours_whole(root: Path, out: Path) -> int:
    """All that the raw asset does with a day."""
    from weather_backfill.lake import layout
    from weather_backfill.lake.writer import write_day
    from weather_backfill.model.days import DayTable
    from weather_backfill.model.partitions import PartitionKey
    from weather_backfill.refine.days import to_raw_table
    from weather_backfill.settings import Settings
    from weather_backfill.storage.object_store import ObjectStore

    settings, lake, written = Settings(), ObjectStore(str(out)), 0
    for day in days_of(root):
        table = to_raw_table(PartitionKey(day.date, "bench"), day, settings.limits_of("ghcnh"))
        assert isinstance(table, DayTable)
        write_day(lake, "ghcnh", layout.RAW_OBSERVATIONS, table)
        written += day.table.num_rows
    return written


def pandas_way(root: Path, out: Path) -> int:
    """What one writes first: read_csv of the columns, to_parquet."""
    import csv

    import pandas as pd

    rows = 0
    for path in files_of(root):
        frame = pd.read_csv(path, sep="|", usecols=columns(), quoting=csv.QUOTE_NONE, low_memory=False)
        frame.astype({name: "string" for name in frame.columns if frame[name].dtype == object}).to_parquet(
            out / f"{path.stem}.parquet", compression="zstd"
        )
        rows += len(frame)
    return rows


def floor(root: Path, out: Path) -> int:
    """Arrow's CSV reader and nothing else, on all cores."""
    import pyarrow.csv as pv

    return sum(
        pv.read_csv(
            path,
            parse_options=pv.ParseOptions(delimiter="|", quote_char=False),
            convert_options=pv.ConvertOptions(include_columns=columns()),
        ).num_rows
        for path in files_of(root)
    )


CONTENDERS: dict[str, Callable[[Path, Path], int]] = {
    "ours": ours, "ours, whole": ours_whole, "pandas": pandas_way, "arrow csv (floor)": floor,
}  # fmt: skip


def once(name: str, root: Path, out: Path) -> Callable[[], Path]:
    """One contender's work; imports are not what is measured."""
    import pandas  # noqa: F401 - pyarrow's to_numpy would load it on its first call
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401

    if name.startswith("ours"):
        import weather_backfill.dagster.assets.raw
        import weather_backfill.sources.ghcnh.source  # noqa: F401
    out.mkdir(parents=True)

    def measured() -> Path:
        print(f"{CONTENDERS[name](root, out)} rows", flush=True)
        return out

    return measured


def run(options: Options) -> Iterable[Comparison]:
    """The comparison and its targets."""
    from weather_backfill_tests.bench.harness import Comparison, Side, Target, compare

    stations = 12 if options.quick else 200
    root, out = options.folder / f"ghcnh-tree-{stations}", options.folder / "out" / "ghcnh"
    if not root.exists():
        make_tree(root, stations)
    sides = [Side(name, Path(sys.executable), [MODULE, name, str(root), str(out)]) for name in CONTENDERS]
    results = compare(sides, options, before_each=lambda: shutil.rmtree(out, ignore_errors=True))
    title = f"9. {stations} station-years of GHCNh to raw"
    mine = results["ours"]
    targets = [
        Target(f"{title}: times faster than pandas", results["pandas"].seconds / mine.seconds, 3, at_least=True),
        Target(
            f"{title}: seconds against Arrow's CSV reader", mine.seconds / results["arrow csv (floor)"].seconds, 3,
            at_least=False,
        ),
        Target(f"{title}: peak MB", mine.peak_bytes / 1e6, 600, at_least=False),
    ]  # fmt: skip
    yield Comparison("ghcnh", title, results, targets)


if __name__ == "__main__":
    measure(once(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
