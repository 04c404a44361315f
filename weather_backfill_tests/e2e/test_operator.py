"""The operator's verbs, in processes of their own against a real daemon: plan, start, status ... log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import register_tenant
from weather_backfill.backfill.status import BACKFILL_TAG, natives_of, status_of
from weather_backfill.dagster.private import PartitionBackfill
from weather_backfill.definitions import build_definitions
from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.platform import START, Platform, graphql
from weather_backfill_tests.servers import until

RANGE = ("--tenant", "acme", "--service", "tempest", "--start", "2024-01-01", "--end", "2024-01-08")
BAD = START + timedelta(days=3)


def weather(platform: Platform, *arguments: str) -> Any:
    """Run a command with --json; its answer."""
    return json.loads(platform.run("weather-backfill", *arguments, "--json").stdout)


def refused(platform: Platform, *arguments: str) -> str:
    done = platform.run("weather-backfill", *arguments, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def platform(local_platform: Platform) -> Platform:
    local_platform.add_tempest("acme", 8, faults=Faults(corrupt_day=3))
    return local_platform


@pytest.fixture
def desk(platform: Platform) -> Iterator[BackfillContext]:
    with platform.instance as instance:
        yield BackfillContext(instance, build_definitions(platform.settings), platform.settings)


def word(desk: BackfillContext, name: str) -> str:
    """The status, asked in this process: a command starts for seconds, too long to be asked again and again."""
    return status_of(desk.instance, desk.graph, desk.store, name).status


@pytest.mark.timeout(700)
def test_plan_start_status_retry_gaps_log(platform: Platform, desk: BackfillContext) -> None:
    plan = weather(platform, "plan", *RANGE, "--out", str(platform.folder / "plan.json"))
    assert (plan["days_total"], plan["days_missing"], plan["chunks_total"]) == (8, 8, 1)
    assert plan["objects"] > 8 * 20
    assert plan["bytes"] > 0
    assert "nothing was launched" in refused(platform, "start", *RANGE), "no terminal and no --yes"
    with platform.daemon():
        name = weather(platform, "start", "--plan", str(platform.folder / "plan.json"), "--yes")["backfill_id"]
        assert "active over the same days" in refused(platform, "start", *RANGE, "--yes")

        until(lambda: word(desk, name) not in ("running", "queued"), 240, 0.5)
        status = weather(platform, "status", name)
        assert status["status"] == "completed with failures"
        assert (status["days_completed"], status["days_total"], status["progress_percent"]) == (7, 8, 87.5)
        assert list(status["failed_days"]) == [str(BAD)]
        assert "cut-off.json.gz" in status["failed_days"][str(BAD)]
        watched = platform.run("weather-backfill", "status", name, "--watch", check=False)
        assert (watched.returncode, "completed with failures" in watched.stdout) == (1, True), watched.stderr
        assert (status["chunks_total"], status["chunks_failed"]) == (plan["chunks_total"], 1)
        assert status["records_processed"] == sum(
            platform.day("raw_observations", "acme", day).num_rows for day in platform.dates("raw_observations", "acme")
        )
        assert status["expected_seconds"] > 0, "estimate beside measurement"
        assert status["elapsed_seconds"] > 0
        assert "no longer fits" in refused(platform, "start", "--plan", str(platform.folder / "plan.json"), "--yes")

        gaps = platform.run("weather-backfill", "gaps", *RANGE, "--json", check=False)
        assert (gaps.returncode, json.loads(gaps.stdout)) == (1, [{"day": str(BAD), "reason": "failed"}])
        archive = platform.folder / "archive" / "acme"
        (archive / "year=2024/month=01/day=04/hour=12/cut-off.json.gz").unlink()
        write_archive(SimulatedArchive("acme", BAD, BAD, 1, 7, 60), ObjectStore(str(archive)))
        weather(platform, "retry", name)
        until(lambda: word(desk, name) == "completed", 240, 0.5)
        assert weather(platform, "status", name, "--watch")["status"] == "completed", "and exits with 0"
    assert json.loads(platform.run("weather-backfill", "gaps", *RANGE, "--json").stdout) == []
    actions = [(event["action"], event["outcome"]) for event in weather(platform, "log")]
    assert actions[0] == ("retry", "accepted")
    assert ("start", "accepted") in actions
    assert ("plan", "planned") in actions
    assert any(action == "start" and outcome.startswith("refused") for action, outcome in actions)
    listed = weather(platform, "status")
    assert [row["backfill_id"] for row in listed] == [name]


@pytest.mark.timeout(700)
@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param({"WEATHER_CHUNK_DAYS": "3"}, id="setting"),
        pytest.param({"--chunk-days": "3"}, id="argument"),
    ],
)
@pytest.mark.long
def test_the_runs_are_the_chunks_of_the_plan(platform: Platform, desk: BackfillContext, chunk: dict[str, str]) -> None:
    """Days and chunks of the plan against the runs that Dagster made of it, with a day in between that is done."""
    platform.environment |= {name: value for name, value in chunk.items() if name.startswith("WEATHER_")}
    asked = [part for name, value in chunk.items() if name.startswith("--") for part in (name, value)]
    platform.run(
        "dagster", "asset", "materialize", "-m", "weather_backfill.definitions_single_run", "--select",
        "tempest/raw_observations,tempest/refined_15m", "--partition", f"{START + timedelta(days=1)}|acme",
    )  # fmt: skip
    plan = weather(platform, "plan", *RANGE, *asked, "--out", str(platform.folder / "plan.json"))
    assert (plan["days_total"], plan["days_done"], plan["chunks_total"]) == (7, 1, 3)
    assert plan["expected_from"] == "measured days"
    with platform.daemon():
        name = weather(platform, "start", "--plan", str(platform.folder / "plan.json"), "--yes")["backfill_id"]
        until(lambda: word(desk, name) == "completed with failures", 240, 0.5)
    status = weather(platform, "status", name)
    ranges = [
        {run.tags[f"dagster/asset_partition_range_{side}"][:10] for side in ("start", "end")}
        for run in raw_runs(desk, name)
    ]
    expected = [{"2024-01-01"}, {"2024-01-03", "2024-01-05"}, {"2024-01-06", "2024-01-08"}]
    assert sorted(ranges, key=min) == expected, "the runs are the plan's chunks"
    assert len(ranges) == plan["chunks_total"] == status["chunks_total"]
    assert (status["chunks_succeeded"], status["chunks_failed"]) == (2, 1)
    assert status["days_completed"] + len(status["failed_days"]) == status["days_total"] == plan["days_total"]
    assert status["expected_seconds"] == plan["expected_seconds"], "the estimate stands beside the measurement"
    assert status["elapsed_seconds"] > 0


def raw_runs(desk: BackfillContext, name: str) -> list[dg.DagsterRun]:
    """The runs of raw observations that Dagster made of a managed backfill."""
    raw = dg.AssetKey(["tempest", "raw_observations"])
    return [
        run
        for native in natives_of(desk.instance, name)
        for run in desk.instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: native.backfill_id}))
        if raw in (run.asset_selection or ())
    ]


def launch_in_dagit(platform: Platform, days: list[date]) -> str:
    """Launch raw and refined of acme's days by the mutation that Dagster's page sends; the backfill's id."""
    launch = """mutation L($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
        ... on LaunchBackfillSuccess { backfillId } } }"""
    selection = [{"path": ["tempest", name]} for name in ("raw_observations", "refined_15m")]
    params = {"assetSelection": selection, "partitionNames": [f"{day}|acme" for day in days]}
    with platform.webserver() as url:
        return str(graphql(url, launch, {"p": params})["launchPartitionBackfill"]["backfillId"])


@pytest.mark.long
@pytest.mark.timeout(700)
def test_retry_cancel_gaps_log_and_report_of_what_dagit_launched(platform: Platform, desk: BackfillContext) -> None:
    span = ("--service", "tempest", "--start", "2024-01-03", "--end", "2024-01-05")
    name = launch_in_dagit(platform, days_between(BAD - timedelta(days=1), BAD + timedelta(days=1)))
    with platform.daemon():
        until(lambda: word(desk, name) == "completed with failures", 240, 0.5)
        status = weather(platform, "status", name)
        assert (list(status["failed_days"]), status["chunks_total"], status["chunks_failed"]) == ([str(BAD)], 1, 1)
        gaps = platform.run("weather-backfill", "gaps", "--tenant", "acme", *span, "--json", check=False)
        assert (gaps.returncode, json.loads(gaps.stdout)) == (1, [{"day": str(BAD), "reason": "failed"}])
        plan = weather(platform, "plan", "--tenant", "acme", *span, "--reprocess", "failed")
        assert (plan["days_total"], plan["days_done"]) == (1, 2)
        (platform.folder / "archive" / "acme" / "year=2024/month=01/day=04/hour=12/cut-off.json.gz").unlink()
        weather(platform, "retry", name)
        until(lambda: word(desk, name) == "completed", 240, 0.5)
    assert json.loads(platform.run("weather-backfill", "gaps", "--tenant", "acme", *span, "--json").stdout) == []
    [row] = weather(platform, "report", *span, "--to", str(platform.folder / "report.html"))
    assert (row["tenant"], row["refined"]) == ("acme", 3)
    second = launch_in_dagit(platform, [START])
    assert weather(platform, "cancel", second)["status"] == "canceling"
    with platform.daemon():
        until(lambda: word(desk, second) == "canceled", 120, 0.5)
    events = [(event["action"], event.get("backfill_id")) for event in weather(platform, "log")]
    assert events == [("cancel", second), ("retry", name), ("plan", None)]


@pytest.mark.long
@pytest.mark.timeout(700)
def test_pause_resume_and_cancel_of_a_backfill_that_dagit_launched(platform: Platform, desk: BackfillContext) -> None:
    days = days_between(START, START + timedelta(days=2))
    name = launch_in_dagit(platform, days)
    # Nothing runs yet: the daemon is not up, so the order of events is ours.
    assert weather(platform, "status", name)["status"] == "running"
    assert weather(platform, "pause", name)["status"] == "pausing"
    with platform.daemon():
        until(lambda: word(desk, name) == "paused", 120, 0.5)
        assert weather(platform, "resume", name)["status"] == "running"
        until(lambda: word(desk, name) == "completed", 240, 0.5)
    assert platform.dates("refined_15m", "acme") == set(days)
    assert "no backfill 'no-such'" in refused(platform, "cancel", "no-such")
    second = weather(platform, "start", *RANGE, "--yes", "--reprocess", "all")["backfill_id"]
    assert weather(platform, "cancel", second)["status"] == "canceling"
    with platform.daemon():
        until(lambda: word(desk, second) == "canceled", 120, 0.5)


VALIDATION = [
    (("--end", "2023-12-01"), {"end_date": "2023-12-01"}, "is after end date"),
    (("--end", "2999-01-01"), {"end_date": "2999-01-01"}, "is not over yet"),
    (("--end", "2024-03-31"), {"end_date": "2024-03-31"}, "more than 30"),
    (("--tenant", "nobody"), {"tenant": "nobody"}, "'nobody' is not known"),
    (("--tenant", "../evil"), {"tenant": "../evil"}, "is not allowed"),
    (("--service", "metar"), {"service": "metar"}, "'metar' is not known"),
    (("--service", "dwd"), {"service": "dwd"}, "no connection to 'dwd'"),
]
FORM = {"service": "tempest", "tenant": "acme", "start_date": "2024-01-01", "end_date": "2024-01-08", "dry_run": False}


@pytest.mark.parametrize(("arguments", "fields", "message"), VALIDATION)
def test_each_rule_by_cli_and_by_the_form(
    platform: Platform, desk: BackfillContext, arguments: tuple[str, str], fields: dict[str, str], message: str
) -> None:
    assert message in " ".join(refused(platform, "start", *RANGE, *arguments, "--yes").split())
    [event] = weather(platform, "log")
    assert (event["action"], message in event["outcome"]) == ("start", True), "who asked for what is kept"
    result = run_form(desk, {**FORM, **fields})
    assert not result.success
    assert message in form_error(result)
    assert list(desk.instance.get_backfills()) == []


def test_badly_formed_dates(platform: Platform, desk: BackfillContext) -> None:
    done = platform.run("weather-backfill", "start", *RANGE, "--end", "31.01.2024", check=False)
    assert done.returncode == 2
    assert "does not match" in " ".join(done.stderr.split())
    assert "expected YYYY-MM-DD" in form_error(run_form(desk, {**FORM, "start_date": "31.01.2024"}))
    assert list(desk.instance.get_backfills()) == []


def test_the_form_plans_first_and_launches_when_told(platform: Platform, desk: BackfillContext) -> None:
    platform.add_tempest("long-winded-tenant", 8)  # its backfills' ids are too long for Dagster's tables
    form = {**FORM, "tenant": "long-winded-tenant"}
    dry = run_form(desk, {**form, "dry_run": True})
    assert dry.success
    assert list(desk.instance.get_backfills()) == []
    [observed] = [e for e in dry.all_events if e.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    shown = str(observed.asset_observation_data.asset_observation.metadata["plan"].value)
    assert "days total | 8" in shown
    assert "nothing was launched: 8 of 8 days in 2 chunks" in shown
    launched = run_form(desk, {**form, "reprocess": "missing"})
    assert launched.success
    natives = desk.instance.get_backfills()
    assert len(natives) == 2, "8 days in chunks of 7"
    [observed] = [e for e in launched.all_events if e.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    linked = observed.asset_observation_data.asset_observation.metadata
    pages = {str(linked[name].value) for name in ("backfill", "backfill 2")}
    assert pages == {f"/runs/b/{native.backfill_id}" for native in natives}, "Dagster has a page there"
    assert {b.tags["weather/tenant"] for b in natives} == {"long-winded-tenant"}


def run_form(desk: BackfillContext, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    job = desk.definitions.resolve_job_def("managed_backfill")
    run_config = {"ops": {"plan_and_launch": {"config": config}}}
    return job.execute_in_process(run_config=run_config, instance=desk.instance, raise_on_error=False)


def form_error(result: dg.ExecuteInProcessResult) -> str:
    return str(result.failure_data_for_node("plan_and_launch").user_failure_data.description)


def test_force_restart_cancels_the_active_one_first(platform: Platform, desk: BackfillContext) -> None:
    first = weather(platform, "start", *RANGE, "--yes")["backfill_id"]
    assert "active over the same days" in refused(platform, "start", *RANGE, "--yes")
    second = weather(platform, "start", *RANGE, "--yes", "--force-restart")["backfill_id"]
    states = {native.backfill_id: native.status.value for native in desk.instance.get_backfills()}
    assert states == {first: "CANCELING", second: "REQUESTED"}


def test_force_restart_leaves_a_backfill_of_several_tenants_alone(platform: Platform, desk: BackfillContext) -> None:
    """Dagster's page can launch one over many tenants: cancelling it would take the others' days too."""
    register_tenant(desk.instance, "tempest", "borealis")
    desk.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="mixed", asset_graph=desk.graph, asset_selection=[dg.AssetKey(["tempest", "raw_observations"])],
            partition_names=["2024-01-01|acme", "2024-01-01|borealis"], backfill_timestamp=0.0, tags={},
            dynamic_partitions_store=desk.instance, all_partitions=False, title=None, description=None, run_config=None,
        )
    )  # fmt: skip
    message = refused(platform, "start", *RANGE, "--yes", "--force-restart")
    assert "'mixed' is not over one tenant" in " ".join(message.split())
    assert [(b.backfill_id, b.status.value) for b in desk.instance.get_backfills()] == [("mixed", "REQUESTED")]


def test_a_range_before_the_first_partition_is_refused(platform: Platform, desk: BackfillContext) -> None:
    early = ("--start", "2017-12-31", "--end", "2018-01-02")
    assert "is before 2018-01-01, the first day of tempest" in refused(platform, "start", *RANGE, *early, "--yes")
    result = run_form(desk, {**FORM, "start_date": "2017-12-31", "end_date": "2018-01-02"})
    assert "is before 2018-01-01, the first day of tempest" in form_error(result)
    assert list(desk.instance.get_backfills()) == []


def test_the_gate_counts_every_active_backfill(desk: BackfillContext) -> None:
    from weather_backfill.backfill.launching import capacity

    assert capacity(desk) == desk.settings.max_active_backfills
    run_form(desk, {**FORM, "chunk_days": 1})
    assert len(desk.instance.get_backfills()) == desk.settings.max_active_backfills, "8 parts, 5 at once"
    assert capacity(desk) == 0
