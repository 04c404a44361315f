"""`weather-backfill status`: how far backfills are, whoever launched them, once or until they have ended."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weather_backfill.cli.output import Json, desk, err, friendly, out, print_rows, print_table, short_time
from weather_backfill.model.errors import ConfigurationError

if TYPE_CHECKING:
    from weather_backfill.backfill.context import BackfillContext


@friendly
def status(
    backfill_id: Annotated[str | None, typer.Argument(help="Backfill id; without it, all backfills")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again until it has ended; exits with 1 unless it is completed")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how far backfills are, whoever launched them.

    Examples: weather-backfill status; weather-backfill status onboard-acme-tempest --watch
    """
    at = desk()
    if backfill_id is None:
        print_rows(every_backfill(at), "Backfills", as_json)
        return
    if not watch:
        print_status(_status(at, backfill_id), as_json)
        return
    _await_onboarding(at, backfill_id)
    if _watch(at, backfill_id, as_json)["status"] != "completed":
        raise typer.Exit(1)


def _watch(at: BackfillContext, backfill_id: str, as_json: bool) -> dict[str, Any]:
    """The backfill's status once nothing more is to come; a terminal sees it change, a pipe gets the last."""
    from rich.live import Live

    if as_json or not out.is_terminal:
        found = _ended(at, backfill_id, lambda found: None)
        print_status(found, as_json)
        return found
    with Live(console=out, auto_refresh=False) as live:
        return _ended(at, backfill_id, lambda found: live.update(_status_table(found), refresh=True))


def _await_onboarding(at: BackfillContext, backfill_id: str) -> None:
    """Wait for a connection's onboarding that the daemon is about to launch."""
    from weather_backfill.backfill.status import status_of
    from weather_backfill.lake import layout

    if not backfill_id.startswith(layout.ONBOARD):
        return
    patience = time.monotonic() + 2 * at.settings.sensor_seconds + 30
    told = False
    while True:
        try:
            status_of(at.instance, at.graph, at.store, backfill_id)
        except ConfigurationError:
            if time.monotonic() > patience:
                raise
        else:
            return
        if not told:
            err.print("waiting for the daemon to launch it (is `make dev` running?)", highlight=False)
            told = True
        time.sleep(2)


def _ended(at: BackfillContext, backfill_id: str, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    while True:
        found = _status(at, backfill_id)
        show(found)
        if found["estimated_completion"] is None and found["status"] not in (
            "queued",
            "running",
            "pausing",
            "canceling",
        ):
            return found
        time.sleep(2)


def _status(at: BackfillContext, backfill_id: str) -> dict[str, Any]:
    from weather_backfill.backfill.status import status_of

    return status_of(at.instance, at.graph, at.store, backfill_id).to_json()


def every_backfill(at: BackfillContext) -> list[dict[str, Any]]:
    """Every backfill, oldest first: what has ended from its summary, the others as they stand now."""
    from weather_backfill.backfill.manifests import ended_summaries
    from weather_backfill.backfill.status import MANAGED_TAG

    ended, unended = ended_summaries(at.store)
    names = [b.tags.get(MANAGED_TAG, b.backfill_id) for b in reversed(at.instance.get_backfills())]
    rows = [(summary["started_at"], _row(summary)) for summary in ended.values()]
    for name in dict.fromkeys([*unended, *(name for name in names if name not in ended)]):
        try:
            found = _status(at, name)
            rows.append((found["started_at"], _row(found)))
        except ConfigurationError as error:
            rows.append(("", {"backfill_id": name, "status": str(error)}))
    return [row for _, row in sorted(rows, key=lambda row: row[0])]


def _row(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "backfill_id": found["backfill_id"],
        "status": found["status"],
        "range": f"{found['start_date']} - {found['end_date']}",
        "days": f"{found['days_completed']}/{found['days_total']}",
        "failed": len(found["failed_days"]),
        "rows": found["records_processed"],
    }


def print_status(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        print_table(_status_table(found))


def _status_table(found: dict[str, Any]) -> Any:
    from rich.columns import Columns
    from rich.console import Group
    from rich.markup import escape
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(show_header=False, title=found["backfill_id"], title_justify="left")
    for name, value in found.items():
        if name != "failed_days":
            table.add_row(
                name.replace("_", " "), f"{value:,}" if isinstance(value, int) else short_time(str(value or ""))
            )
    for day, reason in found["failed_days"].items():
        table.add_row(f"[red]failed {day}[/red]", escape(reason))
    # A bar ends without a line break, so it stands in a row of its own.
    return Group(Columns([ProgressBar(total=100, completed=found["progress_percent"], width=60)]), table)
