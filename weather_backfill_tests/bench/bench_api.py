"""An API's day of 4,583 points x 1,440 samples in JSON pages to raw Parquet: ours, `json` + pandas, polars, dlt, and
Arrow alone.

    python -m weather_backfill_tests.bench api

The data: pages as the simulator makes them, 500,000 samples each, one scan a minute of all points with a
stamp that wanders by up to 0.9 s in microseconds; a value is a mean plus a daily sine (swing 0.5 to 9) plus
noise of 0 to 0.999, rounded to 0.1 as controllers report; every row clean. All read the same files from disk and
all but dlt write the same table, sorted by station, metric and time; dlt loads the rows as they come.

Ours goes through the whole product (walk, decode, windows, day, quality flags, checks, the lake's writer) with
only the HTTP call replaced by a file; the others neither flag nor check. "Arrow alone" is the floor: Arrow's JSON
reader on two threads, one sort, one write.
dlt's REST client pages through the same files behind a `requests` adapter and loads them as Parquet with its
filesystem destination; it is left out with a word where the peers' environment does not have it. Its normalizer and
loader may work in processes of their own, whose CPU and memory are not counted. pandas and dlt run once.

What ours has written is then opened by five readers (`readers.py`), which have to find the same rows.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weather_backfill_tests.bench.measured import measure

if TYPE_CHECKING:
    from weather_backfill_tests.bench.harness import Comparison, Options

MODULE = "weather_backfill_tests.bench.bench_api"
DAY = date(2026, 8, 7)
PAGE = 500_000
POINTS = 4583
SITE = "bench"
KEY = ["station_id", "metric", "observed_at"]
BYTES_PER_SAMPLE = 1.5


def make_pages(folder: Path, points: int) -> None:
    """Page files, one folder a window, the points' names beside them."""
    from weather_backfill.sources.aceiot import request_budget
    from weather_backfill.sources.aceiot.simulate import page_body
    from weather_backfill.sources.aceiot.simulate_data import SiteData, SiteSpec
    from weather_backfill.sources.aceiot.source import windows_of

    # every row is a sample
    spec = SiteSpec(SITE, points, 60, resolution=0.1, unconfigured=0, null_every=0, bad_every=0, repeat_every=0)
    data = SiteData(spec)
    folder.mkdir(parents=True)
    (folder / "points.json").write_text(json.dumps(data.configured))
    for window in windows_of(SITE, DAY, request_budget.shape_of(points, bench_connection()).windows):
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
    from weather_backfill.sources.aceiot.pagination import Cursor

    place = Cursor.decode(cursor)
    assert place
    return place.micros, place.offset


def bench_connection() -> Any:
    from weather_backfill.sources.aceiot.connection import AceiotConnection

    return AceiotConnection(
        base_url="http://files", api_key="${NONE}", sites=(SITE,), page_size=PAGE, parallel_requests=2
    )


def ours(folder: Path, out: Path) -> Callable[[], Path]:
    from weather_backfill.http.shared_state.local import MemoryState
    from weather_backfill.lake import layout
    from weather_backfill.lake.writer import write_day
    from weather_backfill.model.days import DayTable
    from weather_backfill.model.partitions import PartitionKey
    from weather_backfill.refine.days import to_raw_table
    from weather_backfill.settings import Settings
    from weather_backfill.sources.aceiot.source import AceiotSource, open_client
    from weather_backfill.storage.object_store import ObjectStore

    connection = bench_connection()
    source = AceiotSource(connection, open_client(connection, "bench", MemoryState()), spill_folder=out)
    names = json.loads((folder / "points.json").read_text())
    source._api.configured_points = lambda site: names  # type: ignore[method-assign,assignment,misc]
    served: dict[datetime, int] = {}

    def samples(site: str, start: datetime, end: datetime, cursor: str | None, size: int) -> bytes:
        number = served[start] = served.get(start, -1) + 1
        return (folder / f"{start:%H%M}" / f"{number:03}.json").read_bytes()

    source._api.samples = samples  # type: ignore[method-assign,assignment]
    lake = ObjectStore(str(out))

    def work() -> Path:
        (day,) = source.days([DAY])
        made = to_raw_table(PartitionKey(DAY, "bench"), day, Settings().limits_of("aceiot"))
        assert isinstance(made, DayTable), made
        return Path(lake.uri(write_day(lake, "aceiot", layout.RAW_OBSERVATIONS, made).object_key))

    return work


def pandas(folder: Path, out: Path) -> Callable[[], Path]:
    import pandas as pd

    def work() -> Path:
        names = json.loads((folder / "points.json").read_text())
        samples = []
        for page in sorted(folder.glob("*/*.json")):
            samples.extend(json.loads(page.read_text())["point_samples"])
        frame = pd.DataFrame(samples)
        frame["observed_at"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
        frame["value"] = pd.to_numeric(frame["value"], errors="coerce")
        frame = frame[frame["name"].isin(names)].dropna(subset=["value"])
        frame = frame.rename(columns={"name": "metric"}).assign(station_id=SITE, quality=2)
        frame = frame.drop_duplicates(KEY, keep="last").sort_values(KEY)
        frame[[*KEY, "value", "quality"]].to_parquet(out / "day.parquet", index=False, compression="zstd")
        return out / "day.parquet"

    return work


def polars(folder: Path, out: Path) -> Callable[[], Path]:
    import polars as pl

    text = pl.String
    page_schema = {"point_samples": pl.List(pl.Struct({"name": text, "value": text, "time": text}))}

    def work() -> Path:
        names = json.loads((folder / "points.json").read_text())
        pages = [
            pl.read_json(page, schema=page_schema).explode("point_samples").unnest("point_samples")
            for page in sorted(folder.glob("*/*.json"))
        ]
        frame = pl.concat(pages).lazy()
        frame = frame.filter(pl.col("name").is_in(names)).select(
            pl.lit(SITE).alias("station_id"),
            pl.col("name").alias("metric"),
            pl.col("time").str.to_datetime(time_unit="us", time_zone="UTC").alias("observed_at"),
            pl.col("value").cast(pl.Float64),
            pl.lit(2, pl.Int8).alias("quality"),
        )
        frame = frame.drop_nulls("value").unique(KEY, keep="last").sort(KEY)
        frame.collect().write_parquet(out / "day.parquet", compression="zstd", compression_level=3)
        return out / "day.parquet"

    return work


def arrow(folder: Path, out: Path) -> Callable[[], Path]:
    import numpy as np
    import pandas  # noqa: F401 - NumPy's asarray of an Arrow array would load it on its first call
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as pj
    import pyarrow.parquet as pq

    sample = pa.struct([("name", pa.string()), ("value", pa.string()), ("time", pa.string())])
    schema = pa.schema([("point_samples", pa.list_(sample))])
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")

    def decode(page: Path, names: pa.Array) -> tuple[Any, Any, Any]:
        body = page.read_bytes()
        read = pj.ReadOptions(use_threads=False, block_size=len(body) + 1)
        rows = pc.list_flatten(pj.read_json(pa.BufferReader(body), read, parse)["point_samples"].chunk(0))
        times = rows.field("time").cast(pa.timestamp("us")).cast(pa.int64())
        codes = pc.index_in(rows.field("name"), value_set=names)
        return np.asarray(codes, "u2"), np.asarray(times), np.asarray(rows.field("value").cast(pa.float64()))

    def work() -> Path:
        names = pa.array(sorted(json.loads((folder / "points.json").read_text())))
        with ThreadPoolExecutor(2) as pool:
            pages = list(pool.map(lambda page: decode(page, names), sorted(folder.glob("*/*.json"))))
        codes, times, values = (np.concatenate(column) for column in zip(*pages, strict=True))
        order = np.argsort(codes, kind="stable")  # pages come in the order of time
        n = len(order)
        table = pa.table(
            {
                "observed_at": pa.array(times[order]).view(pa.timestamp("us", "UTC")),
                "station_id": pa.DictionaryArray.from_arrays(np.zeros(n, "i4"), [SITE]),
                "metric": pa.DictionaryArray.from_arrays(codes[order].astype("i4"), names),
                "value": pa.array(values[order]),
                "quality": pa.array(np.full(n, 2, "i1")),
            }
        )
        pq.write_table(table, out / "day.parquet", compression="zstd", compression_level=3, store_schema=False)
        return out / "day.parquet"

    return work


def dlt(folder: Path, out: Path) -> Callable[[], Path]:
    import dlt as library
    import requests
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

    class Files(requests.adapters.BaseAdapter):
        def __init__(self) -> None:
            super().__init__()
            self.served: dict[str, int] = {}

        def send(self, request: Any, *_: Any, **options: Any) -> requests.Response:
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

    def work() -> Path:
        destination = library.destinations.filesystem(bucket_url=f"file://{out}")
        pipeline = library.pipeline("bench", destination=destination, dataset_name="d", pipelines_dir=str(out / "work"))
        pipeline.run(day(), loader_file_format="parquet")
        return out / "d" / "day"

    return work


CONTENDERS: dict[str, Callable[[Path, Path], Callable[[], Path]]] = {
    "weather_backfill": ours,
    "Arrow alone": arrow,
    "json + pandas": pandas,
    "polars": polars,
    "dlt": dlt,
}


def run(options: Options) -> Sequence[Comparison]:
    """The comparison."""
    from weather_backfill_tests.bench.agree import assert_same
    from weather_backfill_tests.bench.data import once
    from weather_backfill_tests.bench.harness import Comparison, Side, Target, compare
    from weather_backfill_tests.bench.readers import agreeing_readers

    points = 300 if options.quick else POINTS
    rows = points * 1440
    folder = once(options.folder / f"pages-{points}", lambda path: make_pages(path, points))
    names = list(CONTENDERS)
    if subprocess.run([options.peer_python, "-c", "import dlt"], capture_output=True).returncode:
        print(f"  dlt is left out: {options.peer_python} does not have it", file=sys.stderr)
        names.remove("dlt")
    outs = {name: options.folder / "out" / f"api-{number}" for number, name in enumerate(names)}
    sides = [
        Side(
            name,
            Path(sys.executable) if name == "weather_backfill" else options.peer_python,
            [MODULE, name, str(folder), str(outs[name])],
            {"RUNTIME__DLTHUB_TELEMETRY": "false"},
            slow=name in ("json + pandas", "dlt"),
        )
        for name in names
    ]

    def clear() -> None:
        for out in outs.values():
            if (out / "work").exists():  # a second load of dlt's would append
                shutil.rmtree(out)

    results = compare(sides, options, clear)
    mine, floor, frames = (results[name] for name in names[:3])
    written = next(outs["weather_backfill"].rglob("*.parquet"))
    for name in names[1:4]:
        assert_same(written, outs[name] / "day.parquet", KEY, ["value"])
    title = f"1. {rows / 1e6:.1f} million samples in JSON pages to raw"
    targets = [
        Target(f"{title}: times faster than json + pandas", frames.seconds / mine.seconds, 8, at_least=True),
        Target(f"{title}: seconds against Arrow alone", mine.seconds / floor.seconds, 1.5, at_least=False),
        Target(f"{title}: bytes a sample", mine.output_bytes / rows, BYTES_PER_SAMPLE, at_least=False),
    ]
    agreed = agreeing_readers(options.peer_python, written)
    targets.append(Target(f"{title}: readers that find the same rows in it", len(agreed), 5, at_least=True))
    return [Comparison("api", title, results, targets, [f"Read alike by {', '.join(agreed)}."])]


if __name__ == "__main__":
    contender, pages, target = sys.argv[1:]
    Path(target).mkdir(parents=True, exist_ok=True)
    measure(CONTENDERS[contender](Path(pages), Path(target)))
