"""The body of an HTTP answer within a limit, on the wire and unpacked.

One encoding is asked for, gzip, and unpacked here: a client that unpacks by itself does so by whole pieces, and 64 kB
of gzip can be 64 MB. Others are refused, for they were not asked for.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import cast

import httpx

from weather_backfill.model.errors import PermanentError
from weather_backfill.util.unpacking import Gunzip, TooLargeError

ASKED_ENCODING = {"Accept-Encoding": "gzip"}
"""The header of every request whose answer `read_body` reads."""


def read_body(response: httpx.Response, most: int, each: Callable[[int], None], request: str) -> bytes:
    """Read a streamed answer's body, unpacked; `each` is called with the bytes so far after each piece.

    Raises `PermanentError` beginning with `request` for more than `most` bytes, as sent or unpacked, and for a good
    answer in an encoding that was not asked for (a failure in one counts as empty: its status says enough); and
    `httpx.DecodingError` for damaged gzip.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    packed = encoding in ("gzip", "x-gzip")
    if not packed and encoding not in ("identity", ""):
        if not response.is_success:
            return b""
        raise PermanentError(
            f"{request}: the answer has the Content-Encoding {encoding[:40]!r}, which was not asked for: expected "
            "gzip or none. Set the server, or the proxy before it, to keep to Accept-Encoding."
        )
    unpacking = Gunzip(most)
    body, sent = io.BytesIO(), 0  # its value is no copy, unlike that of joined pieces
    try:
        # As sent: `iter_raw` is the same, but not for an answer that was made with its content.
        for piece in cast(httpx.SyncByteStream, response.stream):
            sent += len(piece)
            if sent > most:
                raise TooLargeError
            body.write(unpacking.feed(piece) if packed else piece)
            each(body.tell())
    except TooLargeError:
        raise PermanentError(f"{request}: the answer is larger than {_words(most)}. Ask for a smaller page.") from None
    except zlib.error as error:
        raise httpx.DecodingError(f"no sound gzip: {error}") from None
    if packed and not unpacking.whole:
        raise httpx.DecodingError("no whole gzip: it ends before its content does")
    return body.getvalue()


def _words(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size} bytes"
