"""The taxonomy of failures: what may go well next time, and what will not.

Every error of this package is a `WeatherError` and says what was wrong, what was expected and what to do.
`retryable` decides whether a day is tried again at once (`sources/base.py`); a permanent error fails its
day on the first try, because asking again only costs time and the upstream's patience.
"""

from __future__ import annotations

import re


class WeatherError(Exception):
    """Base of all our own errors; `retryable` says whether the same call may succeed a little later."""

    retryable = False


class RetryableError(WeatherError):
    """Time-outs, 408, 429, 5xx, broken connections, storage hiccups."""

    retryable = True


class StorageUnavailableError(RetryableError):
    """The object store did not answer, answered 5xx or cut the connection."""


class SourceUnavailableError(RetryableError):
    """The upstream service did not answer, answered 408, 429 or 5xx, or cut the connection."""


class NotAskedError(SourceUnavailableError):
    """The upstream was not asked, or not again: its breaker is open, or it wants to be left alone for hours."""


class CatalogUnavailableError(RetryableError):
    """Glue or Athena did not answer, throttled us for longer than we try, or answered 5xx."""


class PermanentError(WeatherError):
    """Asking again gives the same answer: 401, 403, 404, a schema we do not know, damaged data."""


class AccessDeniedError(PermanentError):
    """401 or 403: credentials are wrong, missing or do not reach this far."""


class NotFoundError(PermanentError):
    """404, or an object that must be there is not."""


class AlreadyThereError(PermanentError):
    """An object that was to be created exists."""


class UnreadableObjectError(PermanentError):
    """An object's container is damaged (cut gzip, broken zip): its rows cannot be known."""


class SchemaError(PermanentError):
    """Columns or types are not what the format says."""


class IncompleteDayError(PermanentError):
    """A day of which only some stations could be read: its good rows are written, the day fails."""


class LostRowsError(PermanentError):
    """A day whose upstream holds less than the lake does: the lake keeps what it has, and the day fails."""


class ConfigurationError(PermanentError):
    """A setting, tenant file or argument is wrong; the message names it and the fix."""


class CatalogError(PermanentError):
    """Glue or Athena refused tables, partitions or a statement; the message names them."""


class VerificationError(RetryableError):
    """What the object store holds after an upload is not what was sent."""


def shown(url: str) -> str:
    """A URL as an error may show it: without user, password and query, in which secrets go astray."""
    without_user = re.sub(r"^([a-z0-9+.-]*:?/*).*@", r"\1…@", url, flags=re.IGNORECASE | re.DOTALL)
    return re.sub(r"\?.*", "?…", without_user, flags=re.DOTALL)[:200]
