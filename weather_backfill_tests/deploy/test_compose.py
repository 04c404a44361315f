"""The compose file and the image: what they name is there, and what the profile needs is set."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from weather_backfill.settings import Settings
from weather_backfill_tests.platform import PROJECT

FOLDER = PROJECT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
OURS = ("ray-head", "ray-worker", "webserver", "daemon")


def test_every_service_gets_what_the_profile_refers_to() -> None:
    profile = (PROJECT / "deploy" / "ray" / "dagster.yaml").read_text()
    wanted = set(re.findall(r"env: ([A-Z0-9_]+)", profile))
    assert {"DAGSTER_POSTGRES_URL", "WEATHER_RAY_ADDRESS"} <= wanted
    for name in OURS:
        given = COMPOSE["services"][name]["environment"]
        assert wanted <= given.keys(), name
        for variable in (v for v in given if v.startswith("WEATHER_") and v not in wanted):
            assert variable.removeprefix("WEATHER_").lower() in Settings.model_fields, variable


def test_secrets_come_from_the_environment_and_the_example_names_them_all() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    names = set(re.findall(r"\$\{([A-Z0-9_]+)", text))
    example = (FOLDER / "env.example").read_text()
    assert names == {line.removesuffix("=") for line in example.splitlines() if "=" in line}, "empty, to be chosen"


def test_ports_stay_on_the_host_and_images_are_pinned() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["image"] == "weather-backfill" or ":" in service["image"], name
        for other in service.get("depends_on", {}):
            assert other in COMPOSE["services"]


def test_the_root_keys_of_the_store_are_no_process_of_ours() -> None:
    services = COMPOSE["services"]
    assert {name for name, service in services.items() if "S3_ROOT" in str(service)} == {"s3", "bucket"}
    assert not any("weather-backfill" in str(services[name].get("image")) for name in ("s3", "bucket"))
    policy = json.loads((FOLDER / "s3-policy.json").read_text())
    resources = {resource for statement in policy["Statement"] for resource in [statement["Resource"]]}
    assert resources == {"arn:aws:s3:::weather", "arn:aws:s3:::weather/*"}


def test_our_processes_gain_no_privileges() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_the_images_webserver_is_ours_under_both_names() -> None:
    text = (PROJECT / "deploy" / "Dockerfile").read_text()
    assert 'CMD ["weather-backfill", "webserver"' in text
    assert 'exec weather-backfill webserver "$@"' in text
    assert "/usr/local/bin/dagster-webserver" in text
    assert "USER weather" in text


def test_the_image_is_made_of_files_that_are_there() -> None:
    for dockerfile in PROJECT.glob("deploy/**/Dockerfile"):
        for line in dockerfile.read_text().splitlines():
            if line.startswith("COPY "):
                *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
                assert all((PROJECT / source).exists() for source in sources), line
