"""The command `weather-backfill simulate tempest`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="UTC day, YYYY-MM-DD")]
_ENV = "WEATHER_S3_"


def tempest_command(
    to: Annotated[str, typer.Option(help="Where to write: a folder or s3://bucket/prefix")],
    start: Day,
    end: Day,
    stations: Annotated[int, typer.Option(min=1, max=1000, help="Stations, each a message a minute")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes")] = 1,
    minutes_per_object: Annotated[int, typer.Option(min=1, max=60, help="Minutes of messages in an object")] = 5,
    corrupt_day: Annotated[int | None, typer.Option(help="Day (from 0) that gets an object cut in half")] = None,
    silent_station: Annotated[int | None, typer.Option(help="Station (from 0) that is silent")] = None,
    silent_day: Annotated[int | None, typer.Option(help="... on this day (from 0)")] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(envvar=f"{_ENV}ENDPOINT_URL", help="S3 server, if not AWS")
    ] = None,
    region: Annotated[str | None, typer.Option(envvar=f"{_ENV}REGION", help="Region of the bucket")] = None,
    profile: Annotated[str | None, typer.Option(envvar=f"{_ENV}PROFILE", help="AWS profile to use")] = None,
) -> None:
    """Write a Tempest archive: weather, jitter, gaps, nulls, duplicates, damage.

    Example: weather-backfill simulate tempest --to archive/acme --start 2024-01-01 --end 2024-01-10
    """
    from rich.console import Console
    from rich.progress import Progress

    from weather_backfill.model.errors import ConfigurationError
    from weather_backfill.model.partitions import days_between
    from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, write_archive
    from weather_backfill.storage.object_store import ObjectStore, S3Options

    if end < start:
        raise ConfigurationError(f"end {end:%Y-%m-%d} is before start {start:%Y-%m-%d}: swap them.")
    faults = Faults(corrupt_day=corrupt_day, silent_station=silent_station, silent_day=silent_day)
    archive = SimulatedArchive("simulated", start.date(), end.date(), stations, seed, minutes_per_object, faults)
    store = ObjectStore(to, S3Options(endpoint_url, region, profile))
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("days", total=len(days_between(archive.start, archive.end)))
        written = write_archive(archive, store, lambda _: progress.advance(task, 1))
    Console().print(f"{written:,} objects of stations {', '.join(archive.station_ids)} in {to}")
