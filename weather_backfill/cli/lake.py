"""`weather-backfill lake`: who owns the lake, and taking it over."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from weather_backfill.cli.output import Json, desk, friendly, out, print_rows
from weather_backfill.model.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="The lake's owner: the one installation that launches and writes there.")


@app.command("owner")
@friendly
def lake_owner(as_json: Json = False) -> None:
    """Show which installation owns the lake, and whether it is this one.

    Example: weather-backfill lake owner
    """
    from weather_backfill.dagster.private import installation_id
    from weather_backfill.lake.owner import owner_of

    at = desk()
    known, here = owner_of(at.store), installation_id(at.instance)
    row = {
        "lake": known and known.lake,
        "owner": known and known.name,
        "installation": known and known.installation,
        "since": known and known.since.isoformat(),
        "this_installation": here,
        "ours": known is not None and known.installation == here,
    }
    print_rows([row], f"Owner of {at.store.url}", as_json)


@app.command("take-over")
@friendly
def lake_take_over(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False, as_json: Json = False
) -> None:
    """Make this installation the lake's owner. Stop the daemon of the other one first, for good.

    Example: weather-backfill lake take-over --yes
    """
    from weather_backfill.backfill.audit import audit
    from weather_backfill.backfill.context import take_over
    from weather_backfill.lake.owner import owner_of

    at = desk()
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("nothing was done: without a terminal to ask on, say --yes.")
        known = owner_of(at.store)
        if not typer.confirm(f"Take {at.store.url} over from {known.name if known else 'nobody'}?"):
            raise ConfigurationError("nothing was done.")
    before, after = take_over(at)
    audit(
        at.store, "take over", parameters={"from": before and before.installation, "to": after.installation},
        outcome="taken over",
    )  # fmt: skip
    if as_json:
        sys.stdout.write(after.to_json().decode() + "\n")
    else:
        out.print(f"{at.store.url} is this installation's now (before: {before.name if before else 'nobody'}).")
