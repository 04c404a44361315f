"""The taxonomy of errors: retryable ones and permanent ones.

Every error of this package is a `WeatherError` and says what was wrong, what was expected and what to do.
`retryable` decides whether a day is tried again at once (`sources/base.py`); a permanent error fails its
day on the first attempt, because asking again only costs time and the upstream's patience.
"""

from __future__ import annotations

import re


class WeatherError(Exception):
    """Base of all errors of this package; `retryable`: the same call may succeed a little later."""

    retryable = False


class RetryableError(WeatherError):
    """Time-outs, 408, 429, 5xx, broken connections, storage hiccups."""

    retryable = True


class StorageUnavailableError(RetryableError):
    """The object store did not answer, answered 5xx or cut the connection."""


class ConflictError(RetryableError):
    """Another process changed the object since it was read: nothing was written, read it again."""


class SourceUnavailableError(RetryableError):
    """The upstream service did not answer, answered 408, 429 or 5xx, or cut the connection."""


class NotAskedError(SourceUnavailableError):
    """No (further) request was sent: the circuit breaker is open, or the server asked for a pause of hours."""


class CatalogUnavailableError(RetryableError):
    """Glue or Athena did not answer, answered 5xx, or throttled every attempt."""


class PermanentError(WeatherError):
    """Asking again gives the same answer: 401, 403, 404, an unknown schema, damaged data."""


class AccessDeniedError(PermanentError):
    """401 or 403: credentials are wrong, missing or do not reach this far."""


class NotFoundError(PermanentError):
    """404, or a required object that does not exist."""


class AlreadyThereError(PermanentError):
    """The object to be created exists already."""


class UnreadableObjectError(PermanentError):
    """An object is damaged (truncated gzip, broken zip, no Parquet footer): its rows cannot be known."""


class SchemaError(PermanentError):
    """Columns or types differ from those of the format."""


class IncompleteDayError(PermanentError):
    """Only some of a day's stations could be read: its good rows are written, the day fails."""


class LostRowsError(PermanentError):
    """The upstream has fewer rows of a day than the lake: the lake keeps its rows, and the day fails."""


class ProcessDiedError(PermanentError):
    """The process died more than once while at this day, the last time alone: out of memory, or killed from outside."""


class ConfigurationError(PermanentError):
    """A setting, tenant file or argument is wrong; the message names it and the fix."""


class MissingFeatureError(PermanentError):
    """The store's server or file system lacks a feature; the message names it and the way out."""


class CatalogError(PermanentError):
    """Glue or Athena refused tables, partitions or a statement; the message names them."""


class VerificationError(RetryableError):
    """The object store holds other bytes after an upload than were sent."""


def shown(url: str) -> str:
    """Redact a URL for an error's text: without user, password and query, which may hold secrets."""
    without_user = re.sub(r"^([a-z0-9+.-]*:?/*).*@", r"\1…@", url, flags=re.IGNORECASE | re.DOTALL)
    return re.sub(r"\?.*", "?…", without_user, flags=re.DOTALL)[:200]
