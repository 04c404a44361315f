"""The taxonomy of errors: retryable ones and permanent ones.

Every error of this package is a `WeatherError` and says what was wrong, what was expected and what to do.
`retryable` decides whether a day is tried again at once (`sources/base.py`); a permanent error fails its
day on the first attempt, because asking again only costs time and the upstream's patience.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


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


class NewerSchemaError(PermanentError):
    """A file of the lake was written by a newer release: this one neither reads nor replaces it."""


class SchemaError(PermanentError):
    """Columns or types differ from those of the format."""


class LostRowsError(PermanentError):
    """The upstream has fewer rows of a day than the lake: the lake keeps its rows, and the day fails."""


class ProcessDiedError(PermanentError):
    """The process died more than once while at this day, the last time alone: out of memory, or killed from outside."""


class ConfigurationError(PermanentError):
    """A setting, tenant file or argument is wrong; the message names it and the fix."""


class ForeignLakeError(ConfigurationError):
    """The lake belongs to another installation; the message names it, and how to read only or take over."""


class MissingFeatureError(PermanentError):
    """The store's server or file system lacks a feature; the message names it and the way out."""


class CatalogError(PermanentError):
    """Glue or Athena refused tables, partitions or a statement; the message names them."""


class VerificationError(RetryableError):
    """The object store holds other bytes after an upload than were sent."""


def shown(url: str) -> str:
    """Redact a URL for an error's text: without user, password and query, which may hold secrets."""
    before, at, rest = url.rpartition("@")  # not a pattern: over a long text those take its square
    scheme = re.match(r"([a-z][a-z0-9+.-]*:)?/+|", before[:40], re.IGNORECASE)
    without_user = f"{scheme[0] if scheme else ''}…@{rest}" if at else url
    path, query, _ = without_user.partition("?")
    return (f"{path}?…" if query else path)[:200]


def refuse_user(url: str, what: str) -> None:
    """Raise `ConfigurationError` for a URL with a user or password in it, which logs and metadata would repeat.

    The message does not. A plain path may hold an `@`, and so may the path of a URL.
    """
    if re.match(r"[a-z][a-z0-9+.-]*:/*[^/?#]*@", url[:2000], re.IGNORECASE):
        raise ConfigurationError(
            f"{what} {shown(url)!r} holds a user or password: expected a URL without them. Name credentials by "
            "variables, a profile or a role, and change the password if the URL was written down."
        )


def some(names: Iterable[str], most: int = 20) -> str:
    """Join the first names of a list for an error's text, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(name[:80] for name in found[:most]) + more
