"""The source: sites and windows of a day side by side within the rate limit, days one after the other.

A window that fails is retried alone; windows that are done stay done while their day is tried again. A site that is
refused, or of which a window cannot be read, costs only itself: the day lacks it, and names it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from weather_backfill.http.auth import BearerAuth
from weather_backfill.http.circuit_breaker import BreakerRules
from weather_backfill.http.client import Policy, PoliteClient, hurried
from weather_backfill.http.rate_limit import WINDOW_SECONDS, Rate
from weather_backfill.http.shared_state import open_state
from weather_backfill.http.shared_state.base import SharedState
from weather_backfill.model.days import Cadence, DayFailure, DayInventory, RawDay
from weather_backfill.model.errors import NotAskedError, PermanentError, SchemaError, WeatherError
from weather_backfill.model.expectation import Lack
from weather_backfill.model.partitions import UTC, days_between
from weather_backfill.sources.aceiot import REQUESTS_PER_MINUTE, request_budget
from weather_backfill.sources.aceiot.api import AceiotApi, blames_key
from weather_backfill.sources.aceiot.connection import PAGE_SIZES, AceiotConnection
from weather_backfill.sources.aceiot.day_assembly import WindowFile, assemble, write_window
from weather_backfill.sources.aceiot.decode import Counts, Page, decode_page
from weather_backfill.sources.aceiot.pagination import walk_window
from weather_backfill.sources.aceiot.points import PointSet, choose_points
from weather_backfill.sources.base import ClosingSource
from weather_backfill.util.day_stream import each_day
from weather_backfill.util.scratch import Scratch

SERVICE = "aceiot"
WINDOW_TRIES = 3
DECODERS = 2
"""Pages decoded at once, however many requests wait: 500,000 samples take 100 MB meanwhile, and the allocator
keeps for each thread what it once had."""


def open_client(
    connection: AceiotConnection,
    tenant: str,
    state: SharedState,
    *,
    requests_per_minute: int = REQUESTS_PER_MINUTE,
    policy: Policy | None = None,
    window: float = WINDOW_SECONDS,
    **options: Any,
) -> PoliteClient:
    """A polite client for a connection; `options` go to `PoliteClient` (clock, sleep, transport)."""
    policy = policy or Policy(connections=connection.parallel_requests)
    own = connection.requests_per_minute
    longest = policy.total_timeout + policy.read_timeout + policy.connect_timeout
    rate = Rate(own or requests_per_minute, window, longest)
    return PoliteClient(
        SERVICE, connection.base_url, state=state, tenant=tenant if own else None, rate=rate,
        auth=BearerAuth(connection.api_key), policy=policy, blames_key=blames_key, **options,
    )  # fmt: skip


def open_source(
    connection: AceiotConnection,
    tenant: str,
    *,
    limits_url: str | None = None,
    requests_per_minute: int = REQUESTS_PER_MINUTE,
    patience: float = 120.0,
    private: bool = True,
    hurry: bool = False,
) -> AceiotSource:
    """The source of a tenant's connection. `limits_url` is where limiter and breaker are shared
    (`open_state`), `patience` the seconds for which an outage is waited out,
    `private` whether loopback and private addresses may be asked, `hurry` whether somebody waits who has others
    to see to.
    """
    policy = Policy(connections=connection.parallel_requests, breaker=BreakerRules(patience=patience))
    client = open_client(
        connection,
        tenant,
        open_state(limits_url),
        requests_per_minute=requests_per_minute,
        policy=hurried(policy) if hurry else policy,
        private=private,
    )
    return AceiotSource(connection, client)


@dataclass(frozen=True, slots=True)
class Window:
    """A part `[start, end)` of a site's day."""

    site: str
    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """As rejects and errors name it."""
        minutes = int((self.end - self.start).total_seconds()) // 60
        return f"{SERVICE}:{self.site}/{self.start:%Y-%m-%dT%H:%M}Z+{minutes}m"


def windows_of(site: str, day: date, count: int) -> list[Window]:
    """A UTC day in `count` windows of whole minutes."""
    start = datetime.combine(day, datetime.min.time(), UTC)
    edges = [start + timedelta(minutes=1440 * n // count) for n in range(count + 1)]
    return [Window(site, a, b) for a, b in itertools.pairwise(edges)]


class AceiotSource(ClosingSource):
    """A `Source`: one tenant's sites; `client` knows how the service and its rate limit are doing."""

    def __init__(self, connection: AceiotConnection, client: PoliteClient, *, spill_folder: Path | None = None) -> None:
        self._connection, self.client = connection, client
        self._api = AceiotApi(client)
        self.requests_per_minute = client.limiter.rate.requests
        self._sites = sorted(connection.sites)
        self._points: dict[str, PointSet] = {}
        self._refused: dict[str, PermanentError] = {}
        self._spill_folder = spill_folder
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    def close(self) -> None:
        """End requests under way and waits, and close connections."""
        self.client.close()

    def points(self, site: str) -> PointSet:
        """A site's wanted points, asked for once: a key or site that was refused is refused for all days."""
        if site in self._refused:
            raise self._refused[site]
        if site not in self._points:
            try:
                self._points[site] = choose_points(site, self._api.configured_points(site), self._connection)
            except PermanentError as error:
                self._refused[site] = error
                raise
        return self._points[site]

    def _granted(self) -> tuple[dict[str, PointSet], dict[str, PermanentError]]:
        """The points of the sites, and why a site has none; raises where all are refused."""
        granted: dict[str, PointSet] = {}
        refused: dict[str, PermanentError] = {}
        for site in self._sites:
            try:
                granted[site] = self.points(site)
            except PermanentError as error:
                refused[site] = error
        if not granted:
            raise next(iter(refused.values()))
        return granted, refused

    def plan(self, days: int) -> request_budget.RequestBudget:
        """What a number of days costs at the rate limit, by page size."""
        counts = {site: points.configured for site, points in self._granted()[0].items()}
        rate = self.client.limiter.rate
        per_minute = max(int(rate.requests * 60 / rate.window), 1)
        return request_budget.plan(counts, self._connection, days, per_minute)

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """What each day costs. The API does not tell which days hold data: all do until they are read."""
        counts = [points.configured for points in self._granted()[0].values()]
        requests = sum(request_budget.shape_of(n, self._connection).requests for n in counts)
        size = sum(request_budget.bytes_per_day(n, self._connection) for n in counts)
        return {day: DayInventory(requests, size, requests) for day in days_between(start, end)}

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Read days in order, each as its table or its failure; the table is memory-mapped from a deleted
        file.
        """
        spill = Scratch("aceiot", self._spill_folder)
        try:
            with closing(each_day(dates, lambda day: self._read(day, spill), self.close)) as outcomes:
                for outcome in outcomes:
                    yield outcome
                    _discard(spill.folder, outcome.date)
        finally:  # nobody writes there any more: the day under way has been stopped
            spill.close()

    def _read(self, day: date, spill: Scratch) -> RawDay:
        granted, refused = self._granted()
        shapes = {site: request_budget.shape_of(p.configured, self._connection) for site, p in granted.items()}
        windows = [w for site in granted for w in windows_of(site, day, shapes[site].windows)]
        paths = {w: spill.folder / f"{day}-{w.site}-{w.start:%H%M}.window" for w in windows}
        todo = [w for w in windows if not paths[w].exists()]
        broken: dict[str, PermanentError] = {}

        def fetch(window: Window) -> None:
            try:
                self._fetch_window(window, shapes[window.site].page_size, paths[window])
            except PermanentError as error:
                broken.setdefault(window.site, error)

        parallel = request_budget.pages_at_once(s.page_size for s in shapes.values())
        _side_by_side([partial(fetch, w) for w in todo], min(self._connection.parallel_requests, parallel))
        read = [w for w in windows if paths[w].exists()]
        if not read:
            raise next(iter(broken.values()))
        by_site = {site: [WindowFile(paths[w]) for w in read if w.site == site] for site in granted}
        table = assemble(spill.folder / f"{day}.day", [(granted[site], files) for site, files in by_site.items()])
        files = [f for site_files in by_site.values() for f in site_files]
        facts = self._facts(day, files, table.num_rows, shapes)
        rejects = pa.concat_tables([f.rejects for f in files]).combine_chunks()
        for path in paths.values():
            _delete_window(path)
        missing = sorted({**refused, **broken}.items())
        return RawDay(
            day, table, Cadence(self._connection.cadence_seconds), rejects, facts,
            {"source": f"{SERVICE}:{','.join(self._sites)}"},
            lacks=tuple(Lack(site, part=site, cause=str(error)) for site, error in missing),
            expected_stations=tuple(self._sites),
        )  # fmt: skip

    def _fetch_window(self, window: Window, page_size: int, path: Path) -> None:
        """Walk a window until it is stored; after a failure once more, with smaller pages where we chose
        them.
        """
        points = self._points[window.site]

        def fetch(start: datetime, cursor: str | None, page_size: int) -> Page:
            body = self._api.samples(window.site, start, window.end, cursor, page_size)
            decoding = self._decoders.submit(_decode, body, points, window.start, window.end, window.name)
            del body
            return decoding.result()

        size = page_size
        for attempt in range(1, WINDOW_TRIES + 1):
            try:
                write_window(path, walk_window(fetch, window.start, size, window.name))
                return
            except NotAskedError:
                raise
            except WeatherError as error:
                if not error.retryable or attempt == WINDOW_TRIES:
                    raise
            if self._connection.page_size is None:  # a server that fails at a large page may manage a smaller
                size = max((s for s in PAGE_SIZES[3:] if s < size), default=size)

    def _facts(
        self, day: date, files: Sequence[WindowFile], rows: int, shapes: dict[str, request_budget.Shape]
    ) -> dict[str, Any]:
        counts = Counts()
        for file in files:
            counts.add(file.counts)
        if not counts.reconciled or counts.kept != rows:
            raise SchemaError(f"{day}: {counts} do not add up to the {rows} rows of the day; nothing is kept.")
        retries, waited = self.client.usage.since_last()
        total = {key: sum(f.facts[key] for f in files) for key in ("pages", "bytes", "repaired", "widened")}
        return {
            "rows_read": counts.read,
            "rows_kept": counts.kept,
            "rows_rejected": counts.rejected,
            "rows_null": counts.null,
            "rows_duplicate": counts.duplicate,
            "rows_unconfigured": counts.unconfigured,
            "rows_outside_window": counts.outside,
            "pages": total["pages"],
            "retries": retries,
            "limiter_wait_seconds": round(waited, 3),
            "bytes_read": total["bytes"],
            "cursors_repaired": total["repaired"],
            "pages_widened": total["widened"],
            "windows": len(files),
            "page_size": max(s.page_size for s in shapes.values()),
            "sites": len(shapes),
            "points": sum(len(self._points[site].metrics) for site in shapes),
        }


def _side_by_side(tasks: Sequence[Callable[[], None]], parallel: int) -> None:
    """Run tasks on threads; the first failure stops those not begun and is raised, the rest finish."""
    if not tasks:
        return
    with ThreadPoolExecutor(min(parallel, len(tasks)), thread_name_prefix=SERVICE) as pool:
        futures = [pool.submit(task) for task in tasks]
        _, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
    for future in futures:
        if not future.cancelled():
            future.result()


def _decode(body: bytes, points: PointSet, start: datetime, end: datetime, name: str) -> Page:
    page = decode_page(body, points, start, end, name)
    pa.default_memory_pool().release_unused()  # the allocator keeps what a thread has freed until that thread says so
    return page


def _delete_window(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".rejects").unlink(missing_ok=True)


def _discard(folder: Path, day: date) -> None:
    """Forget a day's windows: it is done, or has failed for good."""
    for path in folder.glob(f"{day}*"):
        path.unlink(missing_ok=True)
