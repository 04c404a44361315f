"""Each fault at each point of the path; `make test-faults` runs all of it, the suite a handful."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weather_backfill_tests.faults import table
from weather_backfill_tests.faults.__main__ import MATRIX
from weather_backfill_tests.faults.cells import (
    MIDWAY,
    Cell,
    Outcome,
    by_process,
    by_server,
    diagonals,
    reason_to_skip,
    try_cell,
)
from weather_backfill_tests.faults.scene import Stage, staged
from weather_backfill_tests.faults.under_daemon import orders, try_order, try_victim, victims


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as found:
        yield found


def survive(stage: Stage, cell: Cell, keep: bool = False, by: Callable[[Stage, Cell], Outcome] = try_cell) -> None:
    if reason := reason_to_skip(cell.kind):
        pytest.skip(reason)
    try:
        outcome = by(stage, cell)
    except AssertionError as error:  # it never came to its end: a row of the table all the same
        outcome = Outcome(cell, True, problems=[str(error)])
    if keep:
        table.append(table.row(outcome), MATRIX)
    assert outcome.reached, "the fault has not happened"
    assert outcome.problems == []


QUICK = [
    Cell("write", "kill run", MIDWAY["write"]),
    Cell("fetch", "SlowDown", 3, "s3", server=True),
]


@pytest.mark.parametrize("cell", QUICK, ids=str)
def test_a_handful(stage: Stage, cell: Cell) -> None:
    survive(stage, cell)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", [*diagonals(victims()), *orders()], ids=str)
def test_each_process_dies_at_each_point(stage: Stage, cell: Cell) -> None:
    survive(stage, cell, keep=True, by=try_order if cell.store == "order" else try_victim)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", diagonals([*by_process(), *by_server()]), ids=str)
def test_each_fault_at_each_point(stage: Stage, cell: Cell) -> None:
    survive(stage, cell, keep=True)


def test_what_is_lost_is_noticed(stage: Stage) -> None:
    """The comparison itself: a byte, an object, an event that is not as it should be."""
    undisturbed = stage.undisturbed("local")
    with stage.scene("local") as scene:
        assert scene.materialize().returncode == 0
        assert scene.differences(undisturbed) == []
        key = min(undisturbed)
        path = Path(scene.platform.storage_url) / key
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert any("other bytes" in problem for problem in scene.differences(undisturbed))
        assert any("another sha256" in problem for problem in scene.dishonest(undisturbed))
        path.unlink()
        assert f"{key}: missing" in scene.differences(undisturbed)
        assert any("materialized but not there" in problem for problem in scene.dishonest(undisturbed))
