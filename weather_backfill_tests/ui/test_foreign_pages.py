"""A page of another origin in the operator's browser commands nothing; the operator's own page does.

The foreign page is served on loopback too, under the webserver's own name with another port and under another name:
the first is of the same site to a browser, the second is not.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.test_utils import create_run_for_test
from playwright.sync_api import BrowserContext, Page

from weather_backfill_tests.platform import START, Platform

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]

# Sends a command as pages send things, and tells what became of each try.
SEND = """async ([url, query]) => {
    const told = {};
    const attempt = async (name, send) => {
        try { const answer = await send(); told[name] = answer ? `${answer.type} ${answer.status}` : "sent"; }
        catch (error) { told[name] = String(error); }
    };
    const body = JSON.stringify({query}), headers = {"Content-Type": "application/json"};
    await attempt("fetch", () => fetch(`${url}/graphql`, {method: "POST", body, headers}));
    await attempt("form", () => {
        const frame = document.createElement("iframe"), form = document.createElement("form");
        frame.name = "answer"; document.body.append(frame, form);
        const ready = new Promise((done) => { frame.onload = frame.onerror = () => done(); });
        Object.assign(form, {method: "post", action: `${url}/graphql`, target: frame.name});
        const input = document.createElement("input");
        Object.assign(input, {name: "query", value: query}); form.append(input);
        form.submit();
        return ready;
    });
    await attempt("websocket", () => new Promise((done, fail) => {
        const socket = new WebSocket(`${url.replace("http", "ws")}/graphql`, "graphql-ws");
        socket.onerror = () => fail("refused");
        socket.onopen = () => done({type: "socket", status: 200});
    }));
    return told;
}"""
OWN = """async ([query]) => {
    const headers = {"Content-Type": "application/json"}, body = JSON.stringify({query});
    return (await fetch("/graphql", {method: "POST", headers, body})).json();
}"""
SUBSCRIBE = """() => new Promise((done, fail) => {
    const socket = new WebSocket(`ws://${location.host}/graphql`, "graphql-ws");
    socket.onerror = () => fail("refused");
    socket.onopen = () => socket.send(JSON.stringify({type: "connection_init"}));
    socket.onmessage = (message) => { socket.close(); done(JSON.parse(message.data).type); };
})"""

FRAME = """(url) => new Promise((done) => {
    const frame = document.createElement("iframe");
    Object.assign(frame, {onload: () => done(), src: `${url}/runs`});
    document.body.append(frame);
})"""


@contextmanager
def foreign_site() -> Iterator[int]:
    """A server of an empty page; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = b"<!DOCTYPE html><title>elsewhere</title><body></body>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    folder = tmp_path_factory.mktemp("foreign")
    platform = Platform(folder, str(folder / "lake"))
    platform.add_tempest("acme", 2)
    return platform


@pytest.fixture(scope="module")
def url(place: Platform) -> Iterator[str]:
    """The webserver alone: without a daemon what is launched stays as it was asked for."""
    with place.webserver() as url:
        yield url


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    with closing(context.new_page()) as page:
        yield page


def launch(tenant: str = "acme") -> str:
    days = json.dumps([f"{START}|{tenant}"])
    return (
        'mutation { launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["tempest", "raw_observations"]}, '
        f'{{path: ["tempest", "refined_15m"]}}], partitionNames: {days}}}) '
        "{ ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }"
    )


def cancel(backfill: str) -> str:
    return f'mutation {{ cancelPartitionBackfill(backfillId: "{backfill}") {{ __typename }} }}'


def delete(run: str) -> str:
    return f'mutation {{ deletePipelineRun(runId: "{run}") {{ __typename }} }}'


def command(page: Page, query: str) -> dict[str, dict[str, str]]:
    """Send a command as the webserver's own page does."""
    answer = page.evaluate(OWN, [query])
    assert not answer.get("errors"), answer
    return dict(answer["data"])


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_foreign_page_launches_cancels_and_deletes_nothing_and_the_operators_does(
    name: str, place: Platform, url: str, page: Page
) -> None:
    page.goto(url)
    launched = command(page, launch())["launchPartitionBackfill"]["backfillId"]
    with place.instance as instance:
        run = create_run_for_test(instance).run_id
        before = {backfill.backfill_id: backfill.status for backfill in instance.get_backfills()}
    assert before[launched] is BulkActionStatus.REQUESTED
    told = []
    with foreign_site() as port:
        for query in (launch(), cancel(launched), delete(run)):
            page.goto(f"http://{name}:{port}/")
            told.append(page.evaluate(SEND, [url, query]))
    with place.instance as instance:
        assert {backfill.backfill_id: backfill.status for backfill in instance.get_backfills()} == before
        assert instance.get_run_by_id(run)
    for each in told:
        assert len(each) == 3, each
        assert not any("200" in str(what) for what in each.values()), "no answer is read either"
        assert "refused" in each["websocket"]
        assert "Failed to fetch" in each["fetch"], "the browser asks first, and is told no"

    page.goto(f"{url}/runs")
    assert page.evaluate(SUBSCRIBE) == "connection_ack"
    assert command(page, cancel(launched))["cancelPartitionBackfill"]["__typename"] == "CancelBackfillSuccess"
    assert command(page, delete(run))["deletePipelineRun"]["__typename"] == "DeletePipelineRunSuccess"
    with place.instance as instance:
        ended = instance.get_backfill(launched)
        assert ended
        assert ended.status in (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)
        assert not instance.get_run_by_id(run)


def test_the_operators_pages_work_and_are_shown_in_no_other(url: str, page: Page) -> None:
    refused: list[str] = []
    page.on(
        "response", lambda answer: refused.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
    )
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(f"{url}/runs")
    page.get_by_text("Runs", exact=True).first.wait_for()
    page.goto(f"{url}/locations/weather_backfill.definitions/asset-groups/tempest/lineage")
    page.get_by_text("raw_observations", exact=True).first.wait_for()
    assert sockets, "the page subscribes"
    assert not refused
    with foreign_site() as port:
        page.goto(f"http://localhost:{port}/")
        page.evaluate(FRAME, url)
        [_, frame] = page.frames
        assert "answers its own pages alone" in frame.content()
        page.set_content(f'<a href="{url}/runs">runs</a>')
        page.get_by_text("runs").click()  # a link in a mail
        page.get_by_text("Runs", exact=True).first.wait_for()
