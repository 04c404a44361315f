from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.aceiot import request_budget
from weather_backfill.sources.aceiot.connection import AceiotConnection
from weather_backfill.sources.aceiot.points import choose_points


def make(**options: Any) -> AceiotConnection:
    given = {"base_url": "https://host/api/", "api_key": "${ACE_KEY}", "sites": ["north"], **options}
    return AceiotConnection.model_validate(given)


def test_defaults() -> None:
    connection = make()
    assert (connection.base_url, connection.lookback_days, connection.cadence_seconds) == (
        "https://host/api",
        365,
        60,
    )
    assert connection.requests_per_minute is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key": "the key itself"}, "reference to an environment variable"),
        ({"base_url": "ftp://host"}, "expected an address such as"),
        ({"base_url": "https://user:word@host/api"}, "without user, password"),
        ({"base_url": "https://host/api?key=1"}, "without user, password"),
        ({"sites": []}, "at least 1"),
        ({"sites": ["../etc"]}, "not allowed"),
        ({"sites": ["a/b"]}, "not allowed"),
        ({"sites": ["a|b"]}, "not allowed"),
        ({"sites": ["north", "north"]}, "stand twice: north"),
        ({"page_size": 7}, "knows the page sizes 3, 10"),
        ({"metrics": {"*": "temperature"}}, "temperature are not known"),
        ({"requests_per_minute": 0}, "greater than or equal to 1"),
        ({"nonsense": 1}, "Extra inputs"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make(**options)


CONFIGURED = ["b/x/1", "a/weather/temp", "a/weather/pressure", "b/x/1", "c[1]/y"]


def test_points_are_chosen_by_pattern_and_become_metrics_in_order() -> None:
    connection = make(points=["*/weather/*", "c[[]1]*"], metrics={"*/temp": "air_temperature"})
    points = choose_points("north", CONFIGURED, connection)
    assert points.metrics == ("a/weather/pressure", "air_temperature", "c[1]/y")
    assert points.names.to_pylist() == ["a/weather/pressure", "a/weather/temp", "c[1]/y"]
    assert choose_points("north", CONFIGURED, make()).metrics == tuple(sorted(set(CONFIGURED)))


def test_two_points_of_one_metric_would_overwrite_each_other() -> None:
    connection = make(metrics={"a/weather/*": "air_temperature"})
    with pytest.raises(ConfigurationError, match="'a/weather/pressure' and 'a/weather/temp' would both become"):
        choose_points("north", CONFIGURED, connection)


def test_no_wanted_point_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="none of its 5 configured points"):
        choose_points("north", CONFIGURED, make(points=["nothing*"]))


def test_the_shape_is_the_cheapest_that_is_complete() -> None:
    small = request_budget.shape_of(20, make())
    assert (small.windows, small.page_size, small.requests) == (1, 50_000, 1)
    large = request_budget.shape_of(4583, make())
    assert large.rows == 6_599_520
    assert large.rows / large.windows <= request_budget.WINDOW_ROWS
    assert (large.page_size, large.requests) == (500_000, 18)
    chosen = request_budget.shape_of(20, make(page_size=100, window_minutes=60))
    assert (chosen.windows, chosen.page_size, chosen.requests) == (24, 100, 288)


def test_the_plan_of_a_year_states_requests_waiting_and_what_the_page_size_saves() -> None:
    plan = request_budget.plan({"north": 4583}, make(), 365, 50)
    assert plan.chosen.requests == 1 + 365 * 18
    assert plan.chosen.duration == timedelta(minutes=6571 / 50)
    assert plan.by_page_size[10_000].requests == 1 + 365 * 6 * 110
    assert plan.by_page_size[3].duration > timedelta(days=11_000)
    text = str(plan)
    assert "365 days at page size 500,000: 6,571 requests, 2.2 hours at 50 requests a minute" in text
    assert "default of 10,000 it would be 240,901 requests (36.7 times as many)" in text
    assert "saves 78.1 hours" in text
    assert "days at 50" in str(plan.by_page_size[10_000])
