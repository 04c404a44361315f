"""What an ACE IoT server sends now and then: odd cells in pages, and a list of points that shifts meanwhile."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from tenacity import wait_none

from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout, parquet
from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.model.errors import SchemaError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.sources.aceiot.pagination import IncompleteWalkError
from weather_backfill_tests.e2e.aceiot_platform import add_tenant
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.sources.aceiot.fixed_server import FixedServer, page, points, serve
from weather_backfill_tests.sources.aceiot.helpers import source

DAY = date(2025, 5, 4)
A, B, C = (f"plant/{name}" for name in ("a", "b", "c"))


@pytest.fixture(autouse=True)
def _no_day_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weather_backfill.util.retries.tenacity.wait_exponential_jitter", lambda **waits: wait_none())


def sample(value: str, minute: int, name: str = A, time: str = "") -> str:
    """A sample whose value is as given, quotes and all."""
    return f'{{"name":"{name}","value":{value},"time":"{time or f"{DAY}T00:{minute:02}:00"}"}}'


def test_odd_cells_through_dagster_are_a_reject_each_and_cost_nothing_else(
    local_platform: Platform, tmp_path: Path
) -> None:
    first = page(
        sample('"20.5"', 0), sample("NaN", 1), sample('"20.75"', 2), sample("true", 3), sample("21", 4),
        sample('"21.25"', 5, time=f"{DAY}T00:05:00.123456789Z"), sample('"active"', 6), sample("null", 7),
        cursor="more",
    )  # fmt: skip
    last = page(*(sample(f'"{n}.0"', n) for n in range(10, 60)))
    with serve({"": first, "more": last}, points([A], total=1)) as server:
        add_tenant(local_platform, "acme", server.url, ["plant"], cadence_seconds=60)
        asset = build_definitions(local_platform.settings).resolve_assets_def(
            dg.AssetKey(["aceiot", "raw_observations"])
        )
        with local_platform.instance as instance:
            key = dg.MultiPartitionKey({"date": str(DAY), "tenant": "acme"})
            result = dg.materialize([asset], instance=instance, partition_key=key)
    assert result.success
    table = local_platform.day(layout.RAW_OBSERVATIONS, "acme", DAY, "aceiot")
    midnight = datetime(2025, 5, 4, tzinfo=UTC)
    assert table["value"].to_pylist() == [20.5, 20.75, 21.0, 21.25, *(float(n) for n in range(10, 60))]
    assert table["observed_at"][3].as_py() == midnight.replace(minute=5, microsecond=123456)
    stored = layout.day_key(layout.REJECTED_OBSERVATIONS, "aceiot", PartitionKey(DAY, "acme"))
    rejects = parquet.decode(local_platform.lake.get(stored)).to_pylist()
    assert [(r["raw_text"].split(" | ")[1], r["observed_at"].minute) for r in rejects] == [
        ("NaN", 1), ("true", 3), ("active", 6),
    ]  # fmt: skip
    assert {r["reason"] for r in rejects} == {"value is not a finite number"}
    made = result.asset_materializations_for_node("aceiot__raw_observations")
    [written] = [one for one in made if one.asset_key == asset.key]
    counts = {name: written.metadata[f"rows_{name}"].value for name in ("read", "kept", "rejected", "null")}
    assert counts == {"read": 58, "kept": 54, "rejected": 3, "null": 1}


def outcome(server: FixedServer) -> RawDay | BaseException:
    with source(server.url, ["plant"], cadence_seconds=60) as opened:
        [day] = opened.days([DAY])
    return day.error if isinstance(day, DayFailure) else day


def metrics(day: RawDay | BaseException) -> list[str]:
    assert isinstance(day, RawDay), day
    return sorted(day.table["metric"].unique().to_pylist())


SAMPLES = page(sample('"1"', 0), sample('"2"', 0, B), sample('"3"', 0, C))


@pytest.mark.parametrize("total", [3, None])
def test_a_list_of_points_that_shifts_is_walked_again(total: int | None) -> None:
    shifted = [points([A, B], 2, total), points([B], 2, total)]
    whole = [points([A, B], 2, total), points([C], 2, total)]
    with serve(SAMPLES, *shifted, *whole) as server:
        assert metrics(outcome(server)) == [A, B, C]
        assert server.asked.count("configured_points") == 4


def test_a_list_that_grows_while_it_is_walked_is_walked_again() -> None:
    lists = [points([A, B], 2, 2), points([], 2, 3), points([A, B], 2, 3), points([C], 2, 3)]
    with serve(SAMPLES, *lists) as server:
        assert metrics(outcome(server)) == [A, B, C]


def test_a_point_that_came_twice_beside_all_others_costs_nothing() -> None:
    with serve(SAMPLES, points([A, B], 2, 3), points([B, C], 2, 3)) as server:
        assert metrics(outcome(server)) == [A, B, C]
        assert server.asked.count("configured_points") == 2


def test_a_list_that_never_holds_all_points_fails_and_says_so() -> None:
    with serve(SAMPLES, points([A, B, B], total=3)) as server:
        error = outcome(server)
    assert isinstance(error, IncompleteWalkError)
    assert error.retryable
    assert "3 points came, 2 of them distinct, the API says 3" in str(error)


@pytest.mark.parametrize("item", [{"name": 7}, {"name": ""}, {}, "plant/a", None])
def test_a_point_without_a_name_is_told(item: Any) -> None:
    with serve(SAMPLES, {"items": [{"name": A}, item], "pages": 1, "total": 2}) as server:
        error = outcome(server)
    assert isinstance(error, SchemaError)
    assert "1 of 2 points have no name, the first is" in str(error)


@pytest.mark.parametrize("change", [{"pages": "1"}, {"total": "2"}, {"items": None}])
def test_a_list_with_odd_counts_is_refused(change: dict[str, Any]) -> None:
    with serve(SAMPLES, points([A], total=1) | change) as server:
        error = outcome(server)
    assert isinstance(error, SchemaError)
    assert json.dumps(change)[1:8] in str(error)
