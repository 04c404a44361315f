"""What all commands share: friendly errors, tables or JSON, progress bars."""

from __future__ import annotations

import json
import os
import re
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

from weather_backfill.model.errors import ConfigurationError, WeatherError

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import RenderableType

    from weather_backfill.backfill.context import BackfillContext

out = Console()
err = Console(stderr=True)
TEXT_WIDTH = 12  # columns that long text is not pressed below
PIPE_WIDTH = 10_000  # columns: nothing is broken that no terminal shows
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
        raise ConfigurationError(f"end {end:%Y-%m-%d} is before start {start:%Y-%m-%d}: swap them.")


def desk() -> BackfillContext:
    """Instance, definitions and settings of this environment."""
    from weather_backfill.backfill.context import BackfillContext
    from weather_backfill.definitions import build_definitions
    from weather_backfill.settings import load_settings

    settings = load_settings()
    return BackfillContext(open_instance(), build_definitions(settings), settings)


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
    # A column without any value says nothing and takes the room of one that does.
    names = [name for name in rows[0] if any(row.get(name) is not None for row in rows)] if rows else []
    names = names or list(rows[0] if rows else ["nothing to show"])
    cells = [{name: _cell(name, row.get(name)) for name in names} for row in rows]
    whole = _whole_columns(names, cells)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        justify: Any = "right" if _is_numeric([row.get(name) for row in rows]) else "left"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold", no_wrap=name in whole)
    for row in cells:
        table.add_row(*row.values())
    out.print(escape(title), style="italic", highlight=False, soft_wrap=True)
    print_table(table)


def print_table(table: RenderableType) -> None:
    """A table as wide as the terminal, or, in a pipe or a file, as wide as it is: `grep` wants ids and days whole."""
    piped = not out.is_terminal and "COLUMNS" not in os.environ
    (Console(file=out.file, width=PIPE_WIDTH) if piped else out).print(table)


def _is_numeric(values: list[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known)


def _whole_columns(names: list[str], cells: list[dict[str, str]]) -> set[str]:
    """The columns whose cells are not broken: words before text (ids, days, numbers), while long text keeps room."""
    text = {name: any(" " in row[name] for row in cells) for name in names}
    widths = {name: max((len(row[name]) for row in cells), default=0) for name in names}
    least = {name: max(max(map(len, name.split("_"))), min(widths[name], TEXT_WIDTH)) for name in names}
    room, whole = out.width - 2 * len(names) - sum(least.values()), set()
    for name in sorted(names, key=lambda name: (text[name], widths[name])):
        room -= max(widths[name] - least[name], 0)
        if room >= 0 or widths[name] <= least[name]:
            whole.add(name)
    return whole


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if name in SHARES else f"{value:,.2f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else escape(short_time(str(value if value is not None else "")))


def short_time(text: str) -> str:
    """ISO times in UTC as people read them: to the second, with a Z."""
    return re.sub(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?\+00:00", r"\1Z", text)
