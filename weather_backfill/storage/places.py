"""Opens the platform's two places: the lake and the tenant files."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from weather_backfill.storage.object_store import ObjectStore, S3Options


class Places(Protocol):
    """Settings with the URLs of the lake and the tenant files, and the S3 options."""

    @property
    def storage_url(self) -> str:
        """The lake: a folder or `s3://bucket/prefix`."""
        ...

    @property
    def tenants_url(self) -> str:
        """The tenant files: a folder or `s3://bucket/prefix`."""
        ...

    @property
    def s3(self) -> S3Options:
        """The S3 options of both."""
        ...


def open_lake(places: Places) -> ObjectStore:
    """Open the lake's object store; raises `ConfigurationError` for an invalid URL or missing credentials."""
    return _opened(places.storage_url, places.s3)


def open_tenant_files(places: Places) -> ObjectStore:
    """Open the object store with the tenant files; raises as `open_lake`."""
    return _opened(places.tenants_url, places.s3)


@lru_cache(maxsize=32)
def _opened(url: str, s3: S3Options) -> ObjectStore:
    """Open each place once: session, credentials and connections are reused."""
    return ObjectStore(url, s3)
