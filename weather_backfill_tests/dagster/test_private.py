"""The Dagster internals that we use still exist and still do what we use them for; this fails on a bad upgrade."""

# No `from __future__ import annotations`: Dagster reads the annotations of the assets below.

import ast
import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEvent
from dagster._daemon import controller
from dagster._daemon.backfill import execute_backfill_iteration_loop

import weather_backfill
from weather_backfill.dagster import private
from weather_backfill.dagster.run_coordinator import TaggingRunCoordinator
from weather_backfill.model.errors import ConfigurationError

PACKAGE = Path(weather_backfill.__file__).parent
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
KEYS = [f"2024-01-{day:02d}" for day in range(1, 31)]
ASSET, OTHER = dg.AssetKey("days"), dg.AssetKey("other")
RANGE = {private.ASSET_PARTITION_RANGE_START_TAG: KEYS[0], private.ASSET_PARTITION_RANGE_END_TAG: KEYS[-1]}


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "private.py"]


def private_uses(path: Path) -> Iterator[str]:
    """Imports from a private module of Dagster's, its name in a text, and private attributes of other objects."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if re.fullmatch(r"dagster[a-z_]*\._[\w.]*", node.value) else []
        elif isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            owner = node.value.id if isinstance(node.value, ast.Name) else ast.unparse(node.value)
            if re.search(r"context|step|instance|storage\b|coordinator", owner):
                yield f"{path.name}:{node.lineno} {ast.unparse(node)}"
        yield from (f"{path.name}:{node.lineno} {n}" for n in names if re.match(r"dagster[a-z_]*\._", n))  # type: ignore[attr-defined]


def test_internals_of_dagster_are_used_in_one_module_alone() -> None:
    assert [use for path in sources() for use in private_uses(path)] == []


def test_every_name_that_the_module_offers_is_there_and_used() -> None:
    text = "\n".join(path.read_text() for path in sources()) + inspect.getsource(private)
    for name in private.__all__:
        assert hasattr(private, name), name
        assert len(re.findall(rf"\b{name}\b", text)) > 2, f"{name} is offered and used by nobody"


class Recording(dg.IOManager):
    """An IO manager that does with the output what a test asks for."""

    def __init__(self, act: Callable[[dg.OutputContext], Iterator[DagsterEvent]]) -> None:
        self.act = act

    def handle_output(self, context: dg.OutputContext, obj: Any) -> Iterator[DagsterEvent]:  # type: ignore[override]
        """Do it."""
        yield from self.act(context)

    def load_input(self, context: dg.InputContext) -> None:
        """Load nothing."""


@dg.asset(
    key=ASSET, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), io_manager_key="acting",
    check_specs=[dg.AssetCheckSpec("fine", asset=ASSET)],
)  # fmt: skip
def days() -> Iterator[Any]:
    yield dg.Output(1)
    yield dg.AssetCheckResult(check_name="fine", passed=True)


def run(act: Callable[[dg.OutputContext], Iterator[DagsterEvent]]) -> dg.ExecuteInProcessResult:
    """A range run of an asset whose IO manager does `act`."""
    return dg.materialize([days], resources={"acting": Recording(act)}, tags=RANGE)


def materializations(result: dg.ExecuteInProcessResult, key: dg.AssetKey = ASSET) -> list[dg.AssetMaterialization]:
    return [m for m in result.asset_materializations_for_node("days") if m.asset_key == key]


def test_metadata_of_each_partition_goes_to_its_own_event() -> None:
    def act(context: dg.OutputContext) -> Iterator[DagsterEvent]:
        metadata = {key: {"rows": number} for number, key in enumerate(KEYS)}
        private.add_partition_metadata(private.step_of(context), ASSET, metadata)
        yield from ()

    rows = {str(m.partition): m.metadata["rows"].value for m in materializations(run(act))}
    assert rows == {key: number for number, key in enumerate(KEYS)}


def test_partitions_are_recorded_in_order() -> None:
    def act(context: dg.OutputContext) -> Iterator[DagsterEvent]:
        private.sort_partitions(context)
        yield from ()

    assert [m.partition for m in materializations(run(act))] == KEYS


def test_the_data_version_is_the_one_that_was_set() -> None:
    def act(context: dg.OutputContext) -> Iterator[DagsterEvent]:
        private.set_data_version(private.step_of(context), ASSET, "ours")
        yield from ()

    tags = [m.tags or {} for m in materializations(run(act))]
    assert {tag[private.DATA_VERSION_TAG] for tag in tags} == {"ours"}
    assert {tag[private.DATA_VERSION_IS_USER_PROVIDED_TAG] for tag in tags} == {"true"}


def test_events_of_the_steps_own_making_are_recorded() -> None:
    def act(context: dg.OutputContext) -> Iterator[DagsterEvent]:
        step = private.step_of(context)
        yield private.materialization_event(step, dg.AssetMaterialization(OTHER, partition=KEYS[3]))
        yield private.check_event(
            step, dg.AssetCheckEvaluation(asset_key=ASSET, check_name="fine", passed=False, partition=KEYS[3])
        )

    result = run(act)
    assert [m.partition for m in materializations(result, OTHER)] == [KEYS[3]]
    evaluations = [e for e in result.get_asset_check_evaluations() if e.partition]
    assert [(e.partition, e.passed) for e in evaluations] == [(KEYS[3], False)]


def test_a_coordinator_knows_its_instance() -> None:
    with dg.instance_for_test(
        overrides={"run_coordinator": {"module": "weather_backfill.run_coordinator", "class": "TaggingRunCoordinator"}}
    ) as instance:
        coordinator = instance.run_coordinator
        assert isinstance(coordinator, dg.QueuedRunCoordinator)
        assert private.instance_of_coordinator(coordinator) is instance


@pytest.mark.parametrize(("configured", "seconds"), [({}, 5), ({"backfill_tick_seconds": 2}, 2)])
def test_the_backfill_daemon_looks_as_often_as_the_coordinator_says(
    configured: dict[str, int], seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "DEFAULT_DAEMON_INTERVAL_SECONDS", 30)
    coordinator = {"module": "weather_backfill.run_coordinator", "class": "TaggingRunCoordinator", "config": configured}
    paused: list[float] = []
    with dg.instance_for_test(overrides={"run_coordinator": coordinator}) as instance:
        assert instance.run_coordinator
        loop = execute_backfill_iteration_loop(
            SimpleNamespace(instance=instance), logging.getLogger(), SimpleNamespace(wait=paused.append)
        )
        while not paused:
            next(loop)
    assert seconds - 1 < paused[0] <= seconds


@pytest.mark.parametrize("seconds", [0, 31])
def test_a_tick_that_is_none_is_refused(seconds: int) -> None:
    with pytest.raises(ConfigurationError, match=f"backfill_tick_seconds is {seconds}; expected 1 to 30"):
        TaggingRunCoordinator(backfill_tick_seconds=seconds)


def test_the_daemon_is_a_module_that_runs() -> None:
    command = [sys.executable, "-m", private.DAEMON_MODULE, "run", "--help"]
    assert "Usage" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_dagsters_own_storage_is_told_from_another() -> None:
    with dg.instance_for_test() as instance:
        assert type(instance.event_log_storage).__module__.startswith(private.EMBEDDED_STORAGE)


@pytest.mark.parametrize("name", ["path_for_shard"])
def test_the_sqlite_event_log_names_its_files(name: str) -> None:
    assert callable(getattr(private.SqliteEventLogStorage, name))
