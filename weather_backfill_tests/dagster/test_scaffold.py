"""`dg scaffold defs` in a copy of the project: the file it makes is loaded, and ours stay as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import weather_backfill

PROJECT = Path(weather_backfill.__file__).parent.parent
ASSET = """
import dagster as dg

@dg.asset(deps=[dg.AssetKey(["tempest", "refined_15m"])], required_resource_keys={"lake"})
def rainy_days() -> None: ...
"""


def run(folder: Path, *command: str) -> str:
    """A command in the copy; its output. The copy stands first in the path, before the installed package."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "DAGSTER_HOME": "", "COLUMNS": "200"}
    program = Path(sys.executable).with_name("dg")
    done = subprocess.run([program, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_what_dg_scaffolds_is_loaded(tmp_path: Path) -> None:
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "weather_backfill", project / "weather_backfill", ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", project)
    run(project, "scaffold", "defs", "dagster.asset", "rainy_days.py")
    made = project / "weather_backfill" / "defs" / "rainy_days.py"
    assert "@dg.asset" in made.read_text()
    made.write_text(ASSET)
    run(project, "scaffold", "defs", "inline-component", "rain", "--typename", "Rain")
    assert (project / "weather_backfill" / "defs" / "rain" / "defs.yaml").exists()
    listed = run(project, "list", "defs", "--json")
    assert '"rainy_days"' in listed
    assert '"tempest/refined_15m"' in listed
    assert '"managed_backfill"' in listed
