"""Translation of the object-store library's and the file system's errors into our taxonomy."""

from __future__ import annotations

from obstore.exceptions import AlreadyExistsError as StoreAlreadyExistsError
from obstore.exceptions import BaseError, NotSupportedError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import NotFoundError as StoreNotFoundError

from weather_backfill.model.errors import (
    AccessDeniedError,
    AlreadyThereError,
    ConfigurationError,
    NotFoundError,
    StorageUnavailableError,
    WeatherError,
)

# Some operations of obstore raise its GenericError for these, with the system's or the server's text in it.
_NOT_FOUND = ("<Code>NoSuchBucket</Code>",)
_DENIED = ("(os error 13)", "status code: 401 ", "status code: 403 ")


def translated(error: OSError | BaseError, what: str) -> WeatherError:
    """Translate an error of the store into our taxonomy; `what` says which operation failed."""
    text = str(error)
    if isinstance(error, (FileNotFoundError, StoreNotFoundError)) or any(words in text for words in _NOT_FOUND):
        return NotFoundError(f"{what}: it is not there.")
    if isinstance(error, (FileExistsError, StoreAlreadyExistsError)):
        return AlreadyThereError(f"{what}: it exists already.")
    denied = isinstance(error, (PermissionError, PermissionDeniedError, UnauthenticatedError))
    if denied or any(words in text for words in _DENIED):
        return AccessDeniedError(
            f"{what}: access denied. Check the credentials and that they reach this folder or bucket."
        )
    if isinstance(error, NotSupportedError):
        return ConfigurationError(f"{what}: {error}")
    return StorageUnavailableError(
        f"{what}: {first_line(error)}. Worth another try; if it stays, check the endpoint, the network and free space."
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters; the error's class name if it has no text."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
