"""Environments of peers that cannot share one: made once below the benchmark's folder, from pinned packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from weather_backfill_tests.bench.airflow import VERSION as AIRFLOW_VERSION
from weather_backfill_tests.bench.harness import PROJECT

WETTERDIENST = ("wetterdienst==0.175.0", "pyarrow==26.0.1")
# awswrangler wants an older pyarrow; DuckDB's S3 extension is a package of its own, one version behind.
OBJECTS = ("awswrangler==3.17.1", "duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-httpfs==1.5.5")
AIRFLOW = (f"apache-airflow=={AIRFLOW_VERSION}",)


def python_with(folder: Path, packages: tuple[str, ...]) -> Path | None:
    """The interpreter of an environment that holds the packages; None, with a word, where they cannot be had."""
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and ready.read_text() == "\n".join(packages):
        return python.absolute()
    variables = {**os.environ, "PYTHON": sys.executable, "UV_COMPILE_BYTECODE": "1"}
    command = [str(PROJECT / ".ci" / "environment"), str(folder), *packages]
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        print(f"  {packages[0]} is left out: {why}", file=sys.stderr, flush=True)
        return None
    ready.write_text("\n".join(packages))
    return python.absolute()
