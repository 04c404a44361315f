"""`weather-backfill upgrade` on what an old release itself wrote: hourly DWD and minute Tempest data of schema 1."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from weather_backfill.backfill.upgrade import plan_upgrade, upgrade
from weather_backfill.lake import layout, parquet
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.upgrade.archived import D1, D2, D3, D4, weather
from weather_backfill_tests.upgrade.make import unpack


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    unpack("1160759", tmp_path)
    return Platform(tmp_path, str(tmp_path / "lake"))


Row = tuple[Any, ...]


def rows(platform: Platform, service: str, tenant: str, day: date) -> set[Row]:
    """What the old release knew of a day's rows: station, metric, stamp, value, the upstream's quality."""
    key = layout.day_key(layout.RAW_OBSERVATIONS, service, PartitionKey(day, tenant))
    table = parquet.decode(platform.lake.get(key))
    extra = [name for name in table.schema.names if name == "source_quality"]
    names = ["station_id", "metric", "observed_at", "value", *extra]
    return set(zip(*(table[name].to_pylist() for name in names), strict=True))


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_hourly_days_go_from_ten_past_to_midnight(platform: Platform) -> None:
    """TU is the reading ten minutes before its stamp, FF the mean of the hour up to then: both of 00:00 move."""
    days = [D1, D2, D3]
    before = {day: rows(platform, "dwd", "cirrus", day) for day in days}
    upstream = platform.folder / "upstream" / "dwd"
    upstream.rename(platform.folder / "gone")  # it does without the upstream
    [done] = weather(platform, "upgrade", "--tenant", "cirrus", "--yes")
    assert (done["days"], done["refined"], done["rejects"], done["failed"]) == (3, 3, 8, {})
    first = {row for row in before[D1] if row[2] == midnight(D1)}
    assert len(first) == 8
    for day in days:
        after = timedelta(days=1)
        theirs = set().union(*before.values()) - first
        expected = {row for row in theirs if midnight(day) < row[2] <= midnight(day) + after}
        assert rows(platform, "dwd", "cirrus", day) == expected
    key = layout.day_key(layout.REJECTED_OBSERVATIONS, "dwd", PartitionKey(D1, "cirrus"))
    rejects = parquet.decode(platform.lake.get(key)).to_pylist()
    reasons = [r["reason"] for r in rejects if r["observed_at"] == midnight(D1)]
    assert sorted(reasons) == ["TT_TU is '  warm', expected a number", *["before_first_day"] * 8], "beside its own"


def test_minute_reports_move_where_most_of_the_minute_lies_before_midnight(platform: Platform) -> None:
    before = {day: rows(platform, "tempest", "acme", day) for day in (D1, D2, D4)}
    assert min(row[2] for row in before[D1]) == midnight(D1) + timedelta(seconds=47)
    with platform.desk() as desk:
        [plan] = plan_upgrade(desk, "acme")
        done = upgrade(desk, plan)
        assert (done.days, done.rows_moved, done.rejects, done.failed) == (3, 0, 0, {})
        assert {day: rows(platform, "tempest", "acme", day) for day in before} == before, "none is stamped before :30"


def test_a_tenant_at_work_is_not_touched(platform: Platform) -> None:
    with platform.desk() as desk, pytest.raises(ConfigurationError, match=r"tempest-borealis.* is active: wait"):
        plan_upgrade(desk, "borealis")
