"""The same day by two processes at once: one whole version wins, and a reader never sees half of one or none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from weather_backfill.lake import layout, parquet
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.storage.object_store import STAGING
from weather_backfill_tests.lake.writer import DATASETS, KEY, number_of, version
from weather_backfill_tests.platform import PROJECT, Platform

ROUNDS = int(os.environ.get("WEATHER_TWO_WRITERS_ROUNDS", "20"))


@pytest.mark.timeout(280)
def test_two_writers_of_a_day_leave_one_whole_version(platform: Platform) -> None:
    lake = platform.lake
    for dataset, schema in DATASETS.items():
        write_day(lake, "tempest", dataset, DayTable(KEY, version(schema, 0)))
    endpoint = platform.environment.get("WEATHER_S3_ENDPOINT_URL", "")
    command = [sys.executable, "-m", "weather_backfill_tests.lake.writer", platform.storage_url, endpoint]
    writers = [
        subprocess.Popen([*command, str(first), str(ROUNDS)], cwd=PROJECT, stderr=subprocess.PIPE) for first in (1, 2)
    ]
    seen: dict[str, list[int]] = {dataset: [] for dataset in DATASETS}
    try:
        while any(writer.poll() is None for writer in writers):
            for dataset in DATASETS:
                key = layout.day_key(dataset, "tempest", KEY)
                seen[dataset].append(number_of(parquet.decode(lake.get(key))))
                assert [o.key for o in lake.list(dataset)] == [key]
    finally:
        for writer in writers:
            writer.kill()
    assert [writer.wait() for writer in writers] == [0, 0], [w.stderr.read() for w in writers if w.stderr]
    last = {2 * ROUNDS - 1, 2 * ROUNDS}
    for dataset in DATASETS:
        left = number_of(parquet.decode(lake.get(layout.day_key(dataset, "tempest", KEY))))
        assert left in last, "the last word is a writer's last version"
        assert len(set(seen[dataset])) > 2, "the reader must have looked while they wrote"
    if lake.folder:
        assert not list((lake.folder / STAGING).iterdir()), "nothing half-written is left"
