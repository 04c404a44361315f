"""The names and origins that a server counts as its own."""

from __future__ import annotations

import pytest

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.security.own_hosts import OwnHosts, parse_authority, parse_origin
from weather_backfill.settings import load_settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Weather.Example.org:3000", ("weather.example.org", 3000)), ("x:80", ("x", None)), ("x:443", ("x", None)),
     ("x", ("x", None)), ("[::1]:3000", ("[::1]", 3000)), ("::1", None), ("", None), ("x:", None), ("a b", None),
     ("user@x", None), ("x/path", None), ("x, y", None), ("*", None), ("x:123456", None)],
)  # fmt: skip
def test_an_authority_is_a_name_and_a_port(text: str, expected: tuple[str, int | None] | None) -> None:
    assert parse_authority(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("http://x:3000", ("x", 3000)), ("https://x", ("x", None)), ("null", None), ("x:3000", None), ("", None),
     ("file://", None), ("ftp://x", None), ("http://x/", None), ("http://x http://y", None)],
)  # fmt: skip
def test_an_origin_is_that_of_a_web_page(text: str, expected: tuple[str, int | None] | None) -> None:
    assert parse_origin(text) == expected


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])
def test_whoever_listens_on_loopback_has_its_names(host: str) -> None:
    hosts = OwnHosts.of(host, 3000).hosts
    assert {("127.0.0.1", 3000), ("localhost", 3000), ("[::1]", 3000)} <= hosts
    assert ("127.0.0.1", None) not in hosts, "on its own port alone"


def test_another_address_is_answered_under_its_name_alone() -> None:
    assert OwnHosts.of("10.1.2.3", 3000).hosts == {("10.1.2.3", 3000)}


def test_a_page_commands_the_host_it_came_from_and_named_ones_command_each_name() -> None:
    own = OwnHosts.of("127.0.0.1", 3000, ["weather.example.org", "inside:3000"])
    local = ("localhost", 3000)
    assert own.are_pages_of("http://localhost:3000", local)
    assert not own.are_pages_of("http://127.0.0.1:3000", local)
    assert not own.are_pages_of("http://localhost:3001", local)
    assert own.are_pages_of("https://weather.example.org", ("inside", 3000)), "a proxy that rewrites Host"
    assert not own.are_pages_of("null", local)


def test_a_setting_that_names_no_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_ALLOWED_HOSTS", '["weather.example.org", "w:8080"]')
    assert load_settings().allowed_hosts == ["weather.example.org", "w:8080"]
    for wrong in ('["https://weather.example.org"]', '["*"]'):
        monkeypatch.setenv("WEATHER_ALLOWED_HOSTS", wrong)
        with pytest.raises(ConfigurationError, match=r"WEATHER_ALLOWED_HOSTS.*expected name or name:port"):
            load_settings()
