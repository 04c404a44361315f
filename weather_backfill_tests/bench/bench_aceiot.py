"""A day of 4,583 points x 1,440 samples from local pages to Parquet: our source, `json` + pandas, and dlt.

    python -m weather_backfill_tests.bench.bench_aceiot [--points 4583] [--skip-dlt]

The data: pages as the simulator makes them, 500,000 samples each, one scan a minute of all points with a
stamp that wanders by up to 0.9 s in microseconds; a value is a mean plus a daily sine (swing 0.5 to 9) plus
noise of 0 to 0.999, rounded to 0.1 as controllers report; every row clean. Ours and pandas write the same
table, sorted by station, metric and time; dlt loads the rows as they come. All read the same files from disk
and are timed in processes of their own, imports not counted; memory is the process's largest resident set.
CPU seconds stand beside the wall's: ours uses two threads, which a busy machine does not give.

Ours goes through the whole product (walk, decode, windows, day, quality flags, checks, the lake's writer) with
only the HTTP call replaced by a file; the others neither flag nor check.
dlt's REST client pages through the same files behind a `requests` adapter and loads them as Parquet with its
filesystem destination, in a virtual environment that this bench makes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

DAY = date(2026, 8, 7)
PAGE = 500_000
SITE = "bench"
DLT = "dlt[parquet,filesystem]>=1.18,<2"


def make_pages(folder: Path, points: int) -> None:
    """Page files, one folder a window, the points' names beside them."""
    from dataclasses import replace

    from weather_backfill.simulate.aceiot import page_body
    from weather_backfill.simulate.aceiot_data import SiteData, clean_site
    from weather_backfill.sources.aceiot import budget
    from weather_backfill.sources.aceiot.source import windows_of

    data = SiteData(replace(clean_site(SITE, points), resolution=0.1))
    (folder / "points.json").write_text(json.dumps(data.configured))
    for window in windows_of(SITE, DAY, budget.shape_of(points, bench_connection()).windows):
        target = folder / f"{window.start:%H%M}"
        target.mkdir(parents=True)
        at, number = (int(window.start.timestamp() * 1e6), 0), 0
        while True:
            end = window.end - timedelta(microseconds=1)
            body = page_body(data, window.start, end, at, PAGE, False)
            (target / f"{number:03}.json").write_bytes(body)
            cursor = json.loads(body[body.rindex(b'"next_cursor":') + 14 : body.rindex(b',"has_more"')])
            if cursor is None:
                break
            at, number = _place(cursor), number + 1


def _place(cursor: str) -> tuple[int, int]:
    from weather_backfill.sources.aceiot.walk import Cursor

    place = Cursor.decode(cursor)
    assert place
    return place.micros, place.offset


def bench_connection() -> Any:
    from weather_backfill.sources.aceiot.connection import AceiotConnection

    return AceiotConnection(
        base_url="http://files", api_key="${NONE}", sites=(SITE,), page_size=PAGE, parallel_requests=2
    )


def ours(folder: Path, out: Path) -> float:
    from weather_backfill.assets.raw import to_raw_table
    from weather_backfill.lake import layout
    from weather_backfill.lake.days import DayTable
    from weather_backfill.lake.io_manager import write_day
    from weather_backfill.lake.storage import ObjectStore
    from weather_backfill.partitions import PartitionKey
    from weather_backfill.settings import Settings
    from weather_backfill.sources.aceiot.source import AceiotSource, open_client
    from weather_backfill.sources.shared_state import MemoryState

    connection = bench_connection()
    source = AceiotSource(connection, open_client(connection, "bench", MemoryState()), spill_folder=out)
    names = json.loads((folder / "points.json").read_text())
    source._api.configured_points = lambda site: names  # type: ignore[method-assign,assignment,misc]
    served: dict[datetime, int] = {}

    def samples(site: str, start: datetime, end: datetime, cursor: str | None, size: int) -> bytes:
        number = served[start] = served.get(start, -1) + 1
        return (folder / f"{start:%H%M}" / f"{number:03}.json").read_bytes()

    source._api.samples = samples  # type: ignore[method-assign]
    lake = ObjectStore(str(out))
    started = time.perf_counter()
    for day in source.days([DAY]):
        made = to_raw_table(PartitionKey(DAY, "bench"), day, Settings())
        assert isinstance(made, DayTable), made
        write_day(lake, "aceiot", layout.RAW_OBSERVATIONS, made)
    return time.perf_counter() - started


def pandas(folder: Path, out: Path) -> float:
    import pandas as pd

    started = time.perf_counter()
    names = json.loads((folder / "points.json").read_text())
    samples = []
    for page in sorted(folder.glob("*/*.json")):
        samples.extend(json.loads(page.read_text())["point_samples"])
    frame = pd.DataFrame(samples)
    frame["observed_at"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    frame["value"] = pd.to_numeric(frame["value"], errors="coerce")
    frame = frame[frame["name"].isin(names)].dropna(subset=["value"])
    frame = frame.rename(columns={"name": "metric"}).assign(station_id=SITE, quality=2)
    key = ["station_id", "metric", "observed_at"]
    frame = frame.drop_duplicates(key, keep="last").sort_values(key)
    frame[[*key, "value", "quality"]].to_parquet(out / "day.parquet", index=False, compression="zstd")
    return time.perf_counter() - started


def dlt(folder: Path, out: Path) -> float:
    import dlt as library  # type: ignore[import-not-found]
    import requests
    from dlt.sources.helpers.rest_client import RESTClient  # type: ignore[import-not-found]
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

    class Files(requests.adapters.BaseAdapter):
        def __init__(self) -> None:
            super().__init__()
            self.served: dict[str, int] = {}

        def send(self, request: Any, **options: Any) -> requests.Response:
            window = request.path_url.split("?")[0].strip("/")
            number = self.served[window] = self.served.get(window, -1) + 1
            response = requests.Response()
            response.status_code, response.request, response.url = 200, request, request.url
            response.headers["Content-Type"] = "application/json"
            response.encoding = "utf-8"
            response._content = (folder / window / f"{number:03}.json").read_bytes()
            return response

        def close(self) -> None:
            pass

    session = requests.Session()
    session.mount("http://files", Files())
    client = RESTClient(
        "http://files", session=session, data_selector="point_samples",
        paginator=JSONResponseCursorPaginator(cursor_path="next_cursor", cursor_param="cursor"),
    )  # fmt: skip

    @library.resource(
        columns={
            "name": {"data_type": "text"},
            "value": {"data_type": "text"},
            "time": {"data_type": "timestamp"},
        }
    )
    def day() -> Any:
        for window in sorted(p.name for p in folder.iterdir() if p.is_dir()):
            yield from client.paginate(window)

    started = time.perf_counter()
    destination = library.destinations.filesystem(bucket_url=f"file://{out}")
    pipeline = library.pipeline("bench", destination=destination, dataset_name="d", pipelines_dir=str(out / "work"))
    pipeline.run(day(), loader_file_format="parquet")
    return time.perf_counter() - started


CONTENDERS = {"ours": ours, "pandas": pandas, "dlt": dlt}


def contend(name: str, folder: Path) -> None:
    """Run one contender in this process, and print what it took."""
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        seconds = CONTENDERS[name](folder, Path(out))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        memory, cpu = usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime
        files = [f for f in Path(out).rglob("*.parquet") if not {"work", "_dlt_loads"} & set(f.relative_to(out).parts)]
        rows = sum(pq.read_metadata(f).num_rows for f in files)
        size = sum(f.stat().st_size for f in files)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": memory, "rows": rows, "bytes": size}))


def dlt_python() -> str:
    """The Python of a virtual environment with dlt, made when it is not there."""
    venv = Path(os.environ.get("BENCH_DLT_VENV", Path(tempfile.gettempdir()) / "weather-bench-dlt"))
    python = venv / "bin" / "python"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", DLT], check=True)
        (venv / "ready").touch()
    return str(python)


def run(name: str, folder: Path) -> dict[str, float]:
    """One run of a contender in a process of its own."""
    python = dlt_python() if name == "dlt" else sys.executable
    # By path, so that dlt's Python needs nothing of this package.
    done = subprocess.run(
        [python, __file__, "--contender", name, "--folder", str(folder)], check=True, capture_output=True,
        text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]),
        "RUNTIME__DLTHUB_TELEMETRY": "false"},
    )  # fmt: skip
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    print(name, result, flush=True)
    return result


def medians(folder: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """Medians of five runs of ours and three of the others, in turns, so that a busy machine is busy for
    all.
    """
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(5):
        for name in names:
            if name == "ours" or turn < 3:
                results[name].append(run(name, folder))
    return {name: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for name, rs in results.items()}


def main() -> None:
    """Make pages, run all, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=4583)
    parser.add_argument("--skip-dlt", action="store_true")
    parser.add_argument("--contender")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.contender:
        contend(given.contender, given.folder)
        return
    base = Path(tempfile.mkdtemp(prefix="weather-bench-"))
    try:
        folder = base / "pages"
        folder.mkdir()
        started = time.perf_counter()
        make_pages(folder, given.points)
        size = sum(p.stat().st_size for p in folder.rglob("*.json"))
        took = time.perf_counter() - started
        rows = given.points * 1440
        print(f"{rows:,} samples, {size / 1e6:,.0f} MB of pages, made in {took:.1f} s ({rows / took:,.0f} samples/s)")
        found = medians(folder, ["ours", "pandas"] + ([] if given.skip_dlt else ["dlt"]))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for name, r in found.items():
        assert r["rows"] == rows, f"{name} wrote {r['rows']:,} of {rows:,} rows"
        ratio = r["seconds"] / found["ours"]["seconds"]
        print(
            f"{name:8} {r['seconds']:7.1f} s {ratio:5.1f} x  {r['cpu']:6.1f} s of CPU with imports  "
            f"{r['memory'] / 1e9:5.2f} GB  {r['bytes'] / rows:5.2f} bytes a sample"
        )


if __name__ == "__main__":
    main()
