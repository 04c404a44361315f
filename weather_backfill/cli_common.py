"""What all commands share: friendly errors, tables or JSON, progress bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from weather_backfill.errors import ConfigurationError, WeatherError

if TYPE_CHECKING:
    import dagster as dg

out = Console()
err = Console(stderr=True)
SHARES = {"complete", "progress"}
F = TypeVar("F", bound=Callable[..., Any])

Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="UTC day, YYYY-MM-DD")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")]


def friendly(command: F) -> F:
    """Print our own errors as one line on stderr and exit with 2, without a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (WeatherError, ValidationError) as error:
            text = str(error) if isinstance(error, WeatherError) else _given_wrong(error)
            line = " ".join(text.split("\n"))
            err.print(f"[red]error:[/red] {escape(line)}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from error

    return run  # type: ignore[return-value]


def _given_wrong(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))


def open_instance() -> dg.DagsterInstance:
    """Dagster's instance below DAGSTER_HOME; raises `ConfigurationError` if there is none."""
    import dagster as dg

    try:
        return dg.DagsterInstance.get()
    except dg.DagsterError as error:
        raise ConfigurationError(
            f"Dagster's instance cannot be opened: {str(error).splitlines()[0].strip()} Set DAGSTER_HOME to a folder."
        ) from error


def check_range(start: datetime, end: datetime) -> None:
    """Raise `ConfigurationError` for a range that ends before it starts."""
    if end < start:
        raise ConfigurationError(f"the end {end:%Y-%m-%d} lies before the start {start:%Y-%m-%d}: exchange them.")


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; the yielded function advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(label, total=total)
        yield lambda steps: progress.advance(task, steps)


def print_rows(rows: list[dict[str, Any]], title: str, as_json: bool) -> None:
    """Rows as a table for people, or as JSON for programs."""
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str, indent=2) + "\n")
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in rows[0] if rows else ["nothing to show"]:
        numeric = all(isinstance(row.get(name), (int, float)) for row in rows)
        table.add_column(
            name.replace("_", " "), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric
        )
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    out.print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if name in SHARES else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value if value is not None else ""))
