"""`weather-backfill`: tenants, backfills from plan to retry, coverage, simulators, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weather_backfill import __version__
from weather_backfill.cli import (
    accepting,
    backfill,
    catalog,
    history,
    lake,
    monitoring,
    report,
    simulate,
    tenants,
    upstream,
)
from weather_backfill.cli.output import friendly, out

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, help=__doc__)
app.add_typer(simulate.app, name="simulate")
app.add_typer(tenants.app, name="tenants")
app.add_typer(lake.app, name="lake")
app.add_typer(catalog.app, name="catalog")
app.add_typer(monitoring.alerts, name="alerts")
for command in (
    *backfill.COMMANDS,
    *accepting.COMMANDS,
    *history.COMMANDS,
    report.report,
    *upstream.COMMANDS,
    monitoring.metrics,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    """Backfill weather observations into clean 15-minute Parquet."""
    if version:
        out.print(__version__)


@app.command()
@friendly
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo lives")] = Path(".demo"),
    days: Annotated[int, typer.Option(min=3, max=365, help="Days from 2024-01-01")] = 10,
) -> None:
    """Simulate two tenants, backfill them natively with a real daemon, show the result.

    Example: weather-backfill demo --days 30
    """
    from weather_backfill.cli.demo import run_demo

    run_demo(folder.absolute(), days)


@app.command()
@friendly
def dev(
    folder: Annotated[Path, typer.Option(help="The demo's folder")] = Path(".demo"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the webserver")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
) -> None:
    """Webserver and daemon on the demo data; prints the URL. Stop with Ctrl-C.

    Example: weather-backfill dev --port 3001
    """
    from weather_backfill.cli.dev import run_dev

    raise typer.Exit(run_dev(folder.absolute(), host, port))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
@friendly
def webserver(context: typer.Context) -> None:
    """Dagster's webserver with its options, answering its own host and pages alone.

    Example: weather-backfill webserver -m weather_backfill.definitions
    """
    from weather_backfill.dagster.webserver import main as run_webserver

    run_webserver(context.args)
