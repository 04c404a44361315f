"""Dagster's own app behind our guard: who may reach it, and how it is told to change something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from weather_backfill.dagster.webserver import guarded

OWN = "http://127.0.0.1:3000"
SOCKET = "ws://127.0.0.1:3000/graphql"
READ = {"query": "{ version }"}


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[dg.DagsterInstance, Any]]:
    with (
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), version=dg.__version__) as context,
    ):
        yield instance, create_app_from_workspace_process_context(context)


@pytest.fixture
def instance(site: tuple[dg.DagsterInstance, Any]) -> dg.DagsterInstance:
    return site[0]


@pytest.fixture
def client(site: tuple[dg.DagsterInstance, Any]) -> TestClient:
    return TestClient(guarded(site[1], "127.0.0.1", 3000, ["weather.example.org"]), base_url=OWN)


@pytest.fixture
def deletion(instance: dg.DagsterInstance) -> dict[str, str]:
    """A mutation that deletes the instance's one run."""
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    run = create_run_for_test(instance)
    return {"query": f'mutation {{ deletePipelineRun(runId: "{run.run_id}") {{ __typename }} }}'}


def test_the_operators_page_and_curl_get_what_dagster_says(client: TestClient) -> None:
    page = client.get("/runs?q=x")
    assert page.status_code == 200
    assert "<!DOCTYPE html>" in page.text
    assert client.get("/server_info").json()["dagster_version"] == dg.__version__
    assert client.post("/graphql", json=READ).json()["data"]["version"] == dg.__version__
    assert client.get("/graphql", params=READ).json()["data"]["version"] == dg.__version__
    assert client.post("/graphql", json=READ, headers={"Content-Type": "application/json; charset=utf-8"}).is_success
    assert "GraphiQL" in client.get("/graphql", params={"query": "mutation"}, headers={"Accept": "text/html"}).text


def test_a_mutation_by_post_with_json_is_done(
    client: TestClient, instance: dg.DagsterInstance, deletion: dict[str, str]
) -> None:
    answer = client.post("/graphql", json=deletion, headers={"Origin": OWN, "Sec-Fetch-Site": "same-origin"})
    assert answer.json()["data"]["deletePipelineRun"]["__typename"] == "DeletePipelineRunSuccess"
    assert instance.get_runs_count() == 0


@pytest.mark.parametrize("host", ["evil.example:3000", "127.0.0.1", "127.0.0.1:3001", "127.0.0.1.evil.example:3000", "",
                                  "evil.example@127.0.0.1:3000"])  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/graphql", "/server_info", "/logs/x.err"])
def test_another_host_is_not_answered_at_all(client: TestClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "WEATHER_ALLOWED_HOSTS" in answer.text
    assert "127.0.0.1:3000" in answer.text


@pytest.mark.parametrize("host", ["localhost:3000", "[::1]:3000", "weather.example.org", "weather.example.org:443"])
def test_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.post("/graphql", json=READ, headers={"Host": host, "Origin": f"https://{host}"}).is_success


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:8000"},
    {"Origin": "http://localhost:3000"},  # while the request is to 127.0.0.1
    {"Origin": "null"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_origins_are_refused(
    client: TestClient, instance: dg.DagsterInstance, deletion: dict[str, str], headers: dict[str, str]
) -> None:
    assert client.get("/server_info", headers=headers).status_code == 403
    answer = client.post("/graphql", json=deletion, headers=headers)
    assert (answer.status_code, instance.get_runs_count()) == (403, 1)
    assert "another origin" in answer.text or "page of" in answer.text
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(SOCKET, subprotocols=["graphql-ws"], headers=headers),
    ):
        pass


def test_a_link_elsewhere_opens_a_page_of_ours_and_commands_nothing(
    client: TestClient, instance: dg.DagsterInstance, deletion: dict[str, str]
) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/runs", headers=link).status_code == 200
    assert client.get("/graphql", params=deletion, headers=link).status_code == 405
    assert client.post("/graphql", json=deletion, headers=link).status_code == 403
    assert instance.get_runs_count() == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "application/graphql", "text/plain; application/json", "application/jsonx",
                                  ""])  # fmt: skip
def test_a_body_that_is_not_json_changes_nothing(
    client: TestClient, instance: dg.DagsterInstance, deletion: dict[str, str], kind: str
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    for params in ({}, deletion):
        answer = client.post("/graphql", params=params, content=str(deletion).encode(), headers=headers)
        assert (answer.status_code, instance.get_runs_count()) == (415, 1)
        assert "application/json" in answer.text


def test_get_asks_and_never_changes(client: TestClient, instance: dg.DagsterInstance, deletion: dict[str, str]) -> None:
    mutation = deletion["query"]
    for text in (mutation, f"query q {{ version }} {mutation}", "subscription { x }", "{", "{" * 5000):
        answer = client.get("/graphql", params={"query": text, "operationName": "q"})
        assert answer.status_code == 405, text[:60]
        assert answer.headers["allow"] == "POST"
    twice = [("query", mutation), ("query", "{ version }")]
    assert client.get("/graphql", params=twice).status_code == 405
    for method in ("PUT", "PATCH", "DELETE"):
        assert client.request(method, "/graphql", json=deletion).status_code == 405
    assert instance.get_runs_count() == 1


def test_every_route_that_takes_posts_is_judged_the_same_way(
    client: TestClient, site: tuple[dg.DagsterInstance, Any]
) -> None:
    """Routes that a later Dagster adds are found here too."""
    paths = {
        re.sub(r"\{.*?\}", "x", route.path)
        for route in site[1].routes
        if isinstance(route, Route) and "POST" in (route.methods or ())
    }
    assert {"/graphql", "/report_asset_materialization/x", "/report_asset_check/x"} <= paths
    assert not [route for route in site[1].routes if isinstance(route, Mount) and not route.name.endswith("_static")]
    for path in paths:
        assert client.post(path, params={"asset_key": "x"}).status_code == 415, path
        assert client.post(path, json={}, headers={"Origin": "https://evil.example"}).status_code == 403, path


def test_asset_events_are_reported_with_json(client: TestClient, instance: dg.DagsterInstance) -> None:
    assert client.post("/report_asset_materialization/x", json={"description": "by hand"}).status_code == 200
    assert instance.get_latest_materialization_event(dg.AssetKey("x"))


def test_the_operators_page_subscribes(client: TestClient) -> None:
    for headers in ({"Origin": OWN}, {}):
        with client.websocket_connect(SOCKET, subprotocols=["graphql-ws"], headers=headers) as socket:
            socket.send_json({"type": "connection_init"})
            assert socket.receive_json() == {"type": "connection_ack"}


def test_no_other_page_shows_ours_inside_itself(client: TestClient) -> None:
    for path in ("/", "/graphql", "/server_info"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert "script-src" in client.get("/").headers["content-security-policy"], "beside Dagster's own"
