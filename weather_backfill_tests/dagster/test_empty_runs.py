"""A run without partitions fails and says how to ask: Dagster itself would call it a success."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill_tests.platform import START, Platform

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DAY, NEXT_DAY = START.isoformat(), (START + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("service", "dataset", "first", "last"),
    [
        ("dwd", layout.RAW_OBSERVATIONS, f"{NEXT_DAY}|acme", f"{DAY}|acme"),
        ("dwd", layout.RAW_OBSERVATIONS, f"{DAY}|borealis", f"{DAY}|acme"),
        ("dwd", layout.REFINED_15M, f"{NEXT_DAY}|acme", f"{DAY}|acme"),
        ("dwd", layout.QUARTERLY_FEATURES, "2024-01-01|acme", "2023-10-01|acme"),
        ("dwd", layout.STATION_HISTORY, "borealis", "acme"),
    ],
)
def test_a_range_that_holds_nothing_fails(
    local_platform: Platform, service: str, dataset: str, first: str, last: str
) -> None:
    asset = build_definitions(local_platform.settings).resolve_assets_def(dg.AssetKey([service, dataset]))
    with local_platform.instance as instance:
        instance.add_dynamic_partitions(f"{service}_tenants", ["acme", "borealis"])
        tags = {RANGE_START: first, RANGE_END: last}
        result = dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False)
    assert not result.success
    [failed] = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    text = str(failed.step_failure_data.user_failure_data)
    assert f"{first}...{last} of {service}/{dataset} holds no partition" in text
    assert "exchange the ends" in text
    assert RANGE_START in text
    assert RANGE_END in text
