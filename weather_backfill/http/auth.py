"""Bearer authentication: the token is resolved from its reference for each request."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.security.secrets import resolve_secret


class BearerAuth(httpx.Auth):
    """`Authorization: Bearer <secret>`, the secret resolved from `${NAME}` for each request."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def __repr__(self) -> str:
        return f"BearerAuth({self.reference!r})"

    def secret(self) -> str:
        """Resolve the secret; raises `ConfigurationError` if it is not set or no header can carry it."""
        value = resolve_secret(self.reference).get_secret_value()
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ConfigurationError(
                f"the secret behind {self.reference} holds spaces at its ends, line breaks or characters "
                "outside ASCII: no header can carry it. Set it without them; often it is the line break at the end of "
                "a file."
            )
        return value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.secret()}"
        yield request
