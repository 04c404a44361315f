"""The simulator speaks the wire format as captured, and its truth is what a plain client collects."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from weather_backfill.sources.aceiot.decode import micros
from weather_backfill.sources.aceiot.simulate import Faults, make_app, page_body
from weather_backfill.sources.aceiot.simulate_data import LAYOUT_DAY, SiteData, SiteSpec, layout_site, truth
from weather_backfill.sources.aceiot.source import windows_of

NORTH = SiteSpec("north", 8, 1800)
DAY = date(2025, 3, 30)
HEADERS = {"Authorization": "Bearer right"}
SERIES = "/api/sites/north/timeseries/paginated"


def make(faults: Faults | None = None, sites: list[SiteSpec] | None = None) -> TestClient:
    app = make_app(sites or [NORTH, layout_site()], key="right", faults=faults)
    return TestClient(app, headers=HEADERS)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with make() as client:
        yield client


def window(day: date, **more: Any) -> dict[str, Any]:
    start = datetime.combine(day, datetime.min.time())
    end = start + timedelta(days=1, microseconds=-1)
    return {"start_time": start.isoformat(), "end_time": end.isoformat() + "Z", "raw_data": "true", **more}


def walk(client: TestClient, path: str, **query: Any) -> tuple[list[dict[str, str]], int, bool]:
    """Rows, pages and whether it stalled, of a client that trusts every cursor."""
    rows: list[dict[str, str]] = []
    cursor, pages = None, 0
    while True:
        page = client.get(path, params=query | ({"cursor": cursor} if cursor else {})).json()
        pages += 1
        rows += page["point_samples"]
        if not page["has_more"]:
            assert page["next_cursor"] is None
            return rows, pages, False
        if page["next_cursor"] == cursor:
            return rows, pages, True
        cursor = page["next_cursor"]


@pytest.mark.parametrize("size", [10, 100, 10_000])
def test_a_plain_walk_without_the_fault_collects_the_truth(client: TestClient, size: int) -> None:
    rows, pages, stalled = walk(client, SERIES, **window(DAY, page_size=size))
    assert not stalled
    assert pages == -(-len(rows) // size)
    configured = {p["name"] for p in client.get("/api/sites/north/configured_points?per_page=100").json()["items"]}
    last: dict[tuple[str, str], float] = {}
    for row in rows:
        try:
            value = float(row["value"])
        except (TypeError, ValueError):
            continue
        if row["name"] in configured and value == value:
            last[row["name"], row["time"]] = value
    true = truth(NORTH, DAY)
    assert len(last) == true.num_rows
    for point, at, value in zip(*(true[c].to_pylist() for c in true.column_names), strict=True):
        assert last[point, at.replace(tzinfo=None).isoformat()] == value


@pytest.mark.parametrize(
    ("size", "pages", "rows", "stalls"),
    [(50, 2, 100, True), (100, 2, 200, True), (500, 2, 1000, True), (1000, 4, 3222, False)],
)
def test_the_cursor_fault_is_the_one_that_was_measured(size: int, pages: int, rows: int, stalls: bool) -> None:
    with make(Faults(cursor=True)) as client:
        got, asked, stalled = walk(
            client, "/api/sites/layout/timeseries/paginated", **window(LAYOUT_DAY, page_size=size)
        )
    assert (asked, len(got), stalled) == (pages, rows, stalls)


def test_pages_and_cursors_look_as_captured(client: TestClient) -> None:
    page = client.get(SERIES, params=window(DAY, page_size=10)).json()
    assert list(page) == ["point_samples", "next_cursor", "has_more"]
    assert list(page["point_samples"][0]) == ["name", "value", "time"]
    assert all(isinstance(s["value"], str | None) for s in page["point_samples"])
    assert page["point_samples"][0]["time"] == "2025-03-30T00:00:00"
    cursor = base64.b64decode(page["next_cursor"]).decode()
    assert cursor == '{"offset": 10, "timestamp": "2025-03-30T00:00:00"}'
    empty = client.get(SERIES, params=window(date(1999, 1, 1)))
    assert empty.text == '{"point_samples":[],"next_cursor":null,"has_more":false}'


def test_without_raw_data_there_are_five_minute_buckets(client: TestClient) -> None:
    rows = client.get(SERIES, params=window(DAY) | {"raw_data": "false"}).json()["point_samples"]
    assert {datetime.fromisoformat(r["time"]).minute % 5 for r in rows} == {0}


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/sites/nowhere/configured_points", 403, "Forbidden"),
        ("/api/sites/north/configured_points?per_page=7", 400, "The value '7' is not a valid choice"),
        (SERIES + "?start_time=2025-01-01&end_time=2025-01-02&page_size=7", 400, "not a valid choice"),
        (SERIES, 400, "start_time"),
        ("/api/points/no/such/point", 404, "A database result was required"),
    ],
)
def test_wrong_questions_get_the_reported_answers(client: TestClient, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert says in answer.text


def test_wrong_keys_get_the_reported_answers(client: TestClient) -> None:
    wrong = client.get("/api/sites", headers={"Authorization": "Bearer wrong"})
    assert (wrong.status_code, wrong.json()) == (500, {"message": "An unhandled exception occurred."})
    with TestClient(client.app) as bare:
        assert bare.get("/api/sites").status_code == 401


def test_lists_have_pages(client: TestClient) -> None:
    first = client.get("/api/sites/layout/configured_points", params={"per_page": 1000}).json()
    assert (len(first["items"]), first["page"], first["pages"], first["total"]) == (1000, 1, 2, 1464)
    second = client.get("/api/sites/layout/configured_points", params={"per_page": 1000, "page": 2}).json()
    assert len(second["items"]) == 464
    assert client.get("/api/sites", params={"per_page": 10}).json()["pages"] is None


def test_faults_are_the_same_for_the_same_seed_and_pass() -> None:
    def statuses() -> list[int]:
        with make(Faults(errors=0.5)) as client:
            return [
                client.get(SERIES, params=window(DAY, page_size=s)).status_code for s in (10, 50, 100) for _ in range(4)
            ]

    first = statuses()
    assert first == statuses()
    assert {200, 500} == set(first)
    assert [first[3], first[7], first[11]] == [200, 200, 200]


def test_bursts_and_the_limit_answer_429_with_retry_after() -> None:
    with make(Faults(burst_every=3, burst_seconds=1e-6)) as client:
        answers = [client.get("/api/sites", params={"per_page": 10}) for _ in range(6)]
        told = [a.headers["retry-after"] for a in answers if a.status_code == 429]
        assert told[0] == "1"
        assert any(value.endswith("GMT") for value in told)
        assert [r["status"] for r in client.get("/_requests").json()].count(429) == len(told)
    with make(Faults(limit=2)) as client:
        assert [client.get("/api/sites?per_page=10").status_code for _ in range(3)] == [200, 200, 429]


def test_the_log_never_holds_the_key(client: TestClient) -> None:
    assert "right" not in json.dumps(client.get("/_requests").json())


def test_a_day_of_thousands_of_points_is_served_fast() -> None:
    data = SiteData(SiteSpec("big", 4583, unconfigured=0, null_every=0, bad_every=0, repeat_every=0))
    [quarter, *_] = windows_of("big", DAY, 4)
    started = time.process_time()
    body = page_body(data, quarter.start, quarter.end, (micros(quarter.start), 0), 500_000, True)
    rate = 500_000 / (time.process_time() - started)
    assert body.count(b'"name"') == 500_000
    assert rate > 300_000


def test_the_command_says_what_it_wants() -> None:
    import typer

    from weather_backfill.sources.aceiot.simulate import aceiot_command

    app = typer.Typer()
    app.command()(aceiot_command)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for flag in ("--serve", "--cursor-fault", "--burst-every", "--limit", "--seed"):
        assert flag in shown


def test_sites_are_read_from_text() -> None:
    assert SiteSpec.parse("north") == SiteSpec("north")
    assert SiteSpec.parse("n:5:300:3-9") == SiteSpec("n", 5, 300, gap=(3, 9))
    assert SiteSpec.parse("layout").layout
    assert isinstance(truth(layout_site(), DAY), pa.Table)
