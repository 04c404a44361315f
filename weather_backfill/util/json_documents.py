"""JSON documents of ours read back without trust: a file can be cut, edited or not ours at all."""

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
    """What goes wrong while a document is taken apart comes out as `UnreadableObjectError`.

    `what` names the document, `instead` says what to do about it.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise UnreadableObjectError(f"{what} ({type(error).__name__}: {said}): {instead}") from error


def read(adapter: TypeAdapter[T], data: bytes, what: str, instead: str) -> T:
    """Decode a document with strict types (times are ISO text); raises `UnreadableObjectError` as `reading`."""
    with reading(what, instead):
        try:
            return adapter.validate_json(data, strict=True)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            raise ValueError("; ".join(": ".join([*map(str, p["loc"]), p["msg"]]) for p in problems)) from None


def parsed(text: bytes | str) -> Any:
    """JSON without NaN and Infinity, which it does not know; raises `ValueError` or `RecursionError`."""
    return json.loads(text, parse_constant=_no_number)


def moment(text: str) -> datetime:
    """A time with its zone; raises `ValueError` for one without."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
