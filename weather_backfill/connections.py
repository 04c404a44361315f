"""What every connection has, and how a secret is named without being told.

A *connection* is one tenant's use of one service. Secrets appear only as references to environment
variables, `${ACME_SECRET}`, and are looked up at the last moment.
"""

from __future__ import annotations

import os
import re
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from weather_backfill.errors import ConfigurationError

WITHHELD = "withheld"  # the error type of a value that may be a secret and is not repeated
_REFERENCE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


def _check_reference(value: Any) -> str:
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise PydanticCustomError(
            WITHHELD, "a secret must be a reference to an environment variable, for example ${ACME_SECRET}"
        )
    return value


SecretReference = Annotated[str, BeforeValidator(_check_reference)]
"""`${NAME}`: the name of an environment variable that holds the secret, never the secret itself."""


def resolve_secret(reference: str) -> SecretStr:
    """The secret behind `${NAME}`; raises `ConfigurationError` naming the variable if it is not set."""
    name = _REFERENCE.sub(r"\1", _check_reference(reference))
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(f"environment variable {name} is not set: the tenant file refers to it.")
    return SecretStr(value)


class Connection(BaseModel):
    """What every connection of a tenant to a service has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    lookback_days: int = Field(730, ge=1, le=36_500)
    first_day: date | None = None


def reveal(reference: str | None) -> str | None:
    """The secret itself, or None where there is no reference."""
    return resolve_secret(reference).get_secret_value() if reference else None
