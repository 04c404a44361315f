"""Settings: from the environment, and every wrong one names its variable."""

from __future__ import annotations

import re
import traceback
from datetime import date
from pathlib import Path

import pytest

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.settings import Settings, load_settings
from weather_backfill.sources.registry import SERVICES
from weather_backfill.sources.service import absolute
from weather_backfill.storage.places import open_lake, open_tenant_files


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of the working folder


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_CHUNK_DAYS", "7")
    monkeypatch.setenv("WEATHER_SERVICE_CHUNK_DAYS", '{"dwd": 365}')
    monkeypatch.setenv("WEATHER_FIRST_DAY", '{"dwd": "1950-01-01"}')
    settings = load_settings()
    assert (settings.chunk_days_of("tempest"), settings.chunk_days_of("dwd")) == (7, 365)
    assert settings.first_day_of("dwd") == date(1950, 1, 1)
    assert settings.first_day_of("tempest") == date(2018, 1, 1)
    assert settings.first_day_of("another") == date(2018, 1, 1)


def test_a_chunk_suits_its_service_unless_one_is_set() -> None:
    services = ("tempest", "aceiot", "dwd")
    assert [Settings().chunk_days_of(service) for service in services] == [92, 30, 365]
    assert [Settings(chunk_days=7).chunk_days_of(service) for service in services] == [7, 7, 7]
    chosen = Settings(chunk_days=7, service_chunk_days={"dwd": 100})
    assert [chosen.chunk_days_of(service) for service in services] == [7, 7, 100]


def test_values_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEATHER_CHUNK_DAYS=9\nOTHER=1\n")
    assert load_settings().chunk_days == 9


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CHUNK_DAYS", "many", "valid integer"),
        ("CHUNK_DAYS", "0", "greater than or equal to 1"),
        ("CHUNK_DAYS", "1001", "less than or equal to 1000"),
        ("SERVICE_CHUNK_DAYS", '{"dwd": "x"}', "dwd"),
        ("SERVICE_CHUNK_DAYS", '{"dwd": 0}', "greater than or equal to 1"),
        ("SERVICE_CHUNK_DAYS", "365", "dict"),
        ("SERVICE_CHUNK_DAYS", "dwd=365", "JSON"),
        ("FIRST_DAY", "2020-01-01", "JSON"),
        ("FIRST_DAY", '{"dwd": "2020-02-30"}', "dwd"),
        ("REJECTS_LIMIT", "2", "less than or equal to 1"),
        ("COMPLETENESS_TARGET", "-0.1", "greater than or equal to 0"),
        ("FRESHNESS_DAYS", "", "valid integer"),
    ],
)
def test_a_wrong_value_names_its_variable_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"WEATHER_{name}", value)
    with pytest.raises(ConfigurationError, match=rf"WEATHER_{name}\b.*{re.escape(expected)}"):
        load_settings()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().chunk_days = 5  # type: ignore[misc]


def test_stores_open_where_the_settings_say(tmp_path: Path) -> None:
    settings = Settings(storage_url=str(tmp_path / "lake"), tenants_url=f"file://{tmp_path}/my%20tenants")
    assert open_lake(settings).uri("a/b") == str(tmp_path / "lake/a/b")
    assert open_tenant_files(settings).uri("acme.yaml") == str(tmp_path / "my tenants/acme.yaml")


def test_a_plain_folder_becomes_absolute_and_a_url_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert absolute("lake") == str(tmp_path / "lake")
    assert absolute("~/lake") == "/home/someone/lake"
    assert absolute("s3://bucket/prefix") == "s3://bucket/prefix"
    assert absolute("file:///lake") == "file:///lake"


def test_the_readme_names_every_setting_and_every_file_it_links_to() -> None:
    root = Path(__file__).parents[1]
    readme = (root / "README.md").read_text()
    assert [name for name in Settings.model_fields if f"`WEATHER_{name.upper()}`" not in readme] == []
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
        assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("FIRST_DAY", '{"dvd": "1950-01-01"}', "service 'dvd' is not known, expected tempest, dwd, aceiot"),
        ("SERVICE_CHUNK_DAYS", '{"Dwd": 5}', "service 'Dwd' is not known"),
        ("REQUESTS_PER_MINUTE", '{"ace": 5}', "service 'ace' is not known"),
        ("REQUESTS_PER_MINUTE", '{"aceiot": 0}', "greater than or equal to 1"),
    ],
)
def test_a_slip_of_the_pen_in_a_services_setting_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"WEATHER_{name}", value)
    with pytest.raises(ConfigurationError, match=f"WEATHER_{name}.*{told}"):
        load_settings()


def test_every_service_has_a_first_day() -> None:
    firsts = {name: load_settings().first_day_of(name) for name in SERVICES}
    known = {"tempest": date(2018, 1, 1), "dwd": date(1990, 1, 1), "aceiot": date(2018, 1, 1)}
    assert firsts.items() >= known.items()


@pytest.mark.parametrize("name", ["STORAGE_URL", "TENANTS_URL", "S3_ENDPOINT_URL"])
def test_a_url_with_a_password_is_refused_and_not_repeated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"WEATHER_{name}", "https://us3r:pa55@host/x")
    with pytest.raises(ConfigurationError, match=f"WEATHER_{name}: .*user or password") as caught:
        load_settings()
    text = "".join(traceback.format_exception(caught.value))
    assert "us3r" not in text
    assert "pa55" not in text
