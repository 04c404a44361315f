"""Parser of the `Retry-After` header."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def parse_retry_after(value: str | None, date: str | None = None) -> float | None:
    """Parse a `Retry-After` header, a number of seconds or an HTTP date, into seconds to wait.

    `None` if it is absent or invalid. A date is measured from the answer's own `Date` header where there is one, as the
    server's clock may be off.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until, now = _http_date(value), _http_date(date) or datetime.now(UTC)
        # HTTP dates have whole seconds: one second more, so that a rounded-down date is not too early.
        return max((until - now).total_seconds(), 0.0) + 1.0 if until else None
    return seconds if 0 <= seconds < float("inf") else None


def _http_date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
