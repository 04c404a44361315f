"""One object-store interface for a local folder and S3; no other module talks to either.

A write is atomic: S3 shows an object when its upload is complete, and a local file is staged below
`_staging/` and renamed into place, so a reader never sees half an object and a killed process leaves nothing
inside a dataset. Writes that depend on what was read before are in `conditional.py`. Errors of the store are raised as
errors of our taxonomy (`errors.py`).
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

import duckdb
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from weather_backfill.model.errors import (
    AlreadyThereError,
    ConfigurationError,
    MissingFeatureError,
    NotFoundError,
    VerificationError,
    WeatherError,
    refuse_user,
    shown,
)
from weather_backfill.security.tenant_policy import leads_out
from weather_backfill.storage.abilities import Abilities, abilities_of
from weather_backfill.storage.errors import first_line, translated
from weather_backfill.storage.local_files import read_range, write_durably
from weather_backfill.storage.objects import LOCKS, STAGING, Seen, StoredObject
from weather_backfill.storage.read_ahead import READ_THREADS, read_ahead
from weather_backfill.storage.s3 import S3Options, check_s3_url, location, s3_arguments
from weather_backfill.util.files import open_new
from weather_backfill.util.scratch import Scratch

__all__ = ["LOCKS", "READ_THREADS", "STAGING", "ObjectStore", "S3Options", "Seen", "StoredObject", "check_s3_url"]

_LIST_CHUNK = 5000
_DELETE_BATCH = 1000

T = TypeVar("T")
Item = TypeVar("Item")


# Aliases for annotations in the class below, whose method `list` hides the built-in.
Listing = list[StoredObject]
Names = list[str]
Results = list


class ObjectStore:
    """Objects below one URL: `file:///folder`, a plain path, or `s3://bucket/prefix`.

    Only a write creates a folder; a missing one counts as empty. With `must_exist`, as for an archive, listing a
    missing folder raises `NotFoundError`: it may not be mounted. With `inside`, a link that leads out of the folder
    is refused with `AccessDeniedError`.
    """

    def __init__(
        self, url: str, s3: S3Options | None = None, *, must_exist: bool = False, inside: bool = False
    ) -> None:
        refuse_user(url, "the storage URL")  # before it is kept: from here on it is repeated in errors and metadata
        self.url = url.rstrip("/")
        self.folder: Path | None = None
        self._must_exist, self._inside = must_exist, inside
        self._opened_store: Any = None
        parts = urlsplit(url)
        if parts.scheme == "s3":
            check_s3_url(url)
            self._s3 = s3_arguments(parts.netloc, s3 or S3Options())
            self._opened_store = self._open(lambda: S3Store(parts.netloc, prefix=_prefix(parts.path), **self._s3))
        elif parts.scheme in ("", "file"):
            self.folder = Path(unquote(parts.path) if parts.scheme else url).expanduser().absolute()
            if self.folder.exists():
                self._opened_store = self._open(lambda: LocalStore(str(self.folder)))
        else:
            raise ConfigurationError(
                f"storage URL {shown(url)!r} has another scheme: expected a folder, file:///folder or "
                "s3://bucket/prefix."
            )

    def _open(self, constructor: Callable[[], T]) -> T:
        try:
            return constructor()
        except (OSError, BaseError, ValueError) as error:
            raise ConfigurationError(f"cannot open {self.url!r}: {first_line(error)}.") from error

    @property
    def backend(self) -> Any:
        """The library's store; raises `FileNotFoundError` while the folder does not exist."""
        if self._opened_store is None:
            self._opened_store = LocalStore(str(self.folder)) if self._root_exists() else None
        if self._opened_store is None:
            raise FileNotFoundError(f"{self.folder} is not there")
        return self._opened_store

    def _root_exists(self) -> bool:
        return self.folder is None or self.folder.is_dir()

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    def uri(self, key: str) -> str:
        """The full path or URL of an object, for messages and metadata."""
        return f"{self.folder / key}" if self.folder else f"{self.url}/{key}"

    def contains(self, url: str) -> bool:
        """Return whether another storage URL equals this one or lies below it.

        Links are followed; S3 endpoints are not compared.
        """
        (own_bucket, own_parts), (bucket, parts) = location(self.url), location(url)
        return own_bucket == bucket and parts[: len(own_parts)] == own_parts

    @property
    def server(self) -> tuple[str, str]:
        """The S3 server and the bucket ("" and "" for a folder)."""
        return ("", "") if self.folder else (str(self._s3["config"].get("endpoint", "")), location(self.url)[0])

    @property
    def abilities(self) -> Abilities:
        """The conditional writes that this store has; on S3 tried out at the first call."""
        return Abilities(create_only=True, if_match=False) if self.folder else abilities_of(self)

    def put(self, key: str, data: bytes, *, if_match: str | None = None) -> StoredObject:
        """Write an object atomically, replacing any previous one; raises `VerificationError` if its size is wrong.

        With `if_match`, an ETag, an S3 server that knows If-Match raises `ConflictError` for another object; elsewhere
        use `put_if`.
        """
        if self.folder:
            self._call("write", key, lambda: self._put_local(key, lambda file: file.write(data), Path.replace))
        else:
            mode: Any = {"mode": {"e_tag": if_match}} if if_match else {}
            self._call("write", key, lambda: obstore.put(self.backend, key, data, **mode))
        return self.verified(key, len(data))

    def look(self, key: str) -> Seen | None:
        """Read an object with its ETag, for a conditional write; None if it does not exist."""

        def read() -> Seen:
            found = obstore.get(self.backend, key)
            return Seen(bytes(found.bytes()), found.meta["e_tag"])

        try:
            return self._call("read", key, read)
        except NotFoundError:
            return None

    def put_file(self, key: str, path: Path) -> StoredObject:
        """`put` a file of any size without loading it into memory."""
        if self.folder:
            with path.open("rb") as source:
                self._call(
                    "write", key,
                    lambda: self._put_local(key, lambda file: shutil.copyfileobj(source, file), Path.replace),
                )  # fmt: skip
        else:
            self._call("write", key, lambda: obstore.put(self.backend, key, path))
        return self.verified(key, path.stat().st_size)

    def verified(self, key: str, expected: int) -> StoredObject:
        """`head` of an object just written; raises `VerificationError` if it has another size than `expected`."""
        stored = self.head(key)
        if stored.size != expected:
            raise VerificationError(
                f"{self.uri(key)} holds {stored.size} bytes after an upload of {expected}: another writer or "
                "a faulty store. The day will be written again."
            )
        return stored

    def create(self, key: str, data: bytes) -> bool:
        """Write an object atomically unless it exists; return whether it was written. Of many writers one wins.

        Raises `MissingFeatureError` for an S3 server that ignores the condition or does not know it.
        """
        if not self.abilities.create_only:
            raise MissingFeatureError(
                f"could not create {self.uri(key)}: the server lacks create-only writes (If-None-Match: *), so two "
                "processes could take the same work. Use a server that has them: AWS S3, Ceph, MinIO, Cloudflare R2."
            )
        try:
            if self.folder:
                self._call("write", key, lambda: self._put_local(key, lambda file: file.write(data), os.link))
            else:
                self._call("write", key, lambda: obstore.put(self.backend, key, data, mode="create"))
        except AlreadyThereError:
            return False
        return True

    def _put_local(self, key: str, fill: Callable[[BinaryIO], Any], place: Callable[[Path, Path], Any]) -> None:
        assert self.folder
        staged, target = self.folder / STAGING / uuid.uuid4().hex, self.folder / key
        write_durably(staged, target, fill, place)

    def get(self, key: str) -> bytes:
        """Read a whole object; raises `NotFoundError` if it does not exist."""
        if self.folder:
            return self._call("read", key, lambda: self._path(key).read_bytes())
        return self._call("read", key, lambda: bytes(obstore.get(self.backend, key).bytes()))

    def get_file(self, key: str, path: Path) -> None:
        """`get` an object of any size into a file without loading it into memory."""

        def fetch() -> None:
            with open_new(path) as file:
                for part in obstore.get(self.backend, key).stream():
                    file.write(part)

        self._call("read", key, fetch)

    def _path(self, key: str) -> Path:
        """The path of a local object; raises `PermissionError` for one outside the folder (`inside`)."""
        assert self.folder
        path = self.folder / key
        if self._inside and leads_out(self.folder, path):
            raise PermissionError(f"{path} leads out of its folder")
        return path

    def tail(self, stored: StoredObject, size: int) -> bytes:
        """Read the last `size` bytes of an object, or all of a smaller one: a Parquet file's footer is there."""
        start = max(0, stored.size - size)
        if start == stored.size:
            return b""  # an empty object has no valid range
        if self.folder:
            return self._call("read", stored.key, lambda: read_range(self._path(stored.key), start, stored.size))
        return self._call(
            "read", stored.key, lambda: bytes(obstore.get_range(self.backend, stored.key, start=start, end=stored.size))
        )

    def head(self, key: str) -> StoredObject:
        """Size, ETag and time of an object; raises `NotFoundError` if it does not exist."""
        return _stored(self._call("look at", key, lambda: obstore.head(self.backend, key)))

    def exists(self, key: str) -> bool:
        """Return whether the object exists."""
        try:
            self.head(key)
        except NotFoundError:
            return False
        return True

    def delete(self, keys: str | Sequence[str]) -> None:
        """Delete objects; a missing one is no error. On S3 a request deletes up to a thousand."""
        all_keys = [keys] if isinstance(keys, str) else keys
        # A local folder's bulk delete stops at the first missing object; S3's does not.
        size = 1 if self.folder else _DELETE_BATCH
        for batch in (list(all_keys[start : start + size]) for start in range(0, len(all_keys), size)):
            for key in batch:
                self._check(key, "delete")
            with suppress(NotFoundError):  # another process has deleted it
                self._call("delete", batch[0], partial(self._delete, batch))

    def _delete(self, keys: Names) -> None:
        obstore.delete(self.backend, keys)

    def list(self, prefix: str = "") -> Listing:
        """List all objects below a folder-like prefix, sorted by key; empty if there are none."""
        return self._listed(prefix)

    def list_if_few(self, prefix: str, most: int) -> Listing | None:
        """`list` up to `most` objects; None if there are more, without listing the rest."""
        objects = self._listed(prefix, most)
        return objects if len(objects) <= most else None

    def _listed(self, prefix: str, most: int = sys.maxsize) -> Listing:
        """List all objects, or stop after somewhat more than `most` of them."""

        def collect() -> Listing:
            if self._root_missing():
                return []
            objects: Listing = []
            for chunk in obstore.list(self.backend, prefix.rstrip("/") or None, chunk_size=_LIST_CHUNK):
                objects += map(_stored, chunk)
                if len(objects) > most:
                    break
            return objects

        return sorted(self._call("list", prefix, collect), key=lambda o: o.key)

    def names(self) -> Names:
        """The names of the objects directly below the root, sorted; local names are not checked to be valid keys.

        Raises `NotFoundError` if the folder or bucket does not exist.
        """
        folder = self.folder
        if folder:
            return sorted(self._call("list", "", lambda: [e.name for e in os.scandir(folder) if e.is_file()]))
        listing = self._call("list", "", lambda: obstore.list_with_delimiter(self.backend))
        return sorted(_stored(meta).key for meta in listing["objects"])

    def folders(self, prefix: str = "") -> Names:
        """The names of the folders directly below a prefix, sorted."""

        def collect() -> Any:
            if self._root_missing():
                return {"common_prefixes": []}
            return obstore.list_with_delimiter(self.backend, prefix.rstrip("/") or None)

        listing = self._call("list", prefix, collect)
        return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in listing["common_prefixes"])

    def _root_missing(self) -> bool:
        """Return whether the folder is missing; raises `FileNotFoundError` if it is and `must_exist` is set."""
        missing = not self._root_exists()
        if missing and self._must_exist:
            raise FileNotFoundError(f"{self.folder} is not there")
        return missing

    def read_many(self, objects: Iterable[str | StoredObject]) -> Iterator[tuple[str, bytes | WeatherError]]:
        """Read many small objects concurrently, in order; an object that cannot be read yields its error.

        Objects are given by key, or as listed: then their sizes decide how many are read ahead, and memory holds some
        64 MB of them, or the one that is larger. Local files are read in this thread, one by one: opening a file takes
        less time than handing it to another.
        """
        if self.folder:
            for each in objects:
                key = each if isinstance(each, str) else each.key
                yield key, self._attempt(key)
            return
        yield from read_ahead(objects, self._read_batch)

    def each(self, work: Callable[[Item], T], items: Iterable[Item]) -> Results[T]:
        """Apply `work` to every item and return the results in order; concurrently on S3, as `read_many`."""
        if self.folder:
            return [work(item) for item in items]
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="each") as pool:
            return [*pool.map(work, items)]

    def _read_batch(self, keys: Names) -> Sequence[tuple[str, bytes | WeatherError]]:
        return [(key, self._attempt(key)) for key in keys]

    def _attempt(self, key: str) -> bytes | WeatherError:
        try:
            return self.get(key)
        except WeatherError as error:
            return error

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Yield a local path with the object's bytes: the file itself, or a temporary download from S3.

        Raises `NotFoundError` if the object does not exist.
        """
        if self.folder:
            self.head(key)
            yield self._call("read", key, lambda: self._path(key))
            return
        with Scratch("copy") as folder:
            path = folder / key.rsplit("/", 1)[-1]
            self.get_file(key, path)
            yield path

    def register(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read this store's `uri()`s lazily, without DuckDB's S3 extension."""
        if self.folder is None:
            from obstore.fsspec import FsspecStore

            # A class of its own, as fsspec strips the class's protocol from the patterns that it globs.
            s3_files = type("S3Files", (FsspecStore,), {"protocol": "s3"})
            connection.register_filesystem(s3_files("s3", **self._s3))

    def _call(self, verb: str, key: str, action: Callable[[], T]) -> T:
        self._check(key, verb)
        try:
            return action()
        except (OSError, BaseError) as error:
            raise translated(error, f"could not {verb} {self.uri(key)}") from error

    def _check(self, key: str, verb: str) -> None:
        if key.startswith("/") or "\0" in key or ".." in key.split("/"):
            raise ConfigurationError(f"could not {verb} {key[:200]!r}: it points out of {self.url}.")


def _stored(meta: Any) -> StoredObject:
    return StoredObject(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])


def _prefix(path: str) -> str | None:
    return path.strip("/") or None
