"""The Prometheus exporter: a scrape is collected part by part, cached for some seconds and served over HTTP.

A part that fails (as when a store is down) does not stop the others: `exporter_part_up` reports it.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.monitoring import gauges
from weather_backfill.monitoring.counters import DAYS_WRITTEN, RUNS_ENDED, WRITTEN, Counters
from weather_backfill.monitoring.gauges import PREFIX, gauge
from weather_backfill.sources.registry import SERVICES

logger = logging.getLogger(__name__)
CACHE_SECONDS = 10.0
SAVE_SECONDS = 60.0
_COUNTERS = {
    DAYS_WRITTEN: "Days that were written",
    "rows_written": "Rows that were written",
    "bytes_written": "Bytes of Parquet that were written",
    "day_seconds": "Seconds spent reading and writing days",
    "rows_rejected": "Rows that were rejected",
    "retries": "Requests and reads of days that were tried again",
    "limiter_wait_seconds": "Seconds that requests waited for the rate limit, all threads together",
}
assert _COUNTERS.keys() == {DAYS_WRITTEN, *WRITTEN}


class PlatformCollector(Collector):
    """Collects all exported metrics of one instance and lake."""

    def __init__(self, context: BackfillContext, cache_seconds: float = CACHE_SECONDS) -> None:
        self._tally = Counters(context.instance, context.store, SERVICES)
        self._cache_seconds = cache_seconds
        self._lock = threading.Lock()
        self._families: list[Metric] = []
        self._at = self._saved_at = float("-inf")
        days = gauges.DayGauge()
        self._parts: dict[str, Callable[[], Iterable[Metric]]] = {
            "counters": self._counters,
            "days": lambda: days.families(context),
            "backfills": lambda: gauges.backfills(context),
            "runs": lambda: gauges.runs(context),
            "daemons": lambda: gauges.daemons(context),
            "limits": lambda: gauges.limits(context),
            "alerts": lambda: gauges.alerts(context),
        }

    def catch_up(self) -> None:
        """Count all records so far: counters that grew by history at the first scrapes would look like a burst."""
        while self._tally.advance():
            pass
        self._tally.save()

    def save(self) -> None:
        """Write the counters to the lake."""
        with self._lock:
            self._tally.save()

    def describe(self) -> Iterable[Metric]:
        """Return no metrics: registering needs no scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families, cached for a few seconds. One thread collects, the others wait for it."""
        with self._lock:
            if time.monotonic() - self._at >= self._cache_seconds:
                self._families = list(self._collect())
                self._at = time.monotonic()
            families = self._families
        yield from families

    def _collect(self) -> Iterator[Metric]:
        up: dict[tuple[str, ...], float] = {}
        seconds: dict[tuple[str, ...], float] = {}
        for name, part in self._parts.items():
            started = time.monotonic()
            try:
                yield from list(part())
                up[(name,)] = 1.0
            except Exception as error:
                up[(name,)] = 0.0
                logger.error("%s could not be exported: %s: %s", name, type(error).__name__, error)
            seconds[(name,)] = time.monotonic() - started
        yield gauge("exporter_part_up", "1 if a part of the export could be read, else 0", ("part",), up)
        yield gauge("exporter_part_seconds", "Seconds that reading a part took", ("part",), seconds)

    def _counters(self) -> Iterator[Metric]:
        self._tally.advance()
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._tally.save()
            self._saved_at = time.monotonic()
        for name, text in _COUNTERS.items():
            yield self._counter(name, text, "dataset")
        yield self._counter(RUNS_ENDED, "Runs that have ended, by status", "status")

    def _counter(self, name: str, text: str, which: str) -> Metric:
        family = CounterMetricFamily(PREFIX + name, text, labels=("service", "tenant", which))
        for labels, total in self._tally.totals(name):
            family.add_metric(labels, total)
        return family


def registry_of(collector: PlatformCollector) -> CollectorRegistry:
    """A registry of this collector alone."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def serve(context: BackfillContext, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve `/metrics` until SIGINT or SIGTERM, then save the counters. Raises `OSError` for a port in use."""
    collector = PlatformCollector(context)
    collector.catch_up()
    server, thread = start_http_server(port, host, registry_of(collector))
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    ready(f"http://{host}:{server.server_port}/metrics")
    stop.wait()
    server.shutdown()
    thread.join()
    collector.save()
