"""Unpacking of gzip within a limit: what comes out is counted while it comes, not after."""

from __future__ import annotations

import zlib

from weather_backfill.model.errors import UnreadableObjectError

_GZIP = 31  # zlib's word for gzip's own header and checksum, window of 32 kB

_PIECE = 1 << 16
MOST_MEMBERS = 10_000


class TooLargeError(Exception):
    """What is unpacked exceeds the limit; whoever set the limit says so in its own words."""


class Gunzip:
    """Unpacks a gzip stream that comes in pieces, members one after another, up to `most` bytes in all.

    `feed` raises `TooLargeError` before more than `most + 1` bytes have been made, and `zlib.error` for damaged bytes
    or more than `MOST_MEMBERS` members, each of which costs more than its bytes.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._member = zlib.decompressobj(_GZIP)
        self._members = 0  # that have begun
        self._inside = False  # a member has begun and not ended

    def feed(self, packed: bytes) -> bytes:
        """Unpack the next piece; zeros between and after members are padding, as for gzip itself."""
        found = []
        while packed:
            if not self._inside:
                if self._members and not (packed := packed.lstrip(b"\0")):
                    break
                self._begin()
            found.append(self._member.decompress(packed, self._left + 1))  # never 0, which would mean without limit
            self._left -= len(found[-1])
            if self._left < 0:
                raise TooLargeError
            self._inside = not self._member.eof
            packed = self._member.unused_data
        return found[0] if len(found) == 1 else b"".join(found)

    def _begin(self) -> None:
        if self._members == MOST_MEMBERS:
            raise zlib.error(f"more than {MOST_MEMBERS} members")
        self._member, self._inside = zlib.decompressobj(_GZIP), True
        self._members += 1

    @property
    def whole(self) -> bool:
        """True if nothing is lacking at the end: the last member is complete, or nothing came at all."""
        return not self._inside


def gunzip(packed: bytes, most: int) -> bytes:
    """Unpack a gzip file; raises `UnreadableObjectError` if it is damaged, cut or unpacks to more than `most` bytes."""
    stream = Gunzip(most)
    try:
        pieces = [stream.feed(packed[at : at + _PIECE]) for at in range(0, len(packed), _PIECE)]
    except zlib.error as error:
        raise UnreadableObjectError(f"no sound gzip: {error}") from error
    except TooLargeError:
        raise UnreadableObjectError(f"unpacks to more than {most} bytes") from None
    if not packed or not stream.whole:
        raise UnreadableObjectError("no whole gzip: the file ends before its content does")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
