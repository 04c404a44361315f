"""What a range costs in requests, and so in hours: the rate limit is the only price that counts.

Pages are the lever: a request carries 3 to 500,000 samples and counts the same. Volumes are estimated from
the configured points and the cadence, because the API tells no totals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from weather_backfill.sources.aceiot.connection import LIST_SIZES, PAGE_SIZES, AceiotConnection

DEFAULT_PAGE_SIZE = 10_000
"""What the API takes when nobody asks for a page size."""
WINDOW_ROWS = 1_500_000
"""Rows a window may have at most: decoded and sorted about 100 MB."""
_BYTES_PER_SAMPLE = 105
_BYTES_AT_ONCE = 256 << 20
"""Of pages that are asked for or wait to be decoded, all requests together."""
_DAY = 86_400
_WINDOW_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 72, 96, 144, 288, 720, 1440)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a site's day is asked for: `windows` of equal length, pages of `page_size`, requests if all goes
    well.
    """

    windows: int
    page_size: int
    rows: int

    @property
    def requests(self) -> int:
        """Requests a day: pages of all windows, at least one each."""
        return self.windows * max(math.ceil(self.rows / self.windows / self.page_size), 1)


def rows_per_day(points: int, cadence_seconds: int) -> int:
    """Samples a complete day of a site has."""
    return points * math.ceil(_DAY / cadence_seconds)


def shape_of(configured_points: int, connection: AceiotConnection) -> Shape:
    """The cheapest shape of a site's day that is complete, unless the connection sets page or window.

    The fewest windows that bound memory, and the smallest page that holds a window, as a larger page would
    save nothing; where no page does, the largest.
    """
    rows = rows_per_day(configured_points, connection.cadence_seconds)
    if connection.window_minutes:
        windows = math.ceil(1440 / connection.window_minutes)
    else:
        windows = next((n for n in _WINDOW_COUNTS if rows / n <= WINDOW_ROWS), _WINDOW_COUNTS[-1])
    # A tenth more than expected, so that a busy day does not need a second page for a handful of rows.
    wanted = rows / windows * 1.1
    page = connection.page_size or next((s for s in PAGE_SIZES if s >= wanted), PAGE_SIZES[-1])
    return Shape(windows, page, rows)


@dataclass(frozen=True, slots=True)
class PageSizeCost:
    """Requests of a range of days and how long the rate limit makes them take."""

    days: int
    page_size: int
    requests_per_minute: int
    requests: int

    @property
    def duration(self) -> timedelta:
        """The shortest time in which the rate limit lets that many requests pass."""
        return timedelta(minutes=self.requests / self.requests_per_minute)

    def __str__(self) -> str:
        hours = self.duration.total_seconds() / 3600
        waiting = f"{hours / 24:,.1f} days" if hours >= 48 else f"{hours:,.1f} hours"
        return (
            f"{self.days} days at page size {self.page_size:,}: {self.requests:,} requests, {waiting} at "
            f"{self.requests_per_minute} requests a minute"
        )


@dataclass(frozen=True, slots=True)
class RequestBudget:
    """The budget of the shape that will be used, and of every other page size for comparison."""

    chosen: PageSizeCost
    by_page_size: dict[int, PageSizeCost]

    def __str__(self) -> str:
        usual = self.by_page_size[DEFAULT_PAGE_SIZE]
        times = usual.requests / max(self.chosen.requests, 1)
        saved = usual.duration - self.chosen.duration
        return (
            f"{self.chosen}. With the API's default of {DEFAULT_PAGE_SIZE:,} it would be {usual.requests:,} "
            f"requests ({times:,.1f} times as many); the page size saves {saved.total_seconds() / 3600:,.1f} "
            "hours"
        )


def plan(
    configured_points: dict[str, int], connection: AceiotConnection, days: int, requests_per_minute: int
) -> RequestBudget:
    """What `days` days of these sites (points by site) cost at a rate limit, by page size."""

    def budget(size: int | None) -> PageSizeCost:
        changed = connection.model_copy(update={"page_size": size}) if size else connection
        shapes = [shape_of(n, changed) for n in configured_points.values()]
        lists = sum(max(math.ceil(n / LIST_SIZES[-2]), 1) for n in configured_points.values())
        largest = max((s.page_size for s in shapes), default=DEFAULT_PAGE_SIZE)
        return PageSizeCost(days, size or largest, requests_per_minute, lists + days * sum(s.requests for s in shapes))

    return RequestBudget(budget(None), {size: budget(size) for size in PAGE_SIZES})


def bytes_per_day(configured_points: int, connection: AceiotConnection) -> int:
    """Bytes of JSON a site's day has, about."""
    return rows_per_day(configured_points, connection.cadence_seconds) * _BYTES_PER_SAMPLE


def pages_at_once(page_sizes: Iterable[int]) -> int:
    """How many pages may be in memory at once, the largest counted: at least one."""
    largest = max(page_sizes, default=DEFAULT_PAGE_SIZE)
    return max(_BYTES_AT_ONCE // (largest * _BYTES_PER_SAMPLE), 1)
