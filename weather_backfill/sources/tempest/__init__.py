"""Tempest stations: archives of their messages in a folder or bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from weather_backfill.sources.service import ConnectOption, Service, Surroundings, absolute

if TYPE_CHECKING:
    from weather_backfill.sources.tempest.connection import TempestConnection
    from weather_backfill.sources.tempest.source import TempestSource


def _connection() -> type[TempestConnection]:
    from weather_backfill.sources.tempest.connection import TempestConnection

    return TempestConnection


def _open(connection: TempestConnection, around: Surroundings) -> TempestSource:
    from dataclasses import replace

    from weather_backfill.sources.tempest.source import TempestSource

    archive = connection.archive(replace(around.s3, hurry=around.hurry), inside=around.inside)
    return TempestSource(archive, tuple(connection.stations))


def _connect(values: Mapping[str, str | None]) -> dict[str, Any] | None:
    if not values["tempest"]:
        return None
    server = values["endpoint-url"]
    return {"archive_url": absolute(values["tempest"]), **({"endpoint_url": server} if server else {})}


def _simulate() -> Callable[..., None]:
    from weather_backfill.sources.tempest.simulate_command import tempest_command

    return tempest_command


SERVICE = Service(
    name="tempest",
    title="Tempest",
    connection=_connection,
    open=_open,
    # A day takes 0.05 to 5 s and a run some 5 s to start: a year of small days is there in 2 minutes by the quarter,
    # in 2.5 to 3 by the month.
    chunk_days=92,
    required_metrics=("air_temperature", "relative_humidity", "surface_air_pressure", "wind_speed"),
    options=(
        ConnectOption("tempest", "Tempest archive: a folder or s3://bucket/prefix"),
        ConnectOption("endpoint-url", "S3 server of the archive, if not AWS"),
    ),
    connect=_connect,
    simulate=_simulate,
)
