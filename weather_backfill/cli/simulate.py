"""`weather-backfill simulate`: one command a service that has a simulator, imported when it is asked for."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from weather_backfill.cli.output import friendly
from weather_backfill.sources.registry import REGISTERED, SERVICES_BY_NAME


class SimulatorGroup(TyperGroup):
    """The simulators of the registered services."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the services that have one."""
        return [service.name for service in REGISTERED if service.simulate]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The simulator of a service; None where there is none."""
        service = SERVICES_BY_NAME.get(cmd_name)
        if service is None or service.simulate is None:
            return None
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(cmd_name)(friendly(service.simulate()))
        return typer.main.get_command(single)


app = typer.Typer(
    cls=SimulatorGroup, no_args_is_help=True, help="Write what a service would have sent, with its faults."
)
