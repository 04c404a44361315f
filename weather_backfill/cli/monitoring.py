"""The commands of `weather-backfill` that watch: alerts and metrics."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from weather_backfill.cli.output import Json, desk, err, friendly, print_rows
from weather_backfill.model.errors import ConfigurationError

alerts = typer.Typer()


@alerts.callback(invoke_without_command=True)
@friendly
def alerts_list(context: typer.Context, as_json: Json = False) -> None:
    """List the open incidents, with what fixes them; exits with 1 if there are any.

    Example: weather-backfill alerts --json
    """
    from weather_backfill.alerts.incidents import Register
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_lake

    if context.invoked_subcommand:
        return
    incidents = Register(open_lake(load_settings())).open_incidents()
    if as_json:
        print_rows([incident.to_json() for incident in incidents], "Open incidents", True)
    else:
        columns = ("opened_at", "tenant", "service", "summary", "command")
        rows = [{name: incident.to_json()[name] for name in columns} for incident in incidents]
        print_rows([{**row, "opened_at": row["opened_at"][:16]} for row in rows], "Open incidents", False)
    if incidents:
        raise typer.Exit(1)


@alerts.command("test")
@friendly
def alerts_test(as_json: Json = False) -> None:
    """Send a test message to every channel that is set; exits with 1 if one failed.

    Example: WEATHER_ALERT_WEBHOOK='${SLACK_URL}' weather-backfill alerts test
    """
    from weather_backfill.alerts.channels import channels_of
    from weather_backfill.alerts.reconcile import send_test
    from weather_backfill.settings import load_settings

    rows = send_test(channels_of(load_settings()))
    print_rows(rows, "Channels", as_json)
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


@friendly
def metrics(
    serve: Annotated[bool, typer.Option("--serve", help="Serve them for Prometheus until stopped")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on")] = 9464,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other hosts")] = "127.0.0.1",
) -> None:
    """Print the metrics in Prometheus's text format, or serve them.

    Example: weather-backfill metrics --serve --host 0.0.0.0 --port 9464
    """
    from prometheus_client import generate_latest

    from weather_backfill.monitoring import exporter

    if not serve:
        collector = exporter.PlatformCollector(desk())
        collector.catch_up()
        sys.stdout.write(generate_latest(exporter.registry_of(collector)).decode())
        return
    try:
        exporter.serve(desk(), host, port, lambda url: err.print(f"metrics: {url}", highlight=False))
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from error
