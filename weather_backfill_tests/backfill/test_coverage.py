"""What the lake holds, from footers alone; and the calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import matplotlib.image
import numpy as np
import pytest

from weather_backfill.backfill.coverage import (
    HeldDay,
    draw_calendar,
    held_days,
    refined_dates,
    unrefined,
)
from weather_backfill.backfill.footer_cache import remembered_refined
from weather_backfill.backfill.summary import summarize_tenants
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.lake.parquet import cadence_lineage
from weather_backfill.lake.writer import write_day
from weather_backfill.model import schemas
from weather_backfill.model.days import Cadence, DayTable
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.refine.days import refine_day
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.platform import START, Platform
from weather_backfill_tests.refine.test_windows import raw_table

RED = np.array([0xC6, 0x28, 0x28]) / 255


def write(
    store: ObjectStore, day: int, rows: int, tenant: str = "acme", incomplete: str | None = None, cadence: int = 60
) -> None:
    table = raw_table([(60 * n, "ST-1", "air_temperature", 1.0, 1) for n in range(rows)])
    lineage = {"rejects": "2", "completeness": "0.5", **cadence_lineage(Cadence(cadence))}
    key = PartitionKey(START + timedelta(days=day), tenant)
    write_day(store, "tempest", layout.RAW_OBSERVATIONS, DayTable(key, table, lineage, incomplete=incomplete))


def test_held_days_are_what_the_files_say(store: ObjectStore) -> None:
    write(store, 0, 5)
    write(store, 2, 7, incomplete="a station is damaged")
    write(store, 1, 1, tenant="acme2")
    held = held_days(store, "tempest", "acme")
    assert sorted(held) == [START, START + timedelta(days=2)], "acme2 is another tenant"
    size = store.head(layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(START, "acme"))).size
    assert held[START] == HeldDay(START, 5, 2, 0.5, size)
    assert held[START + timedelta(days=2)].incomplete == "a station is damaged"
    assert held_days(store, "tempest", "nobody") == {}
    assert refined_dates(store, "tempest", "acme") == set()


@pytest.mark.parametrize("data", [b"", b"PAR1 not at all"])
def test_a_damaged_file_is_an_incomplete_day_and_holds_up_no_other(store: ObjectStore, data: bytes) -> None:
    write(store, 1, 3)
    key = layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(START, "acme"))
    store.put(key, data)
    store.put(key.replace("2024-01-01", "some-day"), b"of somebody else")
    held = held_days(store, "tempest", "acme")
    assert "date=2024-01-01/part.parquet is not a Parquet file" in str(held[START].incomplete)
    assert (held[START].rows, held[START].completeness, held[START + timedelta(days=1)].rows) == (0, 0.0, 3)
    assert len(held) == 2


def test_refined_is_stale_where_raw_has_other_rows_now(store: ObjectStore) -> None:
    write(store, 0, 5)
    write(store, 1, 5)
    keys = [PartitionKey(START + timedelta(days=day), "acme") for day in range(2)]
    for key in keys:
        write_day(store, "tempest", layout.REFINED_15M, refine_day(store, "tempest", key))
    refined = remembered_refined(store, day_objects(store, layout.REFINED_15M, "tempest", "acme"))
    assert unrefined(refined, held_days(store, "tempest", "acme")) == {}
    write(store, 0, 5)  # the same rows once more
    write(store, 1, 6)
    assert set(unrefined(refined, held_days(store, "tempest", "acme"))) == {keys[1].date}


def test_refined_of_old_raw_is_stale_however_late_it_was_written(store: ObjectStore) -> None:
    key = PartitionKey(START, "acme")
    write(store, 0, 5)
    slow = refine_day(store, "tempest", key)
    write(store, 0, 6)
    write_day(store, "tempest", layout.REFINED_15M, slow)
    refined = day_objects(store, layout.REFINED_15M, "tempest", "acme")
    reasons = unrefined(remembered_refined(store, refined), held_days(store, "tempest", "acme"))
    assert reasons == {START: "made from other rows than raw has now"}
    write_day(store, "tempest", layout.REFINED_15M, refine_day(store, "tempest", key))
    refined = day_objects(store, layout.REFINED_15M, "tempest", "acme")
    assert unrefined(remembered_refined(store, refined), held_days(store, "tempest", "acme")) == {}
    write(store, 0, 6, cadence=120)
    assert unrefined(remembered_refined(store, refined), held_days(store, "tempest", "acme")) == {
        START: "made with another cadence than raw has now"
    }


def test_refined_of_an_older_schema_is_stale_where_raw_is_of_today_s(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its windows mean has changed, though raw may hold the same rows."""
    key = PartitionKey(START, "acme")
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "SCHEMA_VERSION", "1")
        write(store, 0, 5)
        write_day(store, "tempest", layout.REFINED_15M, refine_day(store, "tempest", key))
    refined = remembered_refined(store, day_objects(store, layout.REFINED_15M, "tempest", "acme"))
    assert unrefined(refined, held_days(store, "tempest", "acme")) == {}, "both are old: a matter of the upgrade"
    write(store, 0, 5)
    assert unrefined(refined, held_days(store, "tempest", "acme")) == {
        START: "of an older schema version than raw has now"
    }


def test_a_refined_file_of_an_older_release_counts_as_good(store: ObjectStore) -> None:
    write(store, 0, 5)
    day = refine_day(store, "tempest", PartitionKey(START, "acme"))
    write_day(store, "tempest", layout.REFINED_15M, replace(day, lineage={"source": "raw_observations"}))
    refined = remembered_refined(store, day_objects(store, layout.REFINED_15M, "tempest", "acme"))
    assert unrefined(refined, held_days(store, "tempest", "acme")) == {}


def red_share(path: Path) -> float:
    pixels = matplotlib.image.imread(path)[:, :, :3]
    assert pixels.std() > 0.05, "not a blank picture"
    return float((np.abs(pixels - RED) < 0.02).all(axis=2).mean())


def test_the_calendar_shows_failed_days_in_red(tmp_path: Path) -> None:
    held = {START: HeldDay(START, 1, 0, 1.0, 10)}
    end = START + timedelta(days=4)
    good = draw_calendar({"acme": held}, {}, START, end, tmp_path / "deep/er/good.png")
    bad = draw_calendar({"acme": held}, {"acme": [end, date(1999, 1, 1)]}, START, end, tmp_path / "bad.png")
    assert red_share(bad) > red_share(good) + 0.02


@pytest.mark.parametrize("days", [1, 400])
def test_any_length_is_drawn(tmp_path: Path, days: int) -> None:
    path = draw_calendar({"a": {}, "b": {}}, {}, START, START + timedelta(days=days - 1), tmp_path / "c.png")
    assert path.stat().st_size > 1000


def test_a_lake_without_tenants_is_drawn_and_has_no_rows(local_platform: Platform) -> None:
    platform = local_platform
    with platform.instance as instance:
        rows, path = summarize_tenants(
            instance, platform.settings, "tempest", None, START, START, platform.folder / "c.png"
        )
    assert rows == []
    assert path.exists()


def test_a_summary_counts_days_rows_and_rejects(platform: Platform) -> None:
    platform.add_tempest("acme", 1)
    write(platform.lake, 0, 5)
    write(platform.lake, 1, 7)
    write(platform.lake, 9, 7)
    with platform.instance as instance:
        [row], _ = summarize_tenants(
            instance, platform.settings, "tempest", None, START, START + timedelta(days=3), platform.folder / "c.png"
        )
    assert (row["tenant"], row["days"], row["raw"], row["refined"]) == ("acme", 4, 2, 0)
    assert (row["rows"], row["rejects"], row["complete"], row["failed"]) == (12, 4, 0.25, "")


def test_an_end_before_the_start_is_refused(local_platform: Platform) -> None:
    with dg.instance_for_test() as instance, pytest.raises(ConfigurationError, match=r"2024-01-01 .*before"):
        summarize_tenants(
            instance, local_platform.settings, "tempest", None, START + timedelta(days=1), START,
            local_platform.folder / "c.png",
        )  # fmt: skip
