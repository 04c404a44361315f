"""Runs that are killed or cancelled in the middle of a range: nothing lost, nothing fetched twice.

The run is stopped (SIGSTOP) as soon as its journal names a few days, looked at, and then ended.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import psutil
import pyarrow.parquet as pq
import pytest

from weather_backfill.backfill.launch import launch_backfill
from weather_backfill.backfill.status import active_backfills
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.source import day_folder
from weather_backfill_tests.faults import points
from weather_backfill_tests.platform import PROJECT, START, Platform, graphql
from weather_backfill_tests.servers import until

DAYS = 60
ALL_DAYS = days_between(START, START + timedelta(days=DAYS - 1))


TERMINATE = "mutation Terminate($runId: String!) { terminateRun(runId: $runId) { __typename } }"


def launch(platform: Platform, days: list[date] = ALL_DAYS) -> str:
    with platform.instance as instance:
        return launch_backfill(
            instance,
            build_definitions(platform.settings),
            backfill_id="killed",
            service="tempest",
            tenant="acme",
            days=days,
        )


def journaled(platform: Platform) -> set[date]:
    return {date.fromisoformat(o.key[-15:-5]) for o in platform.lake.list("_journal") if o.key.endswith(".json")}


def stop_in_the_middle(platform: Platform) -> tuple[psutil.Process, str, set[date]]:
    """Stop the raw run after a few days; its process, its id, and the days its journal names."""

    def in_the_middle() -> bool:
        return len(journaled(platform)) >= 3

    until(in_the_middle, 120, 0.002)
    [run] = runs(platform, dg.DagsterRunStatus.STARTED)
    process = worker(platform, run.run_id)
    process.suspend()
    days = journaled(platform)
    assert len(days) < DAYS, "the run was over before it could be stopped"
    return process, run.run_id, days


def runs(platform: Platform, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
    with platform.instance as instance:
        return list(instance.get_runs(dg.RunsFilter(statuses=list(statuses) or None)))


def worker(platform: Platform, run_id: str) -> psutil.Process:
    """The process of a run, by the pid that its own events name."""
    with platform.instance as instance:
        messages = [entry.message for entry in instance.all_logs(run_id) if "(pid: " in entry.message]
    return psutil.Process(int(messages[-1].split("(pid: ")[1].split(")")[0]))


@contextmanager
def watching(lake: Path) -> Iterator[list[str]]:
    """Look at the datasets all the time; collects whatever is not a whole day."""
    strange: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.005):
            for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M, layout.REJECTED_OBSERVATIONS):
                for path in (lake / dataset).rglob("*"):
                    if path.is_file() and (path.name != layout.FILE or not _whole(path)):
                        strange.append(str(path))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield strange
    finally:
        stop.set()
        thread.join()


def _whole(path: Path) -> bool:
    try:
        return pq.read_metadata(path).num_columns > 0
    except Exception:
        return False


@pytest.mark.long
@pytest.mark.timeout(600)
def test_kill_9_is_continued_by_the_retry(platform: Platform) -> None:
    archive = platform.add_tempest("acme", DAYS)
    with watching(platform.folder / "lake") as strange, platform.daemon():
        launch(platform)
        process, run_id, days = stop_in_the_middle(platform)
        written = {day: platform.day("raw_observations", "acme", day) for day in days}
        # What is recorded must not be fetched again: the archive no longer has it. (The last day's evening is
        # read for the next day's first minutes.)
        for day in days - {max(days)}:
            shutil.rmtree(archive / day_folder(day))
        process.kill()
        until(lambda: platform.dates("refined_15m", "acme") == set(ALL_DAYS), 240, 0.5)
        until(lambda: not runs(platform, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED), 60)
    assert strange == []
    assert platform.materialized("raw_observations", "acme") == set(ALL_DAYS)
    for day, table in written.items():
        assert platform.day("raw_observations", "acme", day).equals(table)
        assert table.num_rows > 0
    retried = [run for run in runs(platform, dg.DagsterRunStatus.SUCCESS) if run.parent_run_id == run_id]
    assert len(retried) == 1
    assert not platform.lake.list(f"_journal/{run_id}")


@contextmanager
def throttled(process: psutil.Process) -> Iterator[None]:
    """Let a stopped process go on at a small share of its pace: what is to reach it does so before it has finished.

    The signal of a cancellation passes through two other processes, which on a busy machine takes longer than the
    run takes for all of its days.
    """
    stop = threading.Event()

    def step() -> None:
        try:
            while not stop.wait(0.05):
                process.resume()
                stop.wait(0.005)
                process.suspend()
            process.resume()
        except psutil.NoSuchProcess:
            return

    thread = threading.Thread(target=step)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.timeout(600)
def test_cancel_keeps_the_finished_days(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", DAYS)
    with platform.daemon(), platform.webserver() as url:
        launch(platform)
        process, run_id, days = stop_in_the_middle(platform)
        with ThreadPoolExecutor(1) as pool:  # the answer comes when the stopped process goes on
            answer = pool.submit(graphql, url, TERMINATE, {"runId": run_id})
            until(lambda: runs(platform, dg.DagsterRunStatus.CANCELING), 30)
            with throttled(process):
                assert answer.result()["terminateRun"]["__typename"] == "TerminateRunSuccess"
        until(lambda: run_id in {run.run_id for run in runs(platform, dg.DagsterRunStatus.CANCELED)}, 60)
        finished = platform.materialized("raw_observations", "acme")
        assert days <= finished < set(ALL_DAYS)
        assert platform.dates("raw_observations", "acme") >= finished
    assert not platform.lake.list(f"_journal/{run_id}")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_day_that_kills_its_process_costs_itself_alone(local_platform: Platform) -> None:
    """As the out-of-memory killer does at a day that is too large, in every try of the run."""
    platform = local_platform
    days, deadly, fired = ALL_DAYS[:8], ALL_DAYS[3], platform.folder / "fired"
    others = set(days) - {deadly}
    platform.add_tempest("acme", len(days))
    hooks = PROJECT / "weather_backfill_tests" / "faults" / "hooks"
    fault = points.Fault("decode", "kill run", 0, str(fired), day=str(deadly))
    platform.environment |= {points.VARIABLE: fault.to_environment(), "PYTHONPATH": f"{hooks}:{PROJECT}"}
    with platform.daemon():
        launch(platform, days)
        until(lambda: fired.exists() and backfill_ended(platform), 600, 0.5)
    assert fired.read_text().split() == [str(deadly)] * 2, "and it was not tried again"
    for dataset in ("raw_observations", "refined_15m"):
        assert platform.dates(dataset, "acme") == others
        assert platform.materialized(dataset, "acme") == others
    [told] = failed_days(platform)
    assert told.keys() == {f"{deadly}|acme"}
    assert "ProcessDiedError: the process died 2 times while at this day" in told[f"{deadly}|acme"]
    assert not platform.lake.list("_journal")


def backfill_ended(platform: Platform) -> bool:
    with platform.instance as instance:
        return not active_backfills(instance)


def failed_days(platform: Platform) -> list[dict[str, str]]:
    """The reasons by day that each run of raw days has ended with."""
    found = []
    for run in runs(platform, dg.DagsterRunStatus.FAILURE):
        with platform.instance as instance:
            entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        failures = [entry.get_dagster_event().step_failure_data.user_failure_data for entry in entries]
        found += [failure.metadata["reasons"].value for failure in failures if failure and failure.metadata]
    return found
