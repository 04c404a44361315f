"""The command `weather-backfill simulate ghcnh`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="UTC day, YYYY-MM-DD")]


def ghcnh_command(
    start: Day,
    end: Day,
    to: Annotated[Path | None, typer.Option(help="Write the files to this folder instead of serving them.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8767,
    stations: Annotated[int, typer.Option(min=1, max=999, help="Stations, of three kinds in turn.")] = 3,
    seed: Annotated[int, typer.Option(help="Another seed, other data and faults.")] = 1,
    errors: Annotated[float, typer.Option(help="Share of requests answered 500.")] = 0.0,
    cut: Annotated[float, typer.Option(help="Share of answers cut in the middle.")] = 0.0,
    limit: Annotated[int, typer.Option(help="Requests a minute that are answered.")] = 0,
    down: Annotated[bool, typer.Option(help="Answer 503 to everything.")] = False,
    lost_month: Annotated[list[str] | None, typer.Option(help="<station>:YYYY-MM that its file lacks.")] = None,
    rewritten: Annotated[list[str] | None, typer.Option(help="<station>:YYYY-MM-DD that is one degree warmer.")] = None,
) -> None:
    """Serve made GHCNh files, faults included, or write them to a folder.

    Example: weather-backfill simulate ghcnh --start 2023-01-01 --end 2024-12-31 --stations 20 --errors 0.02
    """
    from weather_backfill.sources.ghcnh.simulate import Faults, network_of, serve, write_network

    faults = Faults(
        errors=errors, cut=cut, limit=limit, down=down, lost_months=tuple(lost_month or ()),
        rewritten=tuple(rewritten or ()),
    )  # fmt: skip
    network = network_of(start.date(), end.date(), stations, seed)
    if to is None:
        serve(network, faults, host, port)
        return
    typer.echo(f"{write_network(network, to, faults):,} files of stations {', '.join(network.ids[:5])} … in {to}")
