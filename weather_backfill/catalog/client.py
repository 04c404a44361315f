"""Clients of Glue and Athena: throttled calls are retried, calls counted, errors translated to our taxonomy.

Servers other than AWS's are set by boto3's own variables (`AWS_ENDPOINT_URL_GLUE`, `AWS_ENDPOINT_URL_ATHENA`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound
from dagster_aws.athena import AthenaClient

from weather_backfill.model.errors import (
    AccessDeniedError,
    CatalogError,
    CatalogUnavailableError,
    ConfigurationError,
    NotFoundError,
    WeatherError,
)
from weather_backfill.settings import Settings

TRIES = 8
THROTTLING = {
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "ConcurrentModificationException",
    "OperationTimeoutException",
    "InternalServiceException",
    "InternalFailure",
    "ServiceUnavailable",
}
"""Error codes, of a call or of one item, after which the same call may succeed a little later."""

_DENIED = {"AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException"}


class Catalog:
    """Clients of Glue and Athena of one run; `calls` counts HTTP requests by operation, retries included."""

    def __init__(self, settings: Settings) -> None:
        self.concurrency = settings.catalog_concurrency
        self.workgroup = settings.athena_workgroup
        self.calls: Counter[str] = Counter()
        self.throttled = 0
        self._lock = threading.Lock()
        # Adaptive: after a throttled call the client also sends fewer of them.
        config = Config(
            retries={"mode": "adaptive", "total_max_attempts": TRIES}, max_pool_connections=max(10, self.concurrency)
        )
        with translated("opening Glue and Athena"):
            session = boto3.Session(profile_name=settings.s3_profile, region_name=settings.s3_region)
            self.glue: Any = session.client("glue", config=config)
            self._athena: Any = session.client("athena", config=config)
        for client in (self.glue, self._athena):
            client.meta.events.register("before-send", self._sent)
            client.meta.events.register("response-received", self._received)

    def athena(self, seconds_between_looks: int = 1) -> AthenaClient:
        """Dagster's client for Athena statements; the workgroup must configure where results go."""
        return AthenaClient(self._athena, self.workgroup, seconds_between_looks, max_polls=600)

    def _sent(self, event_name: str, **_: Any) -> None:
        with self._lock:
            self.calls[event_name.rsplit(".", 1)[1]] += 1

    def _received(self, parsed_response: dict[str, Any] | None = None, **_: Any) -> None:
        if ((parsed_response or {}).get("Error") or {}).get("Code") in THROTTLING:
            with self._lock:
                self.throttled += 1


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate AWS's errors to our taxonomy; `what` names the operation in the message."""
    try:
        yield
    except ClientError as error:
        raise error_of(what, error) from error
    except (NoCredentialsError, NoRegionError, ProfileNotFound) as error:
        raise ConfigurationError(
            f"{what}: {error} Set AWS_DEFAULT_REGION or WEATHER_S3_REGION, and credentials, a profile or a role."
        ) from error
    except BotoCoreError as error:
        raise CatalogUnavailableError(f"{what}: {error} Check the network and region, then try again.") from error


def error_of(what: str, error: ClientError) -> WeatherError:
    """The error of our taxonomy for an AWS error response."""
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{what}: {code}: {message}"
    if code in THROTTLING or status >= 500:
        return CatalogUnavailableError(
            f"{text} (after {TRIES} tries). Run it again, or lower WEATHER_CATALOG_CONCURRENCY."
        )
    if code in _DENIED:
        return AccessDeniedError(f"{text} Check that the credentials may use Glue (and Athena) on this database.")
    if code == "EntityNotFoundException":
        return NotFoundError(text)
    return CatalogError(text)
