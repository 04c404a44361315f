"""How messages lie in an object: alone, in arrays, one a line, or one after the other, and what of it is damaged.

Writers differ: Firehose puts messages one after the other without a separator, loggers write one a line (NDJSON) or a
record separator in front of each (RFC 7464), exporters write arrays, and some a byte-order mark. Where a text is cut or
damaged, the whole messages before and after are found, and what lies between is given back as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson


class Damage(Enum):
    """Why a piece of an object is no message."""

    NOT_JSON = "not_json"
    NOT_CLOSED = "array_not_closed"
    """An array ends after a whole message, without its bracket: what came after is not known."""


_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(rb"(?:[\s\x1e,]|\xef\xbb\xbf)*")
_BETWEEN_ELEMENTS = re.compile(rb"\}\s{0,64},\s{0,64}\{")
_TAIL = 100  # bytes of an array that is not closed which are shown
# Where a message may begin again after damage: after a line's end or a whole message, or with a message's first key.
_NEXT = re.compile(
    rb"[\n\x1e}\]][\s\x1e,]{0,64}(?=\[?\s{0,64}\{)"
    rb'|(?=\{\s{0,64}"(?:serial_number|type|device_id|hub_sn|status|station_id|source|summary|obs)")'
)
_TRIES = 10  # how often a text's bytes are looked at before the rest of it is given up
_DEEP = 50_000  # what a text that is nested too deeply costs of these
_scan = json.JSONDecoder(parse_int=float).raw_decode  # numbers of any length; orjson reads what counts


def one_a_line(bodies: Sequence[bytes]) -> tuple[bytes, npt.NDArray[np.int64]] | None:
    """Bodies as one text with a message in each line, and of each line the position of its body.

    None where it is not plain that this is so. Whoever parses the lines must see that each holds one whole object: a
    text is parted between brackets, wherever these stand.
    """
    stripped = [body.strip() for body in bodies]
    text = b"\n".join(stripped)
    if text.count(b"\n") == len(stripped) - 1 and b"}{" not in text:
        if not all(body[:1] == b"{" for body in stripped):
            return _parted(stripped) if stripped else None
        return text, np.arange(len(stripped))
    return _parted(stripped)


def _parted(bodies: Sequence[bytes]) -> tuple[bytes, npt.NDArray[np.int64]] | None:
    lines: list[bytes] = []
    counts = np.zeros(len(bodies), dtype=np.int64)
    for number, body in enumerate(bodies):
        before = len(lines)
        if body[:1] == b"[" and body[-1:] == b"]" and b"]\n[" not in body:
            body = _BETWEEN_ELEMENTS.sub(b"}\n{", body[1:-1])
        elif body[:1] in b"\xef\x1e":
            body = body.removeprefix(_BOM).replace(b"\x1e", b"\n")
        for line in map(bytes.strip, body.replace(b"}{", b"}\n{").split(b"\n")):
            if line[:1] == b"[" and line[-1:] == b"]":
                lines += _BETWEEN_ELEMENTS.sub(b"}\n{", line[1:-1].strip()).split(b"\n")
            elif line:
                lines.append(line)
        counts[number] = len(lines) - before
    if not all(counts) or not all(line[:1] == b"{" for line in lines):
        return None
    return b"\n".join(lines), np.repeat(np.arange(len(bodies)), counts)


def unframed(body: bytes) -> Iterator[tuple[Any, bytes | None]]:
    """Yield a body's messages, each as parsed and, unless it stands in a whole array, its text.

    Of what is no JSON comes its `Damage` with its text. An empty array yields nothing. Never raises.
    """
    try:
        yield from _elements(orjson.loads(body.removeprefix(_BOM)), body)
    except orjson.JSONDecodeError:
        yield from _Damaged(body).pieces()


def _elements(value: Any, text: bytes) -> Iterator[tuple[Any, bytes | None]]:
    if isinstance(value, list):
        yield from ((element, None) for element in value)
    else:
        yield value, text


class _Damaged:
    """A text that is not one JSON value, taken apart from its begin."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._characters = body.decode("latin-1")  # one a byte: positions are the same
        self._tries = _TRIES * len(body) + (1 << 20)
        self._open = 0  # arrays that have begun and not ended
        self._arrays = False  # any has begun

    def pieces(self) -> Iterator[tuple[Any, bytes | None]]:
        """What `unframed` yields; pieces of damage that touch are one."""
        body, at, bad = self._body, 0, -1
        while (at := self._begin(at)) < len(body):
            value, end = self._value(at)
            if value is Damage.NOT_JSON:
                self._open = 0  # told already
                bad = at if bad < 0 else bad
            elif value is not None:
                if bad >= 0:
                    yield Damage.NOT_JSON, body[bad:at].rstrip()
                    bad = -1
                yield from _elements(value, body[at:end])
            at = end
        if bad >= 0:
            yield Damage.NOT_JSON, body[bad:]
        elif self._open:
            yield Damage.NOT_CLOSED, body[-_TAIL:]
        elif not body.strip():
            yield Damage.NOT_JSON, body

    def _begin(self, at: int) -> int:
        between = _BETWEEN.match(self._body, at)
        return between.end() if between else at

    def _value(self, at: int) -> tuple[Any, int]:
        """What begins at a place, and where it ends: a value, damage, or None for an array's bracket."""
        first = self._body[at : at + 1]
        if first == b"]" and self._arrays:
            self._open = max(self._open - 1, 0)
            return None, at + 1
        if first not in (b"{", b"["):
            return Damage.NOT_JSON, self._next(at)
        if at == 0 or self._body[at - 1] in b"\n\x1e":
            end = self._body.find(b"\n", at)
            line = self._body[at : end if end >= 0 else len(self._body)]
            parsed = _parsed(line.rstrip(b" \t\r,"))
            if parsed is not Damage.NOT_JSON:
                return parsed, at + len(line)
        end = self._end(at)
        parsed = _parsed(self._body[at:end]) if end else Damage.NOT_JSON
        if parsed is not Damage.NOT_JSON:
            return parsed, end
        if first == b"[":
            self._open, self._arrays = self._open + 1, True
            return None, at + 1
        return Damage.NOT_JSON, end or self._next(at)

    def _end(self, at: int) -> int:
        """Where the value that begins at a place ends; 0 where it does not."""
        if self._tries <= 0:
            return 0
        try:
            return _scan(self._characters, at)[1]
        except json.JSONDecodeError as error:
            self._tries -= error.pos - at + 1
        except RecursionError:
            self._tries -= _DEEP
        return 0

    def _next(self, at: int) -> int:
        """Where after a place the next message may begin."""
        found = _NEXT.search(self._body, at + 1) if self._tries > 0 else None
        return found.end() if found else len(self._body)


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return Damage.NOT_JSON
