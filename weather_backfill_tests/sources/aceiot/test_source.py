"""The source against the simulator."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from weather_backfill.http.circuit_breaker import BreakerOpenError, BreakerRules, BreakerState
from weather_backfill.http.client import Policy
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.model.errors import AccessDeniedError, ConfigurationError, NotFoundError, SourceUnavailableError
from weather_backfill.model.schemas import RAW
from weather_backfill.sources.aceiot.connection import PAGE_SIZES
from weather_backfill.sources.aceiot.simulate_data import LAYOUT_DAY, SiteSpec, layout_site, truth
from weather_backfill.sources.aceiot.source import AceiotSource
from weather_backfill_tests.sources.aceiot.helpers import expected, plain, source
from weather_backfill_tests.sources.aceiot.simulator_process import VARIABLE, Simulator, simulator

NORTH, SOUTH = SiteSpec("north", 20, 300), SiteSpec("south", 12, 600, gap=(3, 9))
DAY = date(2025, 3, 30)


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with simulator("--site", "north:20:300", "--site", "south:12:600:3-9", "--site", "layout", "--cursor-fault") as s:
        yield s


@pytest.fixture(autouse=True)
def _no_day_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weather_backfill.util.retries.tenacity.wait_exponential_jitter", lambda **waits: wait_none())


def one(outcomes: Iterator[RawDay | DayFailure]) -> RawDay:
    [day] = outcomes
    assert isinstance(day, RawDay), day
    return day


def failure(outcomes: Iterator[RawDay | DayFailure]) -> BaseException:
    [day] = outcomes
    assert isinstance(day, DayFailure)
    return day.error


def test_a_day_of_two_sites_equals_the_truth_and_its_counts_reconcile(server: Simulator) -> None:
    day = one(source(server.url, ["south", "north"], window_minutes=360).days([DAY]))
    day.table.validate(full=True)
    assert day.table.schema == RAW
    assert plain(day.table).equals(expected([NORTH, SOUTH], DAY))
    f = day.facts
    gone = ("rejected", "null", "duplicate", "unconfigured", "outside_window")
    assert f["rows_read"] == f["rows_kept"] + sum(f[f"rows_{k}"] for k in gone)
    assert all(f[f"rows_{k}"] > 0 for k in gone)
    assert (f["rows_kept"], f["rows_rejected"]) == (day.table.num_rows, day.rejects.num_rows)
    assert f["windows"] == 8
    assert day.cadence.seconds == 60


def test_a_mapped_point_takes_its_metrics_name_and_other_points_are_left_out(server: Simulator) -> None:
    chosen = source(server.url, ["north"], points=["*/weather/*"], metrics={"*/weather/temp": "air_temperature"})
    day = one(chosen.days([DAY]))
    metrics = set(day.table["metric"].unique().to_pylist())
    assert metrics == {
        "air_temperature",
        *(f"acme/north/weather/{m}" for m in ("humidity", "pressure", "wind_speed")),
    }
    assert day.table["metric"].to_pylist()[-1] == "air_temperature"


@pytest.mark.parametrize("size", PAGE_SIZES)
def test_the_measured_layout_is_complete_at_every_page_size(server: Simulator, size: int) -> None:
    day = one(source(server.url, ["layout"], page_size=size).days([LAYOUT_DAY]))
    assert day.table.num_rows == 3222
    assert plain(day.table).equals(expected([layout_site()], LAYOUT_DAY))


def test_a_day_before_the_first_is_empty(server: Simulator) -> None:
    day = one(source(server.url, ["north"]).days([date(2019, 12, 30)]))
    assert (day.table.num_rows, day.facts["rows_read"]) == (0, 0)


def test_the_inventory_and_plan_cost_one_request(server: Simulator) -> None:
    before = len(server.requests())
    chosen = source(server.url, ["north"], cadence_seconds=300)
    days = chosen.inventory(date(2025, 1, 1), date(2025, 1, 31))
    assert len(days) == 31
    assert days[DAY.replace(month=1)].requests == 1
    assert "31 days at page size 10,000: 32 requests" in str(chosen.plan(31))
    assert len(server.requests()) == before + 1


def test_a_wrong_key_fails_every_day_and_says_so(server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "wr0ng-key")
    chosen = source(server.url, ["north"])
    error = failure(chosen.days([DAY]))
    assert isinstance(error, AccessDeniedError)
    assert f"Check the key in ${{{VARIABLE}}}" in str(error)
    assert "wr0ng-key" not in str(error)
    assert chosen.client.breaker.status().state is BreakerState.CLOSED
    monkeypatch.delenv(VARIABLE)
    error = failure(source(server.url, ["north"]).days([DAY]))
    assert isinstance(error, ConfigurationError)


def test_an_unknown_site_fails_and_says_so(server: Simulator) -> None:
    error = failure(source(server.url, ["nowhere"]).days([DAY]))
    assert isinstance(error, AccessDeniedError)
    assert "/sites/nowhere/configured_points" in str(error)


def test_a_wrong_address_fails_and_says_so(server: Simulator) -> None:
    error = failure(source(f"{server.root}/elsewhere", ["north"]).days([DAY]))
    assert isinstance(error, NotFoundError)
    assert "base_url" in str(error)


class Flaky:
    """Fails the first requests of the window that starts at an hour."""

    def __init__(self, chosen: AceiotSource, hour: int, failures: int) -> None:
        self.asked: list[int] = []
        self._hour, self._failures, self._samples = hour, failures, chosen._api.samples
        chosen._api.samples = self  # type: ignore[method-assign,assignment]

    def __call__(self, site: str, start: datetime, *rest: Any) -> bytes:
        self.asked.append(start.hour)
        if start.hour == self._hour and self.asked.count(start.hour) <= self._failures:
            raise SourceUnavailableError("cut")
        return self._samples(site, start, *rest)


def quarters(server: Simulator, **options: Any) -> AceiotSource:
    return source(server.url, ["north"], window_minutes=360, parallel_requests=1, page_size=10_000, **options)


def test_only_a_failed_window_is_asked_for_again(server: Simulator) -> None:
    chosen = quarters(server)
    flaky = Flaky(chosen, 12, failures=2)
    assert plain(one(chosen.days([DAY])).table).equals(expected([NORTH], DAY))
    assert flaky.asked == [0, 6, 12, 12, 12, 18]


def test_windows_that_are_done_stay_done_while_the_day_is_tried_again(server: Simulator, tmp_path: Path) -> None:
    chosen = quarters(server, spill_folder=tmp_path)
    flaky = Flaky(chosen, 18, failures=4)  # three tries of the window, then one in the day's second try
    assert one(chosen.days([DAY])).table.num_rows == truth(NORTH, DAY).num_rows
    assert flaky.asked == [0, 6, 12, 18, 18, 18, 18, 18]
    assert list(tmp_path.iterdir()) == []


def test_an_api_that_is_down_opens_the_breaker_and_the_days_complete_when_it_is_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    state = MemoryState()
    rules = BreakerRules(threshold=6, cooldown=0.3, patience=0.1)
    policy = Policy(retry_waits=(0.01, 0.01, 0.01), breaker=rules)
    url = f"http://127.0.0.1:{port}/api"
    days = [DAY, date(2025, 3, 31), date(2025, 4, 1)]
    down = source(url, ["north"], state=state, policy=policy)
    outcomes = list(down.days(days))
    assert [type(o) for o in outcomes] == [DayFailure] * 3
    first, *_, last = (o.error for o in outcomes if isinstance(o, DayFailure))
    assert "ConnectError" in str(first) or "ConnectError" in str(last)
    assert isinstance(last, BreakerOpenError)
    status = down.client.breaker.status()
    assert status.state is not BreakerState.CLOSED
    assert status.failures >= 6
    assert "ConnectError" in (status.last_error or "")
    with simulator("--site", "north:20:300", port=port) as server:
        server.set_faults(down=True)
        error = failure(source(url, ["north"], state=state, policy=policy).days([DAY]))
        assert isinstance(error, SourceUnavailableError)
        server.set_faults(down=False)
        patient = Policy(retry_waits=(0.01,), breaker=BreakerRules(threshold=6, cooldown=0.3, patience=60))
        again = source(url, ["north"], state=state, policy=patient)
        assert all(isinstance(o, RawDay) for o in again.days(days))
        assert again.client.breaker.status().state is BreakerState.CLOSED


def test_a_consumer_that_stops_early_ends_the_day_under_way(server: Simulator, tmp_path: Path) -> None:
    chosen = source(server.url, ["north"], spill_folder=tmp_path, requests_per_minute=3)
    days = chosen.days([date(2025, 4, n) for n in range(1, 20)])
    assert isinstance(next(days), RawDay)
    days.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
