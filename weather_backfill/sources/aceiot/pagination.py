"""The cursor walk over one window, which ends with every row or with an error.

A cursor is base64 JSON `{"timestamp": T, "offset": N}`: go to time T and pass over N rows. The service has a
fault: after a page that begins and ends inside one time it counts N from the page instead of from T, so that
it hands out the same cursor again and again, or one that lies behind.

So the walk keeps its own account of where it stands. Where the service's cursor agrees it is followed. Where
it names the another place the walk repairs it; the first repaired cursor of a window steps back by one row
and the page must begin with the row received last, which proves the account. If that fails, or a cursor
cannot be read, cursors are followed as long as they are new; one that comes again is overcome by starting
anew at the last time with a wider page.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
import orjson

from weather_backfill.model.errors import RetryableError
from weather_backfill.sources.aceiot.connection import PAGE_SIZES
from weather_backfill.sources.aceiot.decode import Counts, Page, micros, moment_of

_MOST_EMPTY_PAGES = 3
_MOST_PAGES = 20_000  # hours of asking: a service that hands out new cursors for ever is told from a large window
_MOST_ROWS = 50_000_000  # a window holds half a million as a rule, and memory about a gigabyte at this many


class IncompleteWalkError(RetryableError):
    """A walk came back short of its window and could not be continued."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a window: `offset` rows behind the first row of time `micros` (microseconds since the
    epoch).
    """

    micros: int
    offset: int

    @classmethod
    def decode(cls, text: str) -> Cursor | None:
        """The place a cursor names, or `None` if it is not of the shape we know."""
        try:
            document = orjson.loads(base64.b64decode(text, validate=True))
            moment = datetime.fromisoformat(document["timestamp"])
            offset = document["offset"]
        except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError, KeyError):
            return None
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            return None
        naive = moment.tzinfo is None
        return cls(micros(moment.replace(tzinfo=moment_of(0).tzinfo) if naive else moment), offset)

    def encode(self) -> str:
        """As the service writes it: naive UTC, microseconds only where there are any."""
        moment = moment_of(self.micros).replace(tzinfo=None).isoformat()
        return base64.b64encode(f'{{"offset": {self.offset}, "timestamp": "{moment}"}}'.encode()).decode()


class Fetch(Protocol):
    """Ask for one page of the window from `start` (inclusive), at a cursor."""

    def __call__(self, start: datetime, cursor: str | None, page_size: int) -> Page: ...


@dataclass(slots=True)
class WalkResult:
    """All pages of a window, in the order they came, and what it took."""

    pages: list[Page] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    repaired: int = 0
    widened: int = 0
    bytes: int = 0

    def add(self, page: Page) -> None:
        """Keep a page and count it."""
        self.pages.append(page)
        self.counts.add(page.counts)
        self.bytes += page.size


def walk_window(fetch: Fetch, start: datetime, page_size: int, name: str) -> WalkResult:
    """Fetch all pages of a window; raises `IncompleteWalkError` if the service does not let it be
    completed.
    """
    return _Walk(fetch, start, page_size, name).run()


def stand_after(page: Page, stand: Cursor | None, *, first: bool) -> Cursor | None:
    """Where a walk stands after a page: the last time and how many of its rows came; `None` if unknown.

    `stand` is where it stood before; `first` says that the page is the first of its walk.
    """
    if not page.rows:
        return stand
    if page.times is None or np.any(np.diff(page.times) < 0):
        return None
    last = int(page.times[-1])
    count = page.rows - int(np.searchsorted(page.times, last, side="left"))
    if count < page.rows or first:
        return Cursor(last, count)
    if stand is None or stand.micros > last:
        return None
    return Cursor(last, count + (stand.offset if stand.micros == last else 0))


class _Walk:
    """One walk. `proved` says whether our own account names places the service understands; None = not
    tried.
    """

    def __init__(self, fetch: Fetch, start: datetime, page_size: int, name: str) -> None:
        self._fetch, self._name = fetch, name
        self._result = WalkResult()
        self._proved: bool | None = None
        self._restart(start, page_size)

    def _restart(self, start: datetime, size: int, expected: int | None = None) -> None:
        self._start, self._size = start, size
        self._expected_time = expected
        self._expected_row: tuple[str | None, int] | None = None
        self._cursor: str | None = None
        self._theirs: str | None = None
        self._stand: Cursor | None = None
        self._asked: set[str] = set()
        self._empty = 0

    def run(self) -> WalkResult:
        while True:
            page = self._fetch(self._start, self._cursor, self._size)
            self._result.add(page)
            if len(self._result.pages) > _MOST_PAGES or self._result.counts.read > _MOST_ROWS:
                raise self._short(f"it does not end after {len(self._result.pages)} pages")
            if not self._as_expected(page):
                continue
            self._stand = stand_after(page, self._stand, first=self._cursor is None)
            if not page.has_more and (page.next_cursor is None or not page.rows):
                return self._result
            self._check_empty(page)
            self._go_on(page)

    def _go_on(self, page: Page) -> None:
        """Choose the next cursor: theirs where it agrees with our account, ours where it does not."""
        theirs, stand = page.next_cursor, self._stand
        place = Cursor.decode(theirs) if theirs is not None else None
        comparable = place is not None and stand is not None and self._proved is not False
        if theirs is None or (comparable and place != stand):
            self._repair(theirs)
        else:
            self._follow(theirs, "the same cursor came again")

    def _follow(self, cursor: str, otherwise: str) -> None:
        if cursor in self._asked:
            self._widen(otherwise)
        else:
            self._asked.add(cursor)
            self._cursor = cursor

    def _repair(self, theirs: str | None) -> None:
        """Go on from our own account; the first time one row back, to see whether it leads where we think."""
        stand = self._stand
        if stand is None or self._proved is False:
            self._widen("it promises more and gives no cursor")
            return
        self._result.repaired += 1
        if self._proved is None:
            self._expected_row, self._theirs = self._result.pages[-1].last, theirs
            stand = self._stand = Cursor(stand.micros, stand.offset - 1)
        self._follow(stand.encode(), "a repaired cursor does not advance")

    def _as_expected(self, page: Page) -> bool:
        """Whether the page begins where it must; if not, the next cursor or start is set."""
        row, self._expected_row = self._expected_row, None
        if row is not None:
            self._proved = page.first == row
            if not self._proved:
                self._stand = None
                if self._theirs is None:
                    self._widen("a repaired cursor leads elsewhere")
                else:
                    self._follow(self._theirs, "a repaired cursor leads elsewhere")
                return False
        time, self._expected_time = self._expected_time, None
        if time is not None and (page.first is None or page.first[1] > time):
            raise self._short("a restart at the last time does not give that time's rows")
        return True

    def _check_empty(self, page: Page) -> None:
        self._empty = 0 if page.rows else self._empty + 1
        if self._empty > _MOST_EMPTY_PAGES:
            raise self._short(f"{self._empty} empty pages in a row still promise more")

    def _widen(self, why: str) -> None:
        """Start again at the last time that came, with a wider page: rows that come twice collapse later."""
        last = next((p.last for p in reversed(self._result.pages) if p.last), None)
        wider = [s for s in PAGE_SIZES if s > self._size]
        if not wider or last is None:
            raise self._short(f"{why}, at page size {self._size}, and no wider page helps")
        self._result.widened += 1
        start = max(moment_of(last[1]), self._start)
        self._restart(start, wider[0], last[1])

    def _short(self, why: str) -> IncompleteWalkError:
        return IncompleteWalkError(
            f"{self._name}: the walk came back short of its window: {why}. {self._result.counts.read} rows "
            "came and are not kept, as the rest is missing. Retry the day; if it stays, set another "
            "page_size or a shorter window_minutes."
        )
