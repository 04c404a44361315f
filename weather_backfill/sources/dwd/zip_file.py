"""Zip files from the server, opened without trust: sizes bounded, names checked, exactly one product inside.

Nothing is ever extracted to disk. What can be wrong has its own message: an error page instead of a zip, a
zip cut short, damaged bytes inside, a bomb, a name that climbs out of its folder, no product or two.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass

from weather_backfill.model.errors import SchemaError, UnreadableObjectError
from weather_backfill.sources.dwd.metadata import StationMetadata, parse_metadata

MAX_PRODUCT_BYTES = 1 << 30  # the largest real product text is near 100 MB
MAX_METADATA_BYTES = 16 << 20
MAX_MEMBERS = 1000
MAX_RATIO = 1000  # deflate's own limit is 1032: product text compresses 10 to 30 times
_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, OverflowError,
    RuntimeError, IndexError,
)  # fmt: skip
"""What zipfile raises for damaged files; NotImplementedError is a RuntimeError."""
_CHUNK = 1 << 20
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProductZip:
    """An opened station file: the product's name and text, and the metadata beside it."""

    product_name: str
    product: bytes
    metadata: StationMetadata


def open_archive(data: bytes, source: str) -> ProductZip:
    """Read a station's zip.

    Raises `UnreadableObjectError` for what is no sound zip and `SchemaError` unless exactly one
    `produkt_*.txt` is inside; both name `source`.
    """
    with _opened(data, source) as archive:
        products = [m for m in archive.infolist() if _is_product(m.filename)]
        if len(products) != 1:
            names = ", ".join(m.filename for m in products) or ", ".join(archive.namelist()[:5]) or "nothing"
            raise SchemaError(
                f"{source} holds {len(products)} product files ({names[:300]}): expected exactly one "
                "produkt_*.txt. The file is not a station's product, or was packed wrongly upstream."
            )
        text = _read(archive, products[0], MAX_PRODUCT_BYTES, source)
        return ProductZip(products[0].filename, text, parse_metadata(_metadata_files(archive, source)))


def open_metadata(data: bytes, source: str) -> StationMetadata:
    """The metadata of a zip that need not hold a product (`meta_data/Meta_Daten_*.zip`)."""
    with _opened(data, source) as archive:
        return parse_metadata(_metadata_files(archive, source))


def require_zip(data: bytes, source: str) -> None:
    """Raise `UnreadableObjectError` for what is no zip or a cut one: it must not get into a cache."""
    _opened(data, source).close()


def product_member(data: bytes | io.BufferedIOBase, source: str) -> str | None:
    """The name of the product inside, by the zip's directory alone; None if that is unreadable."""
    try:
        with zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data) as archive:
            return next((n for n in archive.namelist() if _is_product(n)), None)
    except _BROKEN:
        return None  # opening it for reading will say what is wrong


def _opened(data: bytes, source: str) -> zipfile.ZipFile:
    if data[:2] != b"PK":
        raise UnreadableObjectError(_not_a_zip(data, source))
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as error:
        raise UnreadableObjectError(
            f"{source} begins like a zip and has no directory at its end ({error}; {len(data)} bytes): the "
            "file is truncated. Fetch it again; if it stays, it is damaged upstream."
        ) from error
    _refuse_tricks(archive, source)
    return archive


def _not_a_zip(data: bytes, source: str) -> str:
    start = data[:4096].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        title = _TITLE.search(data[:65536])
        words = title.group(1).decode("latin-1").strip()[:100] if title else ""
        return (
            f"{source} is an HTML page{f' titled {words!r}' if words else ''}, not a zip: the server "
            "answered with an error or maintenance page under status 200. Try again later, or check base_url."
        )
    if not data:
        return f"{source} is empty: expected a zip. Fetch it again."
    return f"{source} is not a zip: it begins with {data[:16]!r}, expected b'PK'. Check the base URL."


def _refuse_tricks(archive: zipfile.ZipFile, source: str) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise UnreadableObjectError(
            f"{source} holds {len(members)} files, at most {MAX_MEMBERS} are read: it is no station's zip."
        )
    for member in members:
        parts = member.orig_filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in member.orig_filename:
            raise UnreadableObjectError(
                f"{source} holds a file named {member.orig_filename[:100]!r}, which points out of the zip: "
                "refused. Expected plain names; this file does not come from DWD as it should."
            )
        if member.flag_bits & 1:
            raise UnreadableObjectError(f"{source}: {member.filename[:100]!r} is encrypted; expected plain data.")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int, source: str) -> bytes:
    """A member's bytes, counted while they come: what the directory declares is a claim, not a fact.

    Only deflate is unpacked by pieces: of the other methods zipfile makes all that a piece holds at once.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableObjectError(
            f"{source}: {member.filename[:100]!r} is packed by method {member.compress_type}: expected 8 (deflate) or "
            "0 (stored), as DWD packs. This file does not come from DWD as it should."
        )
    claimed = max(member.file_size, 0)
    if claimed > most or claimed > max(member.compress_size, 1024) * MAX_RATIO:
        raise UnreadableObjectError(_bomb(source, member, claimed, most))
    found, size = [], 0
    try:
        with archive.open(member) as stream:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > most:
                    raise UnreadableObjectError(_bomb(source, member, size, most))
                found.append(chunk)
    except _BROKEN as error:
        raise UnreadableObjectError(
            f"{source}: {member.filename[:100]!r} is damaged ({error}): its rows cannot be known. Fetch it "
            "again; if it stays, it is damaged upstream."
        ) from error
    if size != claimed:
        raise UnreadableObjectError(
            f"{source}: {member.filename[:100]!r} has {size} bytes where the zip's directory says {claimed}: "
            "the zip is damaged or forged."
        )
    return b"".join(found)


def _bomb(source: str, member: zipfile.ZipInfo, size: int, most: int) -> str:
    return (
        f"{source}: {member.filename[:100]!r} unpacks to {size} bytes or more from {member.compress_size}; "
        f"at most {most} bytes and {MAX_RATIO} times are read: refused as a zip bomb."
    )


def _is_product(name: str) -> bool:
    base = name.rsplit("/", 1)[-1].lower()
    return base.startswith("produkt_") and base.endswith(".txt")


def _metadata_files(archive: zipfile.ZipFile, source: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    left = MAX_METADATA_BYTES  # for all of them: many members may name the same packed bytes
    for member in archive.infolist():
        base = member.filename.rsplit("/", 1)[-1]
        if base.lower().startswith(("metadaten_", "stationsmetadaten_")) and base.lower().endswith(".txt"):
            found[base] = _read(archive, member, left, source)
            left -= len(found[base])
    return found
