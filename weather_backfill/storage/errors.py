"""The errors of the object store's library and of the file system, in our taxonomy."""

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

# Some operations of obstore raise its GenericError for these, with the system's or the server's words in it.
_NOT_THERE = ("<Code>NoSuchBucket</Code>",)
_DENIED = ("(os error 13)", "status code: 401 ", "status code: 403 ")


def translated(error: OSError | BaseError, what: str) -> WeatherError:
    """An error of the store in our taxonomy."""
    text = str(error)
    if isinstance(error, (FileNotFoundError, StoreNotFoundError)) or any(words in text for words in _NOT_THERE):
        return NotFoundError(f"{what}: it is not there.")
    if isinstance(error, (FileExistsError, StoreAlreadyExistsError)):
        return AlreadyThereError(f"{what}: there is one already.")
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
    """The first line of what an error says, or its name."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
