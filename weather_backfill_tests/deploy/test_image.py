"""What is deployed: a lock of the same versions without the tests' packages, and no host's name in either."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ONLY_DEVELOPMENT = {"moto", "pytest", "playwright", "mypy", "hypothesis"}


def pinned(lock: str) -> dict[str, str]:
    """Package name to version and marker."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(.*?) \\$", (PROJECT / lock).read_text(), re.MULTILINE)
    return dict(found)


def test_what_is_deployed_is_what_is_tested_without_the_tests() -> None:
    tested, deployed = pinned("requirements.lock"), pinned("requirements-deploy.lock")
    assert tested.keys() >= ONLY_DEVELOPMENT
    assert not deployed.keys() & ONLY_DEVELOPMENT
    versions = {name: pin.split(" ")[0] for name, pin in tested.items()}
    assert {name: pin.split(" ")[0] for name, pin in deployed.items()}.items() <= versions.items()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    wanted = {re.split(r"[\[<>=~ ;]", line)[0].lower() for group in groups for line in group}
    assert wanted <= deployed.keys(), "every extra is in the image"
    assert "hatchling" in deployed, "the package itself is built without isolation"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-deploy.lock", "requirements-uv.lock"])
def test_a_lock_names_no_host_and_hashes_everything(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    assert "//" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("file", ["deploy/Dockerfile", "deploy/postgres/README.md", "deploy/ray/README.md"])
def test_servers_are_made_from_the_deploy_lock(file: str) -> None:
    text = (PROJECT / file).read_text()
    assert "requirements-deploy.lock" in text
    assert "requirements.lock" not in text
