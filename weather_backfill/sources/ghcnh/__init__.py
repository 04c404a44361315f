"""NOAA's Global Historical Climatology Network hourly (GHCNh), read into days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from weather_backfill.sources.service import ConnectOption, Service, Surroundings, absolute, imported, words

if TYPE_CHECKING:
    from weather_backfill.http.client import PoliteClient
    from weather_backfill.sources.ghcnh.source import GhcnhSource

REQUESTS_PER_MINUTE = 300
"""A pace that an open-data server does not mind; all runs together keep to it. NOAA states none."""


def _open(connection: Any, around: Surroundings) -> GhcnhSource:
    from weather_backfill.http.shared_state import open_state
    from weather_backfill.sources.ghcnh.connection import remote_of
    from weather_backfill.sources.ghcnh.source import GhcnhSource
    from weather_backfill.sources.remote import polite

    per_minute, own = around.pace(SERVICE, connection.requests_per_minute)

    def client() -> PoliteClient:
        return polite(
            SERVICE.name,
            connection.base_url,
            open_state(around.settings.limits_url),
            per_minute=per_minute,
            tenant=around.tenant if own else None,
            patience=around.settings.outage_patience,
            private=around.settings.private_addresses,
            hurry=around.hurry,
        )

    remote = remote_of(connection.base_url, client, inside=around.inside)
    return GhcnhSource(connection, remote, around.lake, requests_per_minute=per_minute)


def _connect(values: Mapping[str, str | None]) -> dict[str, Any] | None:
    from pathlib import Path

    stations, country, state = (values[f"ghcnh-{name}"] for name in ("stations", "country", "state"))
    if not (stations or country or state):
        return None
    mirror = absolute(values["ghcnh-base-url"]) if values["ghcnh-base-url"] else None
    chosen: Any = {"country": country} if country else {"state": state}
    return {
        "stations": words(stations) if stations else chosen,
        **({"base_url": mirror if "://" in mirror else Path(mirror).as_uri()} if mirror else {}),
    }


SERVICE = Service(
    name="ghcnh",
    title="NOAA GHCNh",
    connection=imported(f"{__name__}.connection", "GhcnhConnection"),
    open=_open,
    first_day=date(1990, 1, 1),
    chunk_days=365,  # its files hold a year: a longer run reads each of them less often
    requests_per_minute=REQUESTS_PER_MINUTE,
    has_station_history=True,
    restates=True,
    reads_ranges=True,
    options=(
        ConnectOption("ghcnh-stations", "GHCNh station ids: USW00023183,INI0000VIDD"),
        ConnectOption("ghcnh-country", "Or all of a country, by the first two letters of their ids: IN"),
        ConnectOption("ghcnh-state", "Or all of a state of the US: AZ"),
        ConnectOption("ghcnh-base-url", "Mirror of the folder above `access` and `doc`: URL or folder"),
    ),
    connect=_connect,
    simulate=imported(f"{__name__}.simulate_command", "ghcnh_command"),
)
