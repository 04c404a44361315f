"""Sources against a simulator, and the truth as the lake should hold it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from weather_backfill.http.circuit_breaker import BreakerRules
from weather_backfill.http.client import Policy
from weather_backfill.http.shared_state.base import SharedState
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill.sources.aceiot.connection import AceiotConnection
from weather_backfill.sources.aceiot.simulate_data import SiteSpec, truth
from weather_backfill.sources.aceiot.source import AceiotSource, open_client
from weather_backfill_tests.sources.aceiot.simulator_process import VARIABLE

QUICK = Policy(
    retry_waits=(0.02, 0.04, 0.08),
    connect_timeout=2,
    read_timeout=10,
    breaker=BreakerRules(threshold=20, cooldown=0.5),
)


def connection(url: str, sites: list[str], **options: Any) -> AceiotConnection:
    return AceiotConnection.model_validate({"base_url": url, "api_key": f"${{{VARIABLE}}}", "sites": sites, **options})


def source(
    url: str,
    sites: list[str],
    *,
    state: SharedState | None = None,
    policy: Policy = QUICK,
    requests_per_minute: int = 100_000,
    spill_folder: Path | None = None,
    **options: Any,
) -> AceiotSource:
    chosen = connection(url, sites, **options)
    client = open_client(chosen, "acme", state or MemoryState(), requests_per_minute=requests_per_minute, policy=policy)
    return AceiotSource(chosen, client, spill_folder=spill_folder)


def expected(sites: list[SiteSpec], day: date, seed: int = 0) -> pa.Table:
    """The truth of several sites' day: station_id, metric, observed_at, value, sorted."""
    parts = []
    for site in sites:
        true = truth(site, day, seed)
        station = pa.repeat(site.name, true.num_rows)
        parts.append(
            pa.table(
                [station, true["point"], true["observed_at"], true["value"]],
                names=["station_id", "metric", "observed_at", "value"],
            )
        )
    order = [("station_id", "ascending"), ("metric", "ascending"), ("observed_at", "ascending")]
    return pa.concat_tables(parts).sort_by(order).combine_chunks()


def plain(table: pa.Table) -> pa.Table:
    """A raw day's table with the columns of `expected`, in its own order."""
    return pa.table(
        {
            "station_id": table["station_id"].cast(pa.string()),
            "metric": table["metric"].cast(pa.string()),
            "observed_at": table["observed_at"],
            "value": table["value"],
        }
    ).combine_chunks()
