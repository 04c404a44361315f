"""Every dagster.yaml of deploy/, and the one that the Helm chart makes, pass Dagster's own checks."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._serdes import ConfigurableClassData

from weather_backfill.dagster.private import InstanceRef
from weather_backfill_tests.deploy.chart import VALUES, dagster_yaml
from weather_backfill_tests.platform import PROJECT

FILES = sorted(
    [*PROJECT.glob("dagster.yaml"), *PROJECT.glob("deploy/**/dagster.yaml")], key=lambda file: len(file.parts)
)


def checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, dict[str, Any]], InstanceRef]:
    """What each configurable class of an instance is given, after Dagster has checked it; nothing is opened."""
    text = (folder / "dagster.yaml").read_text()
    for name in re.findall(r"env: ([A-Z0-9_]+)", text):
        monkeypatch.setenv(name, f"value-of-{name}")
    ref = InstanceRef.from_dir(str(folder))
    found = {}
    for part in ref._asdict().values():
        if isinstance(part, ConfigurableClassData):
            kind = getattr(importlib.import_module(part.module_name), part.class_name)
            result = process_config(resolve_to_config_type(kind.config_type()), part.config_dict)
            assert result.success, result.errors
            found[part.class_name] = dict(result.value or {})
    return found, ref


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_an_instance_is_what_dagster_takes(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(file, tmp_path / "dagster.yaml")
    found, ref = checked(tmp_path, monkeypatch)
    assert "TaggingRunCoordinator" in found
    assert_safe(ref)


def test_the_charts_instance_is_what_dagster_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(dagster_yaml(yaml.safe_load(VALUES.read_text()))))
    found, ref = checked(tmp_path, monkeypatch)
    assert found["K8sRunLauncher"]["env_secrets"] == ["weather-backfill-secrets"]
    assert found["PostgresRunStorage"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
    assert "TaggingRunCoordinator" in found
    assert_safe(ref)


def assert_safe(ref: InstanceRef) -> None:
    """What keeps runs going when a worker dies, and tenants from crowding each other out."""
    settings = ref.settings
    assert settings["run_monitoring"]["enabled"]
    assert settings["run_monitoring"]["max_resume_run_attempts"] == 0
    assert settings["run_retries"]["enabled"]
    assert settings["run_retries"]["retry_on_asset_or_op_failure"] is False
    limits = {limit["key"] for limit in settings["concurrency"]["runs"]["tag_concurrency_limits"]}
    assert limits == {"weather/tenant", "weather/service"}
    assert settings["concurrency"]["pools"]["granularity"] == "run"


def test_no_file_holds_a_secret() -> None:
    for file in PROJECT.glob("deploy/**/*"):
        if file.is_file() and file.suffix in (".yaml", ".json"):
            text = file.read_text()
            assert not re.search(r"AKIA[0-9A-Z]{16}|(?i:password|secret_access_key):\s*[\w]", text), file
