"""Days that lack something are read for that alone, and are then the days of a fresh load."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from weather_backfill.backfill.coverage import held_days
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.refine.days import to_raw_table
from weather_backfill.settings import Settings
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.source import DwdSource
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.tenants.filling import filled_days
from weather_backfill_tests.sources.dwd.files import NEW_YEAR, hourly_zip, put, zipped

DAYS = days_between(date(2020, 1, 1), date(2020, 1, 3))
TEMPERATURE, WIND = "hourly/air_temperature/recent", "hourly/wind/recent"


def wind_zip(station: int) -> bytes:
    """Three days of hourly wind."""
    lines = ["STATIONS_ID;MESS_DATUM;QN_3;F;D;eor"]
    lines += [f"{station};202001{1 + n // 24:02d}{n % 24:02d};3;{n % 7}.5;270;eor" for n in range(73)]
    return zipped(produkt_ff_stunde__txt="\n".join(lines) + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A server with temperature of two stations and wind of one."""
    root = tmp_path / "tree"
    for station in (1, 2):
        put(root, f"{TEMPERATURE}/stundenwerte_TU_{station:05d}_akt.zip", hourly_zip(station, NEW_YEAR, [5.0] * 73))
    put(root, f"{WIND}/stundenwerte_FF_00001_akt.zip", wind_zip(1))
    return root


def connection(root: Path, *products: str, **more: Any) -> DwdConnection:
    """Stations 1 and 2 by name."""
    return DwdConnection(base_url=root.as_uri(), stations=("00001", "00002"), products=products, **more)


def load(store: ObjectStore, asked: DwdConnection, fetched: list[str] | None = None) -> None:
    """Load the days as the asset does, reading only what they lack; `fetched` collects the zips that were asked for."""

    def opened(part: Any) -> DwdSource:
        source = DwdSource(part)
        if fetched is not None:
            usual = source._fetch
            source._fetch = lambda item: (fetched.append(item.file.name), usual(item))[1]  # type: ignore[method-assign]
        return source

    judged = partial(to_raw_table, limits=Settings().limits_of("dwd", asked), asked=asked.asked())
    for day in filled_days(store, "dwd", "acme", asked, DAYS, opened):
        made = judged(PartitionKey(day.date, "acme"), day)
        assert isinstance(made, DayTable), made
        write_day(store, "dwd", layout.RAW_OBSERVATIONS, made)


def files(store: ObjectStore) -> dict[str, bytes]:
    """The raw files by key."""
    return {stored.key: store.get(stored.key) for stored in store.list(layout.RAW_OBSERVATIONS)}


def test_a_file_that_comes_is_read_alone_and_the_day_is_that_of_a_fresh_load(tree: Path, tmp_path: Path) -> None:
    lake, fresh = ObjectStore(str(tmp_path / "lake")), ObjectStore(str(tmp_path / "fresh"))
    asked = connection(tree, "air_temperature", "wind")
    load(lake, asked)
    for day in held_days(lake, "dwd", "acme").values():
        [lack] = day.lacks
        assert (lack.station, lack.part) == ("00002", "wind")
        assert "has no file of wind in any folder" in lack.cause
    put(tree, f"{WIND}/stundenwerte_FF_00002_akt.zip", wind_zip(2))
    fetched: list[str] = []
    load(lake, asked, fetched)
    assert fetched == ["stundenwerte_FF_00002_akt.zip"]
    load(fresh, asked)
    assert files(lake) == files(fresh)
    assert all(day.incomplete is None for day in held_days(lake, "dwd", "acme").values())


def test_a_product_that_is_asked_for_later_is_read_alone(tree: Path, tmp_path: Path) -> None:
    put(tree, f"{WIND}/stundenwerte_FF_00002_akt.zip", wind_zip(2))
    lake, fresh = ObjectStore(str(tmp_path / "lake")), ObjectStore(str(tmp_path / "fresh"))
    load(lake, connection(tree, "air_temperature"))
    asked = connection(tree, "air_temperature", "wind")
    lacking = {str(lack) for day in held_days(lake, "dwd", "acme").values() for lack in day.lacking(asked.asked())}
    assert lacking == {"the day: wind was asked for since the day was loaded"}
    fetched: list[str] = []
    load(lake, asked, fetched)
    assert sorted(fetched) == ["stundenwerte_FF_00001_akt.zip", "stundenwerte_FF_00002_akt.zip"]
    load(fresh, asked)
    for key, data in files(fresh).items():
        ours, theirs = parquet.decode(lake.get(key)), parquet.decode(data)
        assert ours.replace_schema_metadata(None).equals(theirs.replace_schema_metadata(None))
        footers = [parquet.our_pairs(table.schema.metadata) for table in (ours, theirs)]
        assert footers[0]["source_objects"] == footers[1]["source_objects"]
        assert footers[0]["asked"] == footers[1]["asked"]
    assert all(not day.lacking(asked.asked()) for day in held_days(lake, "dwd", "acme").values())


def test_a_day_that_lacks_nothing_is_read_whole(tree: Path, tmp_path: Path) -> None:
    lake, fetched = ObjectStore(str(tmp_path / "lake")), list[str]()
    load(lake, connection(tree, "air_temperature"))
    load(lake, connection(tree, "air_temperature"), fetched)
    assert sorted(fetched) == ["stundenwerte_TU_00001_akt.zip", "stundenwerte_TU_00002_akt.zip"]
