"""Secret references: a connection names a secret's environment variable, never the secret.

A *connection* is one tenant's use of one service. Secrets appear only as references to environment
variables, `${ACME_SECRET}`, and are resolved at the last moment.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.security.reach import Names

WITHHELD = "withheld"  # the pydantic error type of a value that may be a secret: messages must not repeat it
_REFERENCE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


def _check_reference(value: Any) -> str:
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise PydanticCustomError(
            WITHHELD, "a secret must be a reference to an environment variable, for example ${ACME_SECRET}"
        )
    return value


SecretReference = Annotated[str, Names.SECRET, BeforeValidator(_check_reference)]
"""`${NAME}`: the name of an environment variable that holds the secret, never the secret itself."""


def variable_of(reference: str) -> str:
    """The name of a reference's environment variable."""
    return _REFERENCE.sub(r"\1", _check_reference(reference))


def resolve_secret(reference: str) -> SecretStr:
    """Resolve `${NAME}` to its secret; raises `ConfigurationError` naming the variable if it is not set."""
    name = variable_of(reference)
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(
            f"environment variable {name} is not set: set it, as a tenant file or a setting refers to it."
        )
    return SecretStr(value)


def reveal(reference: str | None) -> str | None:
    """Resolve a reference to the secret's plain text, None to None; raises as `resolve_secret`."""
    return resolve_secret(reference).get_secret_value() if reference else None
