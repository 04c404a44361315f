"""A static server over made GHCNh files, with ETags, conditional GETs and the faults of the real one.

Faults are drawn from a seed, by address and by how often it was asked, so that they do not depend on which process
asks first; no address fails more than twice in a row. `GET /_requests` lists what was asked, `PUT /_faults` changes
faults while it runs: among them months that go (`lost_months`) and values that are rewritten (`rewritten`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import socket
import time
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from weather_backfill.sources.ghcnh.catalogue import path_of
from weather_backfill.sources.ghcnh.simulate_data import Network, Row, body_of
from weather_backfill.sources.ghcnh.stations import INVENTORY, LIST

_FILE = re.compile(r"access/by-year/(\d{4})/psv/GHCNh_([A-Z0-9]{11})_\1\.psv")
_MOST_IN_A_ROW = 2


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. `errors` and `cut` are shares of requests; `lost_months` as `<station>:2024-07`; `rewritten` as
    `<station>:2024-07-05`: a day whose temperatures are one degree higher than before; `gone` are stations without
    files.
    """

    errors: float = 0.0
    cut: float = 0.0
    limit: int = 0  # requests in `limit_seconds` that are answered; more get 429
    limit_seconds: float = 60.0
    down: bool = False
    lost_months: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(slots=True)
class Simulation:
    """The state of a server."""

    network: Network
    faults: Faults = field(default_factory=Faults)
    log: list[dict[str, Any]] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    answered: list[float] = field(default_factory=list)

    def fails(self, url: str, kind: str, rate: float, times_asked: int) -> bool:
        """Whether this request meets a fault of this kind."""
        if times_asked % (_MOST_IN_A_ROW + 1) == _MOST_IN_A_ROW:
            return False
        drawn = hashlib.blake2b(f"{self.network.seed}|{kind}|{times_asked}|{url}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn, "big") / 2**64 < rate

    def wait(self) -> float:
        """Seconds that a 429 must ask for, 0 if the request is welcome."""
        if not self.faults.limit:
            return 0.0
        now = time.monotonic()
        self.answered = [at for at in self.answered if at > now - self.faults.limit_seconds]
        if len(self.answered) >= self.faults.limit:
            return self.answered[0] + self.faults.limit_seconds - now
        self.answered.append(now)
        return 0.0


def file_of(network: Network, path: str, faults: Faults) -> bytes | None:
    """The bytes of a path as the server has them now; None where there is no such file."""
    if path == LIST:
        return network.list()
    if path == INVENTORY:
        return _inventory(network)
    found = _FILE.fullmatch(path)
    if found is None or found[2] not in network.ids or found[2] in faults.gone or int(found[1]) not in network.years():
        return None
    station, year = found[2], int(found[1])
    rows = network.year(station, year)[0]
    lost = {month for name, _, month in (text.partition(":") for text in faults.lost_months) if name == station}
    changed = {day for name, _, day in (text.partition(":") for text in faults.rewritten) if name == station}
    kept = [_as_now(row, changed) for row in rows if f"{row.time:%Y-%m}" not in lost]
    return body_of(station, kept)


@lru_cache(maxsize=4)
def _inventory(network: Network) -> bytes:
    return network.inventory()


def _as_now(row: Row, rewritten: set[str]) -> Row:
    if f"{row.time:%Y-%m-%d}" not in rewritten or "temperature" not in row.cells:
        return row
    text, measurement, quality, report, source = row.cells["temperature"]
    warmer = (f"{round(float(text) + 1, 1)}", measurement, quality, report, source)
    return dataclasses.replace(row, cells={**row.cells, "temperature": warmer})


def write_network(network: Network, folder: Path, faults: Faults | None = None) -> int:
    """Write all files of a network below a folder, as the server lays them out; returns how many."""
    paths = [LIST, INVENTORY, *(path_of(station, year) for station in network.ids for year in network.years())]
    written = 0
    for path in paths:
        body = file_of(network, path, faults or Faults())
        if body is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(body)
            written += 1
    return written


async def _answer(request: Request) -> Response:
    sim: Simulation = request.app.state.simulation
    path = request.path_params["path"]
    entry: dict[str, Any] = {"at": time.monotonic(), "path": path, "status": 0}
    sim.log.append(entry)
    response = await _answered(sim, request, path)
    entry["status"] = response.status_code
    return response


async def _answered(sim: Simulation, request: Request, path: str) -> Response:
    if sim.faults.down:
        return Response("Service Unavailable", 503)
    if wait := sim.wait():
        return Response("Too Many Requests", 429, {"Retry-After": str(max(int(-(-wait // 1)), 1))})
    times = sim.asked[path] = sim.asked.get(path, -1) + 1
    if sim.fails(path, "error", sim.faults.errors, times):
        return Response("Internal Server Error", 500)
    body = await run_in_threadpool(file_of, sim.network, path, sim.faults)
    if body is None:
        return Response("<html><title>404 Not Found</title></html>", 404)
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    if sim.fails(path, "cut", sim.faults.cut, times):
        return _Cut(body, headers={"ETag": tag})
    return Response(body, headers={"ETag": tag})


class _Cut(Response):
    """Half of a body under the headers of a whole one: the connection breaks in the middle."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body)[: len(self.body) // 2], "more_body": True})


async def _requests(request: Request) -> Response:
    return JSONResponse(request.app.state.simulation.log)


async def _set_faults(request: Request) -> Response:
    sim: Simulation = request.app.state.simulation
    asked = (await request.json()).items()
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in asked}
    sim.faults = dataclasses.replace(sim.faults, **given)
    return JSONResponse(dataclasses.asdict(sim.faults))


def make_app(network: Network, faults: Faults | None = None) -> Starlette:
    """The server as an ASGI application."""
    app = Starlette(
        routes=[
            Route("/_requests", _requests),
            Route("/_faults", _set_faults, methods=["PUT"]),
            Route("/hourly/{path:path}", _answer),
        ]
    )
    app.state.simulation = Simulation(network, faults or Faults())
    return app


def serve(network: Network, faults: Faults | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve until interrupted; says `listening on http://host:port/hourly` when it is. Port 0 takes a free one.

    The inventory, which counts the rows of every file, is made before: a client would not wait for it.
    """
    _inventory(network)
    listener = socket.create_server((host, port))
    config = uvicorn.Config(make_app(network, faults), log_level="critical", access_log=False)
    typer.echo(f"listening on http://{host}:{listener.getsockname()[1]}/hourly")
    uvicorn.Server(config).run(sockets=[listener])


def network_of(start: date, end: date, stations: int, seed: int) -> Network:
    """A network from start to end; raises `ConfigurationError` for swapped ones."""
    from weather_backfill.model.errors import ConfigurationError

    if end < start:
        raise ConfigurationError(f"end {end} is before start {start}: swap them.")
    return Network(start, end, stations, seed)
