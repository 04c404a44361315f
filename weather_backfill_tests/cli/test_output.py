"""Tables for people, in a terminal and in a pipe, and the help of every command."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.console import Console

from weather_backfill.cli import output
from weather_backfill.cli.main import app
from weather_backfill.cli.output import print_rows, print_table
from weather_backfill.cli.status import _status_table

BACKFILL = "tempest-borealis-20240101-20240130-1"
ROW = {
    "at": "2026-11-21T11:31:55.102760+00:00", "action": "start", "backfill_id": BACKFILL, "dry_run": False,
    "outcome": "refused: " + "the lake has changed since " * 8, "rows": 145_316,
}  # fmt: skip


def shown(monkeypatch: pytest.MonkeyPatch, width: int | None, rows: list[dict[str, object]], title: str) -> str:
    """What `print_rows` prints in a terminal of this width, or in a pipe."""
    file = io.StringIO()
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(output, "out", Console(file=file, force_terminal=width is not None, width=width or 80))
    print_rows(rows, title, False)
    return file.getvalue()


def test_a_terminal_breaks_text_and_no_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = shown(monkeypatch, 120, [ROW, {**ROW, "rows": None}], "Audit")
    assert printed.count(BACKFILL) == 2
    assert "2026-11-21T11:31:55Z" in printed
    assert " no " in printed
    assert "145,316" in printed


def test_the_demo_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"tenant": "borealis", "days": 10, "raw": 9, "refined": 9, "rows": 654_364, "rejects": 20,
           "complete": 0.886, "MB": 0.83, "failed": "2024-01-05"}  # fmt: skip
    printed = shown(monkeypatch, 80, [row], "tempest, 2024-01-01 to 2024-01-10")
    assert "borealis" in printed
    assert "2024-01-05" in printed


def test_a_pipe_gets_each_row_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = shown(monkeypatch, None, [ROW], "Audit")
    [line] = [line for line in printed.splitlines() if BACKFILL in line]
    assert str(ROW["outcome"]).strip() in line


def test_a_title_is_not_broken_by_a_narrow_table(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = shown(monkeypatch, None, [{"day": "2024-01-01"}], "Gaps of borealis in tempest")
    assert printed.splitlines()[0] == "Gaps of borealis in tempest"


def test_the_bar_of_a_status_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(output, "out", Console(file=file, width=80))
    print_table(_status_table({"backfill_id": BACKFILL, "progress_percent": 100.0, "failed_days": {}}))
    bar, title, *_ = file.getvalue().splitlines()
    assert BACKFILL not in bar
    assert title.strip() == BACKFILL


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), f"{path} {name}")


COMMANDS = dict(leaves(typer.main.get_command(app), "weather-backfill"))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_an_example_and_explains_its_options(path: str) -> None:
    command = COMMANDS[path]
    assert path in (command.help or "")
    assert "Example" in (command.help or "")
    unexplained = [option.name for option in command.params if not getattr(option, "help", None)]
    assert unexplained == []


def test_columns_without_values_leave_their_room_to_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    empty = dict.fromkeys(["first_day", "last_day", "objects", "MB", "stations"])
    print_rows(
        [{"service": "tempest", "enabled": True, **empty, "problem": "reached, but no data"}], "Connections", False
    )
    shown = capsys.readouterr().out
    assert "reached, but no data" in " ".join(shown.split())
    assert "stations" not in shown
