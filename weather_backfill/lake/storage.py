"""One object-store interface for a local folder and S3; the only module that talks to either.

A write is atomic: S3 shows an object when its upload is complete, and a local file is staged below
`_staging/` and renamed into place, so a reader never sees half an object and a killed process leaves nothing
inside a dataset. Errors of the store come out as our taxonomy (`errors.py`).
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import duckdb
import obstore
from obstore.exceptions import AlreadyExistsError as StoreAlreadyExistsError
from obstore.exceptions import (
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.exceptions import NotFoundError as StoreNotFoundError
from obstore.store import LocalStore, S3Store

from weather_backfill.errors import (
    AccessDeniedError,
    AlreadyThereError,
    ConfigurationError,
    NotFoundError,
    StorageUnavailableError,
    VerificationError,
    WeatherError,
)

STAGING = "_staging"
_NO_PROXY = "http://127.0.0.1:9"  # the port of "discard", where nothing listens
READ_THREADS = 8  # measured best for small objects on two cores; more only adds contention
_LIST_CHUNK = 5000
_READ_BATCH = 256

T = TypeVar("T")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a listing or a head says of an object; `key` is relative to the store's root."""

    key: str
    size: int
    etag: str | None
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach S3; what is None comes from the usual AWS variables, profile or instance role."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    confined: bool = False
    """Whether a plain-HTTP server must not lead elsewhere, as for a server that a tenant names."""
    hurry: bool = False
    """Whether to give a server that is slow or down up soon."""


# The class below has a method named `list`.
Listing = list[StoredObject]
Names = list[str]
Results = list


class ObjectStore:
    """Objects below one URL: `file:///folder`, a plain path, or `s3://bucket/prefix`."""

    def __init__(self, url: str, s3: S3Options | None = None) -> None:
        self.url = url.rstrip("/")
        self.folder: Path | None = None
        parts = urlsplit(url)
        if parts.scheme == "s3":
            check_s3_url(url)
            self._s3 = _s3_arguments(parts.netloc, s3 or S3Options())
            self._store: Any = self._opened(lambda: S3Store(parts.netloc, prefix=_prefix(parts.path), **self._s3))
        elif parts.scheme in ("", "file"):
            self.folder = Path(unquote(parts.path) if parts.scheme else url).expanduser().absolute()
            self._store = self._opened(lambda: LocalStore(str(self.folder), mkdir=True))
        else:
            raise ConfigurationError(
                f"storage URL {url!r} has the scheme {parts.scheme!r}: expected a folder, file:///folder "
                "or s3://bucket/prefix."
            )

    def _opened(self, make: Callable[[], T]) -> T:
        try:
            return make()
        except (OSError, BaseError, ValueError) as error:
            raise ConfigurationError(f"cannot open {self.url!r}: {_first_line(error)}.") from error

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    def uri(self, key: str) -> str:
        """The full address of an object, for people and metadata."""
        return f"{self.folder / key}" if self.folder else f"{self.url}/{key}"

    def contains(self, url: str) -> bool:
        """Whether another storage URL is this one or lies below it; links are followed, endpoints not compared."""
        own, other = _place(self.url), _place(url)
        return own[0] == other[0] and other[1][: len(own[1])] == own[1]

    def put(self, key: str, data: bytes) -> StoredObject:
        """Write an object atomically, replacing what was there, and verify that it arrived whole."""
        if self.folder:
            self._call("write", key, lambda: self._put_local(key, data, Path.replace))
        else:
            self._call("write", key, lambda: obstore.put(self._store, key, data))
        stored = self.head(key)
        expected = len(data)
        if stored.size != expected:
            raise VerificationError(
                f"{self.uri(key)} holds {stored.size} bytes after an upload of {expected}: another writer or "
                "a faulty store. The day will be written again."
            )
        return stored

    def create(self, key: str, data: bytes) -> bool:
        """Write an object atomically unless there is one; whether it was written. Of many writers one wins."""
        try:
            if self.folder:
                self._call("write", key, lambda: self._put_local(key, data, lambda new, to: os.link(new, to)))
            else:
                self._call("write", key, lambda: obstore.put(self._store, key, data, mode="create"))
        except AlreadyThereError:
            return False
        return True

    def _put_local(self, key: str, data: bytes, place: Callable[[Path, Path], Any]) -> None:
        assert self.folder
        staged, target = self.folder / STAGING / uuid.uuid4().hex, self.folder / key
        staged.parent.mkdir(parents=True, exist_ok=True)
        try:
            with staged.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            place(staged, target)
        finally:
            staged.unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        """The whole object; raises `NotFoundError` if it is not there."""
        if self.folder:
            path = self.folder / key
            return self._call("read", key, lambda: path.read_bytes())
        return self._call("read", key, lambda: bytes(obstore.get(self._store, key).bytes()))

    def tail(self, stored: StoredObject, size: int) -> bytes:
        """The last `size` bytes of an object (all of a smaller one): where a Parquet file keeps its footer."""
        start = max(0, stored.size - size)
        if start == stored.size:
            return b""  # no range of an empty object is valid
        if self.folder:
            path = self.folder / stored.key
            return self._call("read", stored.key, lambda: _range(path, start, stored.size))
        return self._call(
            "read", stored.key, lambda: bytes(obstore.get_range(self._store, stored.key, start=start, end=stored.size))
        )

    def head(self, key: str) -> StoredObject:
        """Size, ETag and time of an object; raises `NotFoundError` if it is not there."""
        return _stored(self._call("look at", key, lambda: obstore.head(self._store, key)))

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            self.head(key)
        except NotFoundError:
            return False
        return True

    def delete(self, keys: str | Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        for key in [keys] if isinstance(keys, str) else keys:
            try:
                self._call("delete", key, partial(obstore.delete, self._store, key))
            except NotFoundError:
                continue  # somebody else deleted it: that is what was wanted

    def list(self, prefix: str = "") -> Listing:
        """All objects below a folder-like prefix, sorted by key; empty if there are none."""

        def collect() -> Listing:
            chunks = obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=_LIST_CHUNK)
            return [_stored(meta) for chunk in chunks for meta in chunk]

        return sorted(self._call("list", prefix, collect), key=lambda o: o.key)

    def names(self) -> Names:
        """The names of the objects directly below the root, sorted; files with impossible names among them."""
        folder = self.folder
        if folder:
            return sorted(self._call("list", "", lambda: [e.name for e in os.scandir(folder) if e.is_file()]))
        found = self._call("list", "", lambda: obstore.list_with_delimiter(self._store))
        return sorted(_stored(meta).key for meta in found["objects"])

    def folders(self, prefix: str = "") -> Names:
        """The names of the folders directly below a prefix, sorted."""
        found = self._call("list", prefix, lambda: obstore.list_with_delimiter(self._store, prefix.rstrip("/") or None))
        return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in found["common_prefixes"])

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | WeatherError]]:
        """Read many small objects concurrently, in order; an object that fails yields its error.

        Local files are read in this thread: opening a file takes less time than handing it to another.
        Memory holds a few batches, not all objects.
        """
        if self.folder:
            for key in keys:
                yield key, self._attempt(key)
            return
        remaining = iter(keys)
        with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read") as pool:
            pending = [pool.submit(self._read_batch, batch) for batch in _batches(remaining, READ_THREADS + 2)]
            while pending:
                yield from pending.pop(0).result()
                pending += [pool.submit(self._read_batch, batch) for batch in _batches(remaining, 1)]

    def each(self, work: Callable[[Item], T], items: Iterable[Item]) -> Results[T]:
        """`work` on every item, in order; at once where that is waiting for a network, as in `read_many`."""
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
        """A local path with the object's bytes: the file itself, or a temporary download from S3."""
        if self.folder:
            self.head(key)
            yield self.folder / key
            return
        with tempfile.TemporaryDirectory(prefix="weather-") as folder:
            path = Path(folder) / key.rsplit("/", 1)[-1]
            path.write_bytes(self.get(key))
            yield path

    def register(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read this store's `uri()`s lazily, without DuckDB's S3 extension."""
        if self.folder is None:
            from obstore.fsspec import FsspecStore

            # As a class of its own, for fsspec strips a class's protocol from the patterns that it globs.
            of_s3 = type("S3Files", (FsspecStore,), {"protocol": "s3"})
            connection.register_filesystem(of_s3("s3", **self._s3))

    def _call(self, verb: str, key: str, action: Callable[[], T]) -> T:
        if key.startswith("/") or "\0" in key or ".." in key.split("/"):
            raise ConfigurationError(f"could not {verb} {key[:200]!r}: it points out of {self.url}.")
        try:
            return action()
        except (OSError, BaseError) as error:
            raise _translated(error, f"could not {verb} {self.uri(key)}") from error


# Some operations of obstore raise its GenericError for these, with the system's or the server's words in it.
_NOT_THERE = ("<Code>NoSuchBucket</Code>",)
_DENIED = ("(os error 13)", "status code: 401 ", "status code: 403 ")


def _translated(error: OSError | BaseError, what: str) -> WeatherError:
    """An error of the store in our taxonomy."""
    text = str(error)
    if isinstance(error, (FileNotFoundError, StoreNotFoundError)) or any(words in text for words in _NOT_THERE):
        return NotFoundError(f"{what}: it is not there.")
    if isinstance(error, (FileExistsError, StoreAlreadyExistsError)):
        return AlreadyThereError(f"{what}: there is one already.")
    denied = isinstance(error, (PermissionError, PermissionDeniedError, UnauthenticatedError))
    if denied or any(words in text for words in _DENIED):
        return AccessDeniedError(
            f"{what}: access denied. Check the credentials and that they reach this folder or bucket."
        )
    if isinstance(error, NotSupportedError):
        return ConfigurationError(f"{what}: {error}")
    return StorageUnavailableError(
        f"{what}: {_first_line(error)}. Worth another try; if it stays, check the endpoint, the network and free space."
    )


def _range(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), stop - start, start)


def _place(url: str) -> tuple[str, tuple[str, ...]]:
    """Where a storage URL points: the bucket, or "" for a folder, and the parts of the path."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return parts.netloc, tuple(part for part in unquote(parts.path).split("/") if part not in ("", "."))
    folder = Path(unquote(parts.path) if parts.scheme else url).expanduser().resolve()
    return "", folder.parts


def _batches(keys: Iterator[str], most: int) -> list[list[str]]:
    return [batch for _ in range(most) if (batch := list(islice(keys, _READ_BATCH)))]


def _stored(meta: Any) -> StoredObject:
    return StoredObject(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])


_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def check_s3_url(url: str) -> None:
    """Raise `ConfigurationError` for what is no `s3://bucket/prefix` in plain characters that stays in its bucket."""
    parts = urlsplit(url)
    names = parts.path.strip("/").split("/")
    strange = parts.query or parts.fragment or "\\" in url or not url.isprintable() or {".", ".."} & set(names)
    if strange or not _BUCKET.fullmatch(parts.netloc) or ("" in names and len(names) > 1):
        raise ConfigurationError(
            f"{url[:200]!r} is not allowed: an S3 URL needs a bucket: expected s3://bucket/prefix."
        )


def _prefix(path: str) -> str | None:
    return path.strip("/") or None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def _s3_arguments(bucket: str, options: S3Options) -> dict[str, Any]:
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = boto3.Session(
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
            profile_name=options.profile,
            region_name=options.region,
        )
        credentials = session.get_credentials()
    except BotoCoreError as error:  # a profile that is not there, half a key pair
        raise ConfigurationError(f"no AWS credentials for s3://{bucket}: {error}") from error
    if credentials is None:
        raise ConfigurationError(
            f"no AWS credentials for s3://{bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, "
            "or run where an instance role applies."
        )
    env = os.environ
    endpoint = options.endpoint_url or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    config: dict[str, Any] = {"region": session.region_name or "us-east-1", "checksum_algorithm": "SHA256"}
    if endpoint:
        config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    plain = bool(endpoint and endpoint.startswith("http://"))
    client: dict[str, Any] = {"allow_http": plain, "timeout": "10s" if options.hurry else "60s"}
    if plain and options.confined:
        # The store's client follows redirects. Over HTTPS alone they cannot reach a metadata endpoint; over plain
        # HTTP everything but this server goes through a proxy that is not there.
        client |= {"proxy_url": _NO_PROXY, "proxy_excludes": urlsplit(str(endpoint)).hostname}
    return {
        "config": config,
        "client_options": client,
        "retry_config": {"max_retries": 0 if options.hurry else 4},
        "credential_provider": Boto3CredentialProvider(session),
    }
