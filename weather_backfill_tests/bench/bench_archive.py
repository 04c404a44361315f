"""2. A day of an archive with one message an object to raw Parquet, from a folder and from an S3 server.

Ours decodes, collapses duplicates, flags, checks and writes the product's way; the peers only decode, drop
duplicates, sort and write. The targets are against the obvious loop with a pandas frame an object; the same with
one frame for all (and on S3 one concurrent call for all objects) stands beside it, because a careful person
would do that. So do DuckDB's read_json (on S3 with its httpfs extension) and awswrangler, which reads S3 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey
from weather_backfill_tests.bench.agree import assert_same
from weather_backfill_tests.bench.data import DAY, MINUTES, SERVICE, TENANT, one_message_archive
from weather_backfill_tests.bench.environments import OBJECTS, python_with
from weather_backfill_tests.bench.harness import Comparison, Options, Side, Target, compare
from weather_backfill_tests.bench.s3_server import s3_server

KEYS = ["station_id", "metric", "observed_at"]
TITLES = {
    "frames": "a frame an object",
    "rows": "one frame",
    "wrangler": "awswrangler",
    "duckdb": "DuckDB read_json",
}


def run(options: Options) -> Sequence[Comparison]:
    """Both comparisons."""
    stations = 2 if options.quick else 20
    archive = one_message_archive(options.folder, stations)
    objects = python_with(options.folder / "objects", OBJECTS)
    size = f"{stations * MINUTES:,} small objects to raw"
    local = _compare("archive_local", f"2. {size}, from a folder", str(archive), {}, "pandas", 10, objects, options)
    with s3_server(archive) as environment:
        title = f"2. {size}, from S3"
        s3 = _compare("archive_s3", title, "s3://bench", environment, "s3fs + pandas", 25, objects, options)
    return [local, s3]


def _compare(
    name: str, title: str, url: str, environment: dict[str, str], peer: str, least: float,
    objects: Path | None, options: Options,
) -> Comparison:  # fmt: skip
    out = options.folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    lake = out / f"{name}-lake"
    peers = {"frames": options.peer_python, "rows": options.peer_python}
    if objects:
        peers |= {"duckdb": objects} | ({"wrangler": objects} if environment else {})
    written = {key: out / f"{name}-{key}.parquet" for key in peers}
    titles = TITLES | {key: f"{peer}, {TITLES[key]}" for key in ("frames", "rows")}
    sides = [
        Side.ours("weather_backfill", "archive", url, str(lake), DAY.isoformat(), environment=environment),
        *(
            Side.peer(
                python, titles[key], f"archive-{key}", url, str(written[key]), environment=environment,
                slow=key in ("frames", "wrangler") or (key == "rows" and bool(environment)),
            )
            for key, python in peers.items()
        ),
    ]  # fmt: skip
    results = compare(sides, options)
    ours = lake / layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, PartitionKey(DAY, TENANT))
    for key, theirs in written.items():
        if titles[key] in results:
            assert_same(ours, theirs, KEYS, ["value"])
    mine, obvious = (results[side.name].seconds for side in sides[:2])
    target = Target(f"{title}: times faster than {sides[1].name}", obvious / mine, least, at_least=True)
    return Comparison(name, title, results, [target])
