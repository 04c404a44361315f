"""ACE IoT through Dagster: real runs against a simulator process, with every fault it has."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from weather_backfill.backfill.coverage import held_days
from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey
from weather_backfill_tests.e2e.aceiot_platform import (
    BOTH,
    DAYS,
    KEY,
    NORTH,
    RAW,
    SEED,
    SITE_FLAGS,
    SITES,
    WRONG_KEY,
    add_tenant,
    check_clean,
    check_days,
    check_no_secret,
    command,
    materialize,
    most_in_a_minute,
    prepare,
    start,
)
from weather_backfill_tests.e2e.test_dagit_backfill import RETRY, wait_for
from weather_backfill_tests.platform import Platform, graphql
from weather_backfill_tests.servers import free_port, until
from weather_backfill_tests.sources.aceiot.simulator_process import simulator

REQUESTS = 120
FAULTS = [
    "--cursor-fault", "--errors", "0.03", "--cut", "0.03", "--slow", "0.05", "--slow-seconds", "0.2",
    "--burst-every", "80", "--burst-seconds", "1",
]  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_runs_at_once_complete_a_week_within_the_limit(local_platform: Platform) -> None:
    """Every fault on, a minute of 60 seconds; three processes share one limit."""
    platform = local_platform
    prepare(platform, WEATHER_REQUESTS_PER_MINUTE=json.dumps({"aceiot": REQUESTS}))
    parts = [DAYS[:2], DAYS[2:4], DAYS[4:]]
    with simulator(*SITE_FLAGS, *FAULTS) as server:
        add_tenant(platform, "acme", server.url, ["north", "south"], page_size=50, window_minutes=720)
        runs = [start(platform, f"run{n}.log", *command(BOTH, "acme", days)) for n, days in enumerate(parts)]
        codes = [run.wait(400) for run in runs]
        requests = server.requests()
    assert codes == [0, 0, 0], [(platform.folder / f"run{n}.log").read_text()[-2000:] for n in range(3)]
    check_days(platform, "acme", SITES, DAYS)
    assert platform.materialized(layout.RAW_OBSERVATIONS, "acme", "aceiot") == set(DAYS)
    assert platform.materialized(layout.REFINED_15M, "acme", "aceiot") == set(DAYS)
    assert REQUESTS * 0.8 < most_in_a_minute(requests) <= REQUESTS
    kinds = {(request["status"], request["kind"]) for request in requests}
    assert {(429, "JSONResponse"), (500, "JSONResponse"), (200, "CutResponse")} <= kinds
    check_clean(platform)
    check_no_secret(platform)


def test_a_wrong_key_fails_the_days_and_says_so(local_platform: Platform) -> None:
    platform = local_platform
    prepare(platform, key=WRONG_KEY)
    with simulator(*SITE_FLAGS) as server:
        add_tenant(platform, "acme", server.url, ["north"])
        code, text = materialize(platform, RAW, "acme", DAYS[:3])
        asked = len(server.requests())
    assert code != 0
    assert "3 of 3 days failed" in text
    assert "AccessDeniedError" in text
    assert "Check the key in ${TEST_ACEIOT_KEY}" in text
    assert asked <= 4, "a key that is refused is not tried again for every day"
    assert platform.dates(layout.RAW_OBSERVATIONS, "acme", "aceiot") == set()
    check_clean(platform)
    check_no_secret(platform, WRONG_KEY)


def test_an_unknown_site_costs_only_itself_and_is_read_alone_when_it_is_there(local_platform: Platform) -> None:
    platform = local_platform
    prepare(platform)
    with simulator(*SITE_FLAGS) as server:
        add_tenant(platform, "acme", server.url, ["north", "nowhere"])
        code, text = materialize(platform, RAW, "acme", DAYS[:2])
        assert code == 0, text[-2000:]
    held = held_days(platform.lake, "aceiot", "acme")
    assert set(held) == set(DAYS[:2])
    for day in held.values():
        assert [lack.station for lack in day.lacks] == ["nowhere"]
        assert "/sites/nowhere/configured_points: 403" in str(day.incomplete)
    check_days(platform, "acme", [NORTH], DAYS[:2])
    check_no_secret(platform)


def breakers(platform: Platform) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(platform.run("weather-backfill", "breakers", "--json").stdout)
    return rows


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_api_that_is_down_opens_the_breaker_and_retry_failed_completes(local_platform: Platform) -> None:
    """Real daemon and webserver; two tenants' runs at once share one breaker."""
    platform = local_platform
    prepare(platform, WEATHER_OUTAGE_PATIENCE="1")
    port = free_port()
    for tenant in ("acme", "borealis"):
        add_tenant(platform, tenant, f"http://127.0.0.1:{port}/api", ["north"])
    with platform.daemon(), platform.webserver() as url:
        partitions = [str(PartitionKey(day, t)) for t in ("acme", "borealis") for day in DAYS[:2]]
        backfill = _launch(url, partitions)
        assert wait_for(url, backfill)["raw_observations"] == (4, 0, 4)
        assert platform.dates(layout.RAW_OBSERVATIONS, "acme", "aceiot") == set()
        [breaker] = breakers(platform)
        assert breaker["service"] == f"aceiot@127.0.0.1:{port}"
        assert breaker["state"] in ("open", "half-open")
        assert "ConnectError" in breaker["last_error"]
        table = platform.run("weather-backfill", "breakers").stdout
        assert "open" in table
        with simulator(*SITE_FLAGS, port=port):
            until(lambda: breakers(platform)[0]["state"] == "half-open", 120, 1)
            answer = graphql(url, RETRY, {"params": {"parentRunId": backfill, "strategy": "FROM_FAILURE"}})
            retry = answer["reexecutePartitionBackfill"]
            assert retry["__typename"] == "LaunchBackfillSuccess", retry
            assert wait_for(url, retry["backfillId"])["raw_observations"] == (4, 4, 0)
        assert breakers(platform)[0]["state"] == "closed"
    with platform.instance as instance:
        text = "".join(entry.message for run in instance.get_runs() for entry in instance.all_logs(run.run_id))
    assert "is open: the service has been failing since" in text
    for tenant in ("acme", "borealis"):
        check_days(platform, tenant, [NORTH], DAYS[:2])
    check_clean(platform)
    check_no_secret(platform)


def _launch(url: str, partitions: list[str]) -> str:
    from weather_backfill_tests.e2e.test_dagit_backfill import LAUNCH

    selection = [{"path": ["aceiot", layout.RAW_OBSERVATIONS]}]
    params = {"assetSelection": selection, "partitionNames": partitions}
    answer = graphql(url, LAUNCH, {"params": params})["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def test_kill_9_in_the_middle_of_a_day_and_run_again(local_platform: Platform) -> None:
    platform = local_platform
    prepare(platform, WEATHER_REQUESTS_PER_MINUTE='{"aceiot": 10000}')
    with simulator(*SITE_FLAGS, "--cursor-fault", "--slow", "1", "--slow-seconds", "0.05") as server:
        add_tenant(platform, "acme", server.url, ["north", "south"], page_size=50, window_minutes=240)
        run = start(platform, "killed.log", *command(RAW, "acme", DAYS[:2]))
        until(lambda: len(server.requests()) >= 15 or run.poll() is not None, 100, 0.01)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        assert platform.dates(layout.RAW_OBSERVATIONS, "acme", "aceiot") == set()
        assert list((platform.folder / "tmp").glob("weather-scratch-aceiot-*/*.window")), (
            "it was not killed inside a day"
        )
        code, text = materialize(platform, RAW, "acme", DAYS[:2])
    assert code == 0, text[-2000:]
    check_days(platform, "acme", SITES, DAYS[:2])
    check_clean(platform, killed=1)
    check_no_secret(platform)


def test_the_plan_of_a_year(local_platform: Platform) -> None:
    """4,583 points a minute: 19 requests a day are 2.4 hours; pages of 10,000 would take 3.4 days."""
    platform = local_platform
    prepare(platform)
    with simulator("--site", "campus:4583", "--seed", str(SEED)) as server:
        add_tenant(platform, "acme", server.url, ["campus"], cadence_seconds=60)
        rows = json.loads(platform.run("weather-backfill", "requests", "--tenant", "acme", "--json").stdout)
        text = platform.run("weather-backfill", "requests", "--tenant", "acme", "--days", "365").stdout
    by_size = {row["page_size"]: row for row in rows}
    [chosen] = [row for row in rows if row["chosen"]]
    assert chosen["page_size"] == 500_000
    assert chosen["requests"] == 365 * 18 + 1
    assert chosen["hours"] == pytest.approx(6571 / 50 / 60, abs=0.01)
    assert by_size[10_000]["requests"] > 30 * chosen["requests"]
    assert by_size[10_000]["saves_days"] == pytest.approx(
        by_size[10_000]["waiting_days"] - chosen["waiting_days"], abs=0.02
    )
    assert "the page size saves" in text.replace("\n", " ")
    assert KEY not in text
