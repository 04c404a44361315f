"""Runs that are lost before they begin, with a launcher that Dagster loads from `dagster.yaml` as it would Ray's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from dagster._core.launcher import CheckRunHealthResult
from dagster._core.launcher.base import RunLauncher
from dagster._serdes import ConfigurableClass

from weather_backfill.dagster.lost_starts import build_lost_starts, fail_lost_starts
from weather_backfill.dagster.private import WorkerStatus


class HostsLauncher(RunLauncher, ConfigurableClass):  # type: ignore[misc]
    """Runs wait for hosts; `health` says what became of them."""

    health: ClassVar[dict[str, WorkerStatus | Exception]] = {}

    def __init__(self, inst_data: Any = None) -> None:
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> Any:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> HostsLauncher:
        return cls(inst_data)

    def launch_run(self, context: Any) -> None:
        raise NotImplementedError

    def terminate(self, run_id: str) -> bool:
        return False

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        found = self.health[run.run_id]
        if isinstance(found, Exception):
            raise found
        return CheckRunHealthResult(found, "its node has died")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    config = f"run_launcher:\n  module: {__name__}\n  class: HostsLauncher\ntelemetry:\n  enabled: false\n"
    (tmp_path / "dagster.yaml").write_text(config)
    HostsLauncher.health.clear()
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def waiting(instance: dg.DagsterInstance, health: WorkerStatus | Exception) -> str:
    """A run that was launched and has not begun."""

    @dg.job
    def job() -> None:
        pass

    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING)
    HostsLauncher.health[run.run_id] = health
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def test_only_runs_whose_worker_failed_are_failed(instance: dg.DagsterInstance) -> None:
    states = [WorkerStatus.FAILED, WorkerStatus.RUNNING, WorkerStatus.UNKNOWN, WorkerStatus.NOT_FOUND]
    lost, *others = [waiting(instance, state) for state in states]
    notes = fail_lost_starts(instance)
    assert len(notes) == 1
    assert lost in notes[0]
    assert status(instance, lost) == dg.DagsterRunStatus.FAILURE
    assert {status(instance, run) for run in others} == {dg.DagsterRunStatus.STARTING}
    [event] = instance.all_logs(lost, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "its node has died" in event.message + str(event.dagster_event.message)  # type: ignore[union-attr]
    assert fail_lost_starts(instance) == [], "told once"


def test_a_launcher_that_cannot_be_asked_fails_nothing(instance: dg.DagsterInstance) -> None:
    asked = waiting(instance, ConnectionError("the head is down"))
    lost = waiting(instance, WorkerStatus.FAILED)
    assert len(fail_lost_starts(instance)) == 2
    assert status(instance, asked) == dg.DagsterRunStatus.STARTING
    assert status(instance, lost) == dg.DagsterRunStatus.FAILURE


def test_the_sensor_tells_and_requests_no_run(instance: dg.DagsterInstance) -> None:
    lost = waiting(instance, WorkerStatus.FAILED)
    context = dg.build_sensor_context(instance)
    said = build_lost_starts()(context)
    assert isinstance(said, dg.SkipReason)
    assert lost in str(said.skip_message)


def test_processes_of_this_machine_are_left_to_dagster() -> None:
    with dg.instance_for_test() as local:
        assert fail_lost_starts(local) == []
