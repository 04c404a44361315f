"""Translation of the object-store library's and the file system's errors into our taxonomy."""

from __future__ import annotations

from obstore.exceptions import AlreadyExistsError as StoreAlreadyExistsError
from obstore.exceptions import (
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.exceptions import NotFoundError as StoreNotFoundError

from weather_backfill.model.errors import (
    AccessDeniedError,
    AlreadyThereError,
    ConfigurationError,
    ConflictError,
    MissingFeatureError,
    NotFoundError,
    StorageUnavailableError,
    WeatherError,
)

# Some operations of obstore raise its GenericError for these, with the system's or the server's text in it.
_NOT_FOUND = ("<Code>NoSuchBucket</Code>",)
_DENIED = ("(os error 13)", "status code: 401 ", "status code: 403 ")
_LACKING = ("<Code>NotImplemented</Code>", "status code: 501 ")
_CHECKSUM = "x-amz-checksum-sha256"
_REFUSED = "status code: 400 "


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
    if isinstance(error, PreconditionError):
        return ConflictError(f"{what}: it is no longer the object that was read. Read it again.")
    if feature := _lacking(text, what):
        return MissingFeatureError(f"{what}: the server lacks a feature that this needs: {feature}.")
    if isinstance(error, NotSupportedError):
        return ConfigurationError(f"{what}: {error}")
    return StorageUnavailableError(
        f"{what}: {first_line(error)}. Worth another try; if it stays, check the endpoint, the network and free space."
    )


def _lacking(text: str, what: str) -> str | None:
    """The feature that the server's answer says it lacks; None if it says nothing of the kind."""
    checksum = f"checksums of uploads ({_CHECKSUM}). Set WEATHER_S3_CHECKSUMS=false to upload without them"
    if _REFUSED in text and _CHECKSUM in text.lower():
        return checksum
    if not any(words in text for words in _LACKING):
        return None
    if what.startswith("could not create "):
        return "create-only writes (If-None-Match: *). Use a server that has them: AWS S3, Ceph, MinIO, Cloudflare R2"
    if what.startswith("could not write "):
        return checksum
    return first_line(ValueError(text[text.find("<Message>") + 9 :].split("</Message>")[0] or text))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters; the error's class name if it has no text."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
