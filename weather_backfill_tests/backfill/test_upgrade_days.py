"""Days of schema 1 written anew from the lake alone are those that today's reading of the upstream gives."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_backfill.backfill.upgrade import filling, find_days, upgrade_raw
from weather_backfill.lake import layout, parquet
from weather_backfill.model import schemas
from weather_backfill.model.days import RawDay
from weather_backfill.model.intervals import DAY_US
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.refine.quality import flag
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
from weather_backfill.sources.tempest.source import CADENCE, TempestSource
from weather_backfill.storage.object_store import ObjectStore

DAYS = days_between(date(2024, 1, 1), date(2024, 1, 4))


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> dict[date, pa.Table]:
    """What the source gives today."""
    archive = ObjectStore(str(tmp_path_factory.mktemp("archive")))
    write_archive(SimulatedArchive("acme", DAYS[0], DAYS[-1], 1, 7, 120, Faults(nulls=0.02)), archive)
    return {day.date: day.table for day in TempestSource(archive).days(DAYS) if isinstance(day, RawDay)}


@pytest.fixture
def lake(tmp_path: Path, today: dict[date, pa.Table], monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The same rows as the release before filed them: by stamp, and without intervals."""
    store = ObjectStore(str(tmp_path))
    whole = pa.concat_tables(today.values()).unify_dictionaries()
    by_stamp = np.asarray(whole["observed_at"].cast(pa.int64())) // DAY_US
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "SCHEMA_VERSION", "1")
        for day in DAYS:
            rows = whole.filter(pa.array(by_stamp == (day - date(1970, 1, 1)).days))
            order = pc.sort_indices(
                pa.table(
                    {n: rows[n].cast(pa.string()) if n != "observed_at" else rows[n] for n in rows.schema.names[:3]}
                ),
                sort_keys=[(name, "ascending") for name in ("station_id", "metric", "observed_at")],
            )
            rows = flag(rows.take(order), CADENCE).drop_columns(schemas.RAW.names[5:])
            lineage = {**parquet.cadence_lineage(CADENCE), "source": "an archive", "completeness": "1", "rejects": "0"}
            store.put(place(day), parquet.encode(rows, lineage).data)
    return store


def place(day: date) -> str:
    return layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(day, "acme"))


def plain(table: pa.Table) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k != "quality"} for row in table.to_pylist()]


def run(store: ObjectStore, stop_after: int = 9) -> int:
    fill = filling(TempestConnection(archive_url="/nowhere"))
    days = find_days(store, "tempest", "acme").days[:stop_after]
    for day in days:
        upgrade_raw(store, "tempest", PartitionKey(day, "acme"), fill)
    return len(days)


@pytest.mark.parametrize("stop_after", [9, 2], ids=["at once", "cut short"])
def test_upgraded_days_are_those_of_today(lake: ObjectStore, today: dict[date, pa.Table], stop_after: int) -> None:
    assert list(find_days(lake, "tempest", "acme").days) == DAYS
    done = run(lake, stop_after)
    assert list(find_days(lake, "tempest", "acme").days) == DAYS[done:]
    run(lake)
    assert find_days(lake, "tempest", "acme").days == ()
    for day in DAYS:
        table = parquet.decode(lake.get(place(day)))
        assert plain(table) == plain(today[day])
        footer = parquet.our_pairs(table.schema.metadata)
        assert footer["source"] == "an archive"
        assert footer["schema_version"] == schemas.SCHEMA_VERSION
    assert len(DAYS) == 4
    assert DAYS[-1] - DAYS[0] == timedelta(days=3)
