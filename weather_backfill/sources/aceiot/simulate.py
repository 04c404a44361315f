"""A real HTTP server that speaks ACE IoT's wire format, faults included, with data whose truth is known.

Faults are chosen by flags and drawn from a seed, by request and by how often it was asked, so that they do
not depend on which process asks first; no request fails more than `most_in_a_row` times in a row. Every
request is logged with a monotonic time: `GET /_requests`. `PUT /_faults` changes faults while it runs.

    python -m weather_backfill.sources.aceiot.simulate --site north:4583 --cursor-fault --errors 0.05
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import hashlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.utils import formatdate
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from weather_backfill.model.partitions import UTC
from weather_backfill.sources.aceiot.connection import LIST_SIZES, PAGE_SIZES
from weather_backfill.sources.aceiot.decode import micros, moment_of
from weather_backfill.sources.aceiot.simulate_data import SiteData, SiteSpec, iso, truth

__all__ = ["Faults", "SiteSpec", "aceiot_command", "make_app", "serve", "truth"]

_UNHANDLED = {"message": "An unhandled exception occurred."}
KEY_VARIABLE = "ACEIOT_SIMULATOR_KEY"


@dataclass(slots=True)
class Faults:
    """What goes wrong. Rates are shares of requests, times seconds."""

    cursor: bool = False
    errors: float = 0.0
    cut: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 0.3
    burst_every: int = 0  # every so many requests a burst of 429 begins
    burst_seconds: float = 1.0
    limit: int = 0  # requests in `limit_seconds` that are answered; more get 429
    limit_seconds: float = 60.0
    most_in_a_row: int = 2
    down: bool = False


@dataclass(slots=True)
class Simulation:
    """The state of a server: sites by name, what was asked, and what goes wrong."""

    sites: dict[str, SiteData]
    key: str = field(repr=False)
    faults: Faults = field(default_factory=Faults)
    seed: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    burst_until: float = 0.0
    bursts: int = 0
    answered: list[float] = field(default_factory=list)
    averages: dict[str, SiteData] = field(default_factory=dict)

    def draw(self, url: str, kind: str, rate: float, times_asked: int) -> bool:
        """Whether this request meets a fault of this kind."""
        if times_asked >= self.faults.most_in_a_row:
            return False
        drawn = hashlib.blake2b(f"{self.seed}|{kind}|{times_asked}|{url}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn, "big") / 2**64 < rate

    def refusal(self, now: float) -> float:
        """Seconds to wait that a 429 must ask for, 0 if the request is welcome."""
        f = self.faults
        if now < self.burst_until:
            return self.burst_until - now
        if f.burst_every and len(self.log) % f.burst_every == 0:
            self.burst_until = now + f.burst_seconds
            self.bursts += 1
            return f.burst_seconds
        if f.limit:
            self.answered = [t for t in self.answered if t > now - f.limit_seconds]
            if len(self.answered) >= f.limit:
                return self.answered[0] + f.limit_seconds - now
            self.answered.append(now)
        return 0.0


def _json(content: Any, status: int = 200, **headers: str) -> Response:
    return JSONResponse(content, status, headers)


def _too_many(sim: Simulation, seconds: float) -> Response:
    # Bursts alternate between the two forms of the header; a date must be rounded up, it has whole seconds.
    whole = max(int(-(-seconds // 1)), 1)
    value = formatdate(int(time.time()) + 1 + whole, usegmt=True) if sim.bursts % 2 == 0 else str(whole)
    return _json({"message": "Too Many Requests"}, 429, **{"Retry-After": value})


Handler = Callable[[Simulation, Request], Awaitable[Response]]


def _guarded(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Log the request, draw its faults, check its key, answer."""

    async def answer(request: Request) -> Response:
        sim: Simulation = request.app.state.simulation
        now = time.monotonic()
        entry = {"at": now, "path": request.url.path, "query": str(request.url.query), "status": 0}
        sim.log.append(entry)
        response = await _answer(sim, request, handler, now)
        entry["status"] = response.status_code
        entry["kind"] = type(response).__name__
        return response

    return answer


async def _answer(sim: Simulation, request: Request, handler: Handler, now: float) -> Response:
    if sim.faults.down:
        return _json({"message": "Service Unavailable"}, 503)
    if wait := sim.refusal(now):
        return _too_many(sim, wait)
    url = str(request.url.path) + "?" + str(request.url.query)
    times = sim.asked[url] = sim.asked.get(url, -1) + 1
    if sim.draw(url, "slow", sim.faults.slow, times):
        await asyncio.sleep(sim.faults.slow_seconds)
    if sim.draw(url, "error", sim.faults.errors, times):
        return _json(_UNHANDLED, 500)
    key = request.headers.get("authorization")
    if key is None:
        return _json({"message": "Missing Authorization Header"}, 401)
    if key != f"Bearer {sim.key}":
        return _json(_UNHANDLED, 500)
    response = await handler(sim, request)
    if response.status_code == 200 and sim.draw(url, "cut", sim.faults.cut, times):
        return CutResponse(response.body, media_type="application/json")
    return response


class CutResponse(Response):
    """Half of a body under the headers of a whole one: the connection breaks in the middle."""

    async def __call__(self, scope: Any, receive: Any, send: Callable[[MutableMapping[str, Any]], Any]) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})


async def _sites(sim: Simulation, request: Request) -> Response:
    return _list(request, [{"id": i, "name": name} for i, name in enumerate(sim.sites, 1)])


async def _configured_points(sim: Simulation, request: Request) -> Response:
    site = sim.sites.get(request.path_params["site"])
    if site is None:
        return _json({"message": "Forbidden"}, 403)
    return _list(request, [{"id": i, "name": name} for i, name in enumerate(site.configured, 1)])


def _list(request: Request, items: list[dict[str, Any]]) -> Response:
    per_page, page = request.query_params.get("per_page", "10"), request.query_params.get("page", "1")
    if not per_page.isdigit() or int(per_page) not in LIST_SIZES:
        text = f"Results per page {{error_msg}} The value '{per_page}' is not a valid choice for 'per_page'."
        return _json({"errors": {"per_page": text}, "message": "Input payload validation failed"}, 400)
    size, number = int(per_page), int(page) if page.isdigit() else 1
    # `pages` is null on a list of a single page, as the service has it now and then.
    pages = -(-len(items) // size)
    body = {"items": items[(number - 1) * size : number * size], "page": number, "per_page": size}
    return _json(body | {"pages": pages if pages > 1 else None, "total": len(items)})


async def _point(sim: Simulation, request: Request) -> Response:
    name = request.path_params["point"]
    known = next((s for s in sim.sites.values() if name in s.configured), None)
    if known is None:
        return _json({"message": "A database result was required but none was found."}, 404)
    return _json({"name": name, "site": known.spec.name})


async def _timeseries(sim: Simulation, request: Request) -> Response:
    site, query = sim.sites.get(request.path_params["site"]), request.query_params
    if site is None:
        return _json({"message": "Forbidden"}, 403)
    if query.get("raw_data", "false").lower() != "true":
        site = sim.averages.setdefault(site.spec.name, _five_minutes(site, sim.seed))
    try:
        size = int(query.get("page_size", "10000"))
        start, end = _moment(query["start_time"]), _moment(query["end_time"])
        at = _place(query["cursor"]) if "cursor" in query else (micros(start), 0)
    except (KeyError, ValueError, binascii.Error) as error:
        return _json({"message": "Input payload validation failed", "errors": {"query": str(error)}}, 400)
    if size not in PAGE_SIZES:
        return _json({"message": f"The value '{size}' is not a valid choice for 'page_size'."}, 400)
    body = await run_in_threadpool(page_body, site, start, end, at, size, sim.faults.cursor)
    return Response(body, media_type="application/json")


def _five_minutes(site: SiteData, seed: int) -> SiteData:
    """Without `raw_data=true` there is one sample a point and five minutes."""
    return SiteData(
        dataclasses.replace(site.spec, cadence=max(300, site.spec.cadence), jitter=False, repeat_every=0),
        seed,
    )


def page_body(site: SiteData, start: datetime, end: datetime, at: tuple[int, int], size: int, fault: bool) -> bytes:
    """A page of `[start, end]` from place `at` (microseconds, rows behind that time), with the next
    cursor.
    """
    parts, left, last, skipped = [], size, None, at[1]
    # Both ends belong to the window here: a client must cope with rows that two windows share.
    low_edge, high_edge = max(micros(start), at[0]), micros(end) + 1
    day, more = moment_of(low_edge).date(), False
    while not more and (edge := _edge(day)) < high_edge:
        low = site.position(day, max(low_edge, edge), 0)
        high = site.position(day, high_edge, 0)
        passed = min(skipped, high - low)
        low, skipped = low + passed, skipped - passed
        take = min(high - low, left)
        if take > 0:
            parts.append((day, low, low + take))
            last = (day, low + take - 1)
        left -= take
        more = take < high - low
        day += timedelta(days=1)
    body = b",".join(site.page(*p) for p in parts)
    cursor = _next_cursor(site, parts, last, at, fault) if more and last else None
    tail = b'],"next_cursor":%s,"has_more":%s}' % (json.dumps(cursor).encode(), b"true" if more else b"false")
    return b'{"point_samples":[' + body + tail


def _next_cursor(
    site: SiteData,
    parts: list[tuple[date, int, int]],
    last: tuple[date, int],
    at: tuple[int, int],
    fault: bool,
) -> str:
    """The place behind the last row. With the fault, rows of its time that came with earlier pages are
    forgotten.
    """
    day, row = last
    scans = site.scans(day)
    scan = int(scans.ends.searchsorted(row, side="right"))
    begin = int(scans.ends[scan - 1]) if scan else 0
    in_page = row + 1 - max(parts[-1][1], begin)
    offset = in_page if fault else row + 1 - begin
    moment = int(scans.times[scan])
    return base64.b64encode(json.dumps({"offset": offset, "timestamp": iso(moment)}).encode()).decode()


def _edge(day: date) -> int:
    return micros(datetime.combine(day, datetime.min.time(), UTC))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _place(cursor: str) -> tuple[int, int]:
    document = json.loads(base64.b64decode(cursor, validate=True))
    return micros(_moment(document["timestamp"])), int(document["offset"])


async def _requests(request: Request) -> Response:
    return _json(request.app.state.simulation.log)


async def _set_faults(request: Request) -> Response:
    sim: Simulation = request.app.state.simulation
    sim.faults = dataclasses.replace(sim.faults, **await request.json())
    return _json(dataclasses.asdict(sim.faults))


def make_app(sites: list[SiteSpec], *, key: str, faults: Faults | None = None, seed: int = 0) -> Starlette:
    """The server as an ASGI application."""
    app = Starlette(
        routes=[
            Route("/api/sites", _guarded(_sites)),
            Route("/api/sites/", _guarded(_sites)),
            Route("/api/sites/{site}/configured_points", _guarded(_configured_points)),
            Route("/api/sites/{site}/timeseries/paginated", _guarded(_timeseries)),
            Route("/api/points/{point:path}", _guarded(_point)),
            Route("/_requests", _requests),
            Route("/_faults", _set_faults, methods=["PUT"]),
        ]
    )
    data = {spec.name: SiteData(spec, seed) for spec in sites}
    app.state.simulation = Simulation(data, key, faults or Faults(), seed)
    return app


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    sites: list[SiteSpec],
    key: str,
    faults: Faults | None = None,
    seed: int = 0,
) -> None:
    """Serve until interrupted; says `listening on http://host:port/api` when it is. Port 0 takes a free
    one.
    """
    listener = socket.create_server((host, port))
    address = f"http://{host}:{listener.getsockname()[1]}/api"
    config = uvicorn.Config(make_app(sites, key=key, faults=faults, seed=seed), log_level="critical", access_log=False)
    typer.echo(f"listening on {address}")  # the socket accepts already; uvicorn answers as soon as it runs
    uvicorn.Server(config).run(sockets=[listener])


def aceiot_command(
    serving: Annotated[bool, typer.Option("--serve", help="Serve until interrupted.")] = True,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8765,
    site: Annotated[
        list[str] | None,
        typer.Option(help="name[:points[:cadence in seconds[:gap, as 3-5]]], or layout; may stand several times."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other data and faults.")] = 0,
    cursor_fault: Annotated[bool, typer.Option(help="Cursors that do not advance inside one time.")] = False,
    errors: Annotated[float, typer.Option(help="Share of requests answered 500.")] = 0.0,
    cut: Annotated[float, typer.Option(help="Share of answers cut in the middle.")] = 0.0,
    slow: Annotated[float, typer.Option(help="Share of slow answers.")] = 0.0,
    slow_seconds: Annotated[float, typer.Option(help="How slow.")] = 0.3,
    burst_every: Annotated[int, typer.Option(help="Requests between two bursts of 429.")] = 0,
    burst_seconds: Annotated[float, typer.Option(help="Length of a burst.")] = 1.0,
    limit: Annotated[int, typer.Option(help="Requests a minute that are answered.")] = 0,
    limit_seconds: Annotated[float, typer.Option(help="Length of that minute.")] = 60.0,
    down: Annotated[bool, typer.Option(help="Answer 503 to everything.")] = False,
) -> None:
    """Simulate the ACE IoT API. The key it accepts is in ACEIOT_SIMULATOR_KEY ("simulator" if not set).

    Example: weather-backfill simulate aceiot --serve --site acme_north_campus:200 --cursor-fault --errors 0.02
    """
    if not serving:
        raise typer.BadParameter("there is nothing to do but to serve", param_hint="--serve")
    faults = Faults(
        cursor=cursor_fault, errors=errors, cut=cut, slow=slow, slow_seconds=slow_seconds,
        burst_every=burst_every, burst_seconds=burst_seconds, limit=limit, limit_seconds=limit_seconds,
        down=down,
    )  # fmt: skip
    specs = [SiteSpec.parse(text) for text in site or ["north:20", "south:12"]]
    serve(host, port, sites=specs, key=os.environ.get(KEY_VARIABLE, "simulator"), faults=faults, seed=seed)


if __name__ == "__main__":
    typer.run(aceiot_command)
