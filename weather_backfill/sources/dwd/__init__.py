"""The open data of Deutscher Wetterdienst (Climate Data Center, CC BY 4.0), read into days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from weather_backfill.sources.service import ConnectOption, Service, Surroundings, absolute, words

if TYPE_CHECKING:
    from weather_backfill.http.client import PoliteClient
    from weather_backfill.sources.dwd.connection import DwdConnection
    from weather_backfill.sources.dwd.source import DwdSource

REQUESTS_PER_MINUTE = 600
"""A pace that no open-data server minds; all runs together keep to it."""


def _connection() -> type[DwdConnection]:
    from weather_backfill.sources.dwd.connection import DwdConnection

    return DwdConnection


def _open(connection: DwdConnection, around: Surroundings) -> DwdSource:
    from weather_backfill.http.shared_state import open_state
    from weather_backfill.sources.dwd.remote import open_remote, polite
    from weather_backfill.sources.dwd.source import DwdSource

    def client() -> PoliteClient:
        per_minute, own = around.pace(SERVICE, connection.requests_per_minute)
        return polite(
            connection.base_url,
            open_state(around.settings.limits_url),
            per_minute=per_minute,
            tenant=around.tenant if own else None,
            patience=around.settings.outage_patience,
            private=around.settings.private_addresses,
            hurry=around.hurry,
        )

    return DwdSource(connection, around.lake, remote=open_remote(connection.base_url, client, inside=around.inside))


def _connect(values: Mapping[str, str | None]) -> dict[str, Any] | None:
    from pathlib import Path

    stations = values["dwd-stations"]
    if not stations:
        return None
    mirror = absolute(values["dwd-base-url"]) if values["dwd-base-url"] else None
    return {
        "resolution": values["dwd-resolution"],
        "products": words(values["dwd-products"] or ""),
        "stations": stations if stations == "all" else words(stations),
        **({"base_url": mirror if "://" in mirror else Path(mirror).as_uri()} if mirror else {}),
    }


SERVICE = Service(
    name="dwd",
    title="Deutscher Wetterdienst",
    connection=_connection,
    open=_open,
    first_day=date(1990, 1, 1),
    chunk_days=365,  # its files hold years: a longer run reads each of them less often
    requests_per_minute=REQUESTS_PER_MINUTE,
    has_station_history=True,
    restates=True,
    reads_ranges=True,
    options=(
        ConnectOption("dwd-stations", "DWD station ids (00433,01048), or all"),
        ConnectOption("dwd-resolution", "hourly, 10_minutes, ...", "hourly"),
        ConnectOption("dwd-products", "air_temperature,wind,...", "air_temperature"),
        ConnectOption("dwd-base-url", "Mirror of the folder above `hourly`: URL or folder"),
    ),
    connect=_connect,
)
