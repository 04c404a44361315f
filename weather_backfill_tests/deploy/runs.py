"""A run of ours as a code location would launch it."""

from __future__ import annotations

import sys

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin

from weather_backfill.definitions import build_definitions

IMAGE = "registry.example.org/weather-backfill:0.1.0"


def create_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    """A run of raw_observations whose code location says that it lives in IMAGE."""
    repository = RepositoryPythonOrigin(
        executable_path=sys.executable,
        code_pointer=ModuleCodePointer("weather_backfill.definitions", "defs"),
        container_image=IMAGE,
        entry_point=DEFAULT_DAGSTER_ENTRY_POINT,
        container_context={},
    )
    raw = dg.AssetKey(["tempest", "raw_observations"])
    job = build_definitions().get_repository_def().get_implicit_global_asset_job_def()
    return instance.create_run_for_job(
        job.get_subset(asset_selection={raw}), job_code_origin=JobPythonOrigin(job.name, repository), tags=tags
    )
