"""The tags that a run is queued with: limits and priorities depend on them."""

from __future__ import annotations

import pytest

from weather_backfill.dagster.run_coordinator import run_tags

RAW, REFINED = ["tempest", "raw_observations"], ["tempest", "refined_15m"]
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DAY = "dagster/partition"


def test_a_range_of_one_tenant() -> None:
    tags = {START: "2024-01-01|acme", END: "2024-01-30|acme", "other": "x"}
    assert run_tags(tags, [RAW, REFINED]) == {
        "weather/service": "tempest", "weather/tenant": "acme", "dagster/priority": "8795",
    }  # fmt: skip


def test_a_single_day() -> None:
    assert run_tags({DAY: "2024-01-30|acme"}, [RAW])["weather/tenant"] == "acme"


def test_a_range_over_tenants_is_nobodys() -> None:
    tags = run_tags({START: "2024-01-01|acme", END: "2024-01-30|borealis"}, [RAW])
    assert "weather/tenant" not in tags
    assert "dagster/priority" in tags


def test_the_newest_days_come_first() -> None:
    priorities = [
        int(run_tags({DAY: f"{day}|acme"}, [RAW])["dagster/priority"])
        for day in ("1990-05-01", "2019-01-01", "2024-01-01")
    ]
    assert priorities == sorted(priorities)
    assert len(set(priorities)) == 3


@pytest.mark.parametrize("tags", [{DAY: "acme"}, {START: "acme", END: "acme"}])
def test_a_tenants_station_history_is_the_tenants(tags: dict[str, str]) -> None:
    history = ["dwd", "station_history"]
    assert run_tags(tags, [history]) == {"weather/service": "dwd", "weather/tenant": "acme"}
    assert run_tags({START: "acme", END: "borealis"}, [history]) == {"weather/service": "dwd"}


@pytest.mark.parametrize("tags", [{}, {DAY: "2024-Q1"}, {DAY: "2024-01-01"}, {START: "x", END: "y"}])
def test_a_run_of_other_partitions_has_only_its_service(tags: dict[str, str]) -> None:
    assert run_tags(tags, [RAW]) == {"weather/service": "tempest"}


@pytest.mark.parametrize("assets", [[], [["alone"]], [RAW, ["dwd", "raw_observations"]]])
def test_no_service_or_several_are_not_tagged(assets: list[list[str]]) -> None:
    assert run_tags({}, assets) == {}
