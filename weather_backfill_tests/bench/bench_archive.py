"""(a) A day of an archive with one message an object to raw Parquet, from a folder and from an S3 server.

Ours decodes, collapses duplicates, flags, checks and writes the product's way; the peers only decode, drop
duplicates, sort and write. The targets are against the obvious loop with a pandas frame an object; the same with
one frame for all (and on S3 one concurrent call for all objects) stands beside it, because a careful person
would do that.
"""

from __future__ import annotations

from collections.abc import Sequence

from weather_backfill.lake import layout
from weather_backfill.partitions import PartitionKey
from weather_backfill_tests.bench.agree import assert_same
from weather_backfill_tests.bench.data import DAY, SERVICE, TENANT, one_message_archive
from weather_backfill_tests.bench.harness import Comparison, Options, Side, Target, compare
from weather_backfill_tests.bench.s3_server import s3_server


def run(options: Options) -> Sequence[Comparison]:
    """Both comparisons."""
    stations = 2 if options.quick else 20
    archive = one_message_archive(options.folder, stations)
    size = f"{stations} stations x 1,440 objects"
    local = _compare("archive_local", f"(a) {size} in a folder", str(archive), {}, "pandas", 10, options)
    with s3_server(archive) as environment:
        s3 = _compare("archive_s3", f"(a) {size} on S3", "s3://bench", environment, "s3fs + pandas", 20, options)
    return [local, s3]


def _compare(
    name: str, title: str, url: str, environment: dict[str, str], peer: str, least: float, options: Options
) -> Comparison:
    out = options.folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    lake, frames, rows = out / f"{name}-lake", out / f"{name}-frames.parquet", out / f"{name}-rows.parquet"
    sides = [
        Side.ours("weather_backfill", "archive", url, str(lake), DAY.isoformat(), environment=environment),
        Side.peer(options, f"{peer}, a frame an object", "archive-frames", url, str(frames), environment=environment),
        Side.peer(options, f"{peer}, one frame", "archive-rows", url, str(rows), environment=environment),
    ]
    results = compare(sides, options)
    ours = lake / layout.day_key(layout.RAW_OBSERVATIONS, SERVICE, PartitionKey(DAY, TENANT))
    for theirs in (frames, rows):
        assert_same(ours, theirs, ["station_id", "metric", "observed_at"], ["value"])
    mine, obvious = (results[side.name].seconds for side in sides[:2])
    target = Target(f"{title}: times faster than {sides[1].name}", obvious / mine, least, at_least=True)
    return Comparison(name, title, results, [target])
