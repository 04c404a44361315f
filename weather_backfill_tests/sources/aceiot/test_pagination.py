from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.schemas import REJECTS
from weather_backfill.sources.aceiot.connection import PAGE_SIZES
from weather_backfill.sources.aceiot.decode import Counts, Page, Samples, micros, moment_of
from weather_backfill.sources.aceiot.pagination import Cursor, IncompleteWalkError, WalkResult, walk_window
from weather_backfill_tests.examples import examples

START = datetime(2026, 8, 7, 17, 15, tzinfo=UTC)
LAYOUT = [1464, 879, 879]


class Server:
    """Rows of a window by time, and a way of handing out cursors."""

    def __init__(self, rows_by_time: list[int], cursor: str = "faulty") -> None:
        base = micros(START)
        self.times = np.repeat(base + np.arange(len(rows_by_time)) * 300_000_000, rows_by_time).astype(np.int64)
        self.names = np.concatenate([np.arange(n) for n in rows_by_time] or [np.array([], int)])
        self.kind = cursor
        self.requests = 0

    def __call__(self, start: datetime, cursor: str | None, page_size: int) -> Page:
        self.requests += 1
        assert self.requests < 5000, "the walk loops"
        low = self._low(start, cursor)
        high = min(low + page_size, len(self.times))
        more = high < len(self.times)
        times, names = self.times[low:high], self.names[low:high]
        ends = [(str(names[i]), int(times[i])) for i in (0, -1)] if high > low else [None, None]
        theirs = self._next(low, high) if more else None
        samples = Samples(names.astype(np.int32), times, names.astype(float))
        return Page(
            samples,
            REJECTS.empty_table(),
            Counts(read=high - low, kept=high - low),
            theirs,
            more,
            times,
            *ends,
        )

    def _low(self, start: datetime, cursor: str | None) -> int:
        if cursor is None:
            return int(np.searchsorted(self.times, micros(start)))
        document = json.loads(base64.b64decode(cursor))
        if self.kind in ("opaque", "opaque-stalling"):
            return int(document["at"])
        if self.kind == "global":
            return int(document["offset"])
        place = Cursor.decode(cursor)
        assert place
        return int(np.searchsorted(self.times, place.micros)) + place.offset

    def _next(self, low: int, high: int) -> str | None:
        last = int(self.times[high - 1])
        begin = int(np.searchsorted(self.times, last))
        moment = moment_of(last).replace(tzinfo=None).isoformat()
        if self.kind == "none":
            return None
        documents: dict[str, object] = {
            "faulty": {"offset": high - max(low, begin), "timestamp": moment},
            "right": {"offset": high - begin, "timestamp": moment},
            "skipping": {"offset": high - begin + 1, "timestamp": moment},
            "global": {"offset": high, "timestamp": moment},
            "opaque": {"at": high},
            # As the fault, in a form nobody can repair: stuck inside a time.
            "opaque-stalling": {"at": low if begin < low else high},
        }
        return base64.b64encode(json.dumps(documents[self.kind]).encode()).decode()


def rows(result: WalkResult) -> set[tuple[int, int]]:
    return {(int(t), int(c)) for p in result.pages for t, c in zip(p.samples.times, p.samples.codes, strict=True)}


def complete(server: Server, size: int) -> WalkResult:
    result = walk_window(server, START, size, "test")
    assert rows(result) == set(zip(server.times.tolist(), server.names.tolist(), strict=True))
    return result


@pytest.mark.parametrize(("size", "pages"), [(50, 65), (100, 33), (500, 7), (1000, 4), (5000, 1)])
def test_the_measured_layout_takes_as_many_pages_as_it_must(size: int, pages: int) -> None:
    result = complete(Server(LAYOUT), size)
    assert len(result.pages) == pages
    assert result.widened == 0
    assert result.counts.read - 3222 == (1 if result.repaired else 0)  # the row that proves the first repair


@pytest.mark.parametrize("size", PAGE_SIZES)
def test_the_measured_layout_is_complete_at_every_page_size(size: int) -> None:
    complete(Server(LAYOUT), size)


@pytest.mark.parametrize("kind", ["right", "none", "opaque", "global", "skipping"])
def test_other_ways_of_handing_out_cursors_lose_nothing(kind: str) -> None:
    complete(Server(LAYOUT, kind), 100)


def test_right_cursors_are_followed_without_an_extra_row() -> None:
    result = complete(Server(LAYOUT, "right"), 100)
    assert (result.repaired, result.counts.read) == (0, 3222)


def test_a_cursor_that_cannot_be_read_and_stalls_is_overcome_by_a_wider_page() -> None:
    result = complete(Server(LAYOUT, "opaque-stalling"), 100)
    assert result.widened > 0


@examples(60)
@given(
    st.lists(st.integers(1, 40), max_size=12),
    st.sampled_from([3, 10, 50]),
    st.sampled_from(["faulty", "right", "none", "opaque", "global", "skipping", "opaque-stalling"]),
)
def test_any_layout_is_complete_and_the_walk_ends(layout: list[int], size: int, kind: str) -> None:
    result = complete(Server(layout, kind), size)
    assert result.counts.reconciled


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda p: Page(p.samples, p.rejects, p.counts, "same", True, None, p.first, p.last),
            "same cursor came again",
        ),
        (
            lambda p: Page(p.samples, p.rejects, p.counts, None, True, None, p.first, p.last),
            "gives no cursor",
        ),
    ],
)
def test_a_walk_that_comes_back_short_is_an_error(change: Callable[[Page], Page], says: str) -> None:
    server = Server([100])
    with pytest.raises(IncompleteWalkError, match=f"test: .*short of its window: .*{says}.*not kept"):
        walk_window(lambda start, cursor, page_size: change(server(start, None, page_size)), START, 10, "test")


def test_empty_pages_that_promise_more_end_in_an_error() -> None:
    numbers = iter(range(100))

    def fetch(start: datetime, cursor: str | None, page_size: int) -> Page:
        none = np.array([], dtype=np.int64)
        return Page(Samples(none, none, none), REJECTS.empty_table(), Counts(), f"c{next(numbers)}", True, none)

    with pytest.raises(IncompleteWalkError, match="empty pages in a row"):
        walk_window(fetch, START, 10, "test")
    assert next(numbers) < 10


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), st.integers(0, 10**9))  # noqa: DTZ001
def test_cursors_read_back(moment: datetime, offset: int) -> None:
    cursor = Cursor(micros(moment.replace(tzinfo=UTC)), offset)
    assert Cursor.decode(cursor.encode()) == cursor


def test_the_cursor_as_captured() -> None:
    text = "eyJvZmZzZXQiOiA1MCwgInRpbWVzdGFtcCI6ICIyMDI2LTA4LTA3VDE3OjE1OjAwIn0="
    cursor = Cursor.decode(text)
    assert cursor == Cursor(micros(START), 50)
    assert cursor.encode() == text


@given(st.one_of(st.text(), st.binary().map(lambda b: base64.b64encode(b).decode())))
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert Cursor.decode(text) is None or Cursor.decode(text)


def test_cursors_of_other_shapes_are_none() -> None:
    for document in (
        {},
        {"offset": -1, "timestamp": "2026-01-01"},
        {"offset": True, "timestamp": "2026-01-01"},
        [1],
    ):
        assert Cursor.decode(base64.b64encode(json.dumps(document).encode()).decode()) is None
    assert timedelta(0) == moment_of(0) - datetime(1970, 1, 1, tzinfo=UTC)
