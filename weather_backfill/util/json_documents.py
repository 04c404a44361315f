"""Parsing of our own JSON documents without trust: a file may be truncated, edited or foreign."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from weather_backfill.model.errors import UnreadableObjectError

T = TypeVar("T")


@contextmanager
def reading(what: str, instead: str) -> Iterator[None]:
    """Raise `UnreadableObjectError` for any error within the block, in which a document is parsed.

    `what` says what is wrong with which document, `instead` what to do about it.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        message = " ".join(str(error).split())[:200]
        raise UnreadableObjectError(f"{what} ({type(error).__name__}: {message}): {instead}") from error


def read(adapter: TypeAdapter[T], data: bytes, what: str, instead: str) -> T:
    """Decode a document with strict types (times are ISO text); raises `UnreadableObjectError` as `reading`."""
    with reading(what, instead):
        try:
            return adapter.validate_json(data, strict=True)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            raise ValueError("; ".join(": ".join([*map(str, p["loc"]), p["msg"]]) for p in problems)) from None


def parsed(text: bytes | str) -> Any:
    """Parse strict JSON, without NaN and Infinity; raises `ValueError` or `RecursionError`."""
    return json.loads(text, parse_constant=_refuse_constant)


def moment(text: str) -> datetime:
    """Parse an ISO time with its zone; raises `ValueError` for one without."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")
