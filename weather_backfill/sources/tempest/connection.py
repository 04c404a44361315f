"""One tenant's Tempest archive, as the tenant file says it."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from weather_backfill.model.errors import refuse_user
from weather_backfill.model.intervals import Seconds
from weather_backfill.security.reach import Endpoint, Place, ProfileName
from weather_backfill.security.secrets import SecretReference, reveal
from weather_backfill.security.tenant_policy import check_url
from weather_backfill.sources.connection import Connection, plainly
from weather_backfill.storage.object_store import ObjectStore, S3Options, check_s3_url


class TempestConnection(Connection):
    """A Tempest archive: `year=/month=/day=/hour=/*` below `archive_url`; `objects.py` says which objects are read."""

    service: Literal["tempest"] = "tempest"
    archive_url: Place = Field(min_length=1, description="A folder or s3://bucket/prefix")
    endpoint_url: Endpoint | None = None
    region: str | None = Field(None, pattern=r"^[a-z0-9-]{1,40}$")  # it becomes part of a host's name
    profile: ProfileName | None = None
    access_key_id: SecretReference | None = None
    secret_access_key: SecretReference | None = None
    stations: tuple[str, ...] = Field((), description="Stations to expect; one that is silent is then noticed")

    @field_validator("archive_url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if not url.isprintable():
            raise ValueError("expected a folder or s3://bucket/prefix in printable characters")
        plainly(lambda given: refuse_user(given, "the archive's URL"), url)
        if urlsplit(url).scheme == "s3":
            plainly(check_s3_url, url)
        return url

    @field_validator("endpoint_url")
    @classmethod
    def _server(cls, url: str | None) -> str | None:
        return plainly(check_url, url) if url else url

    @model_validator(mode="after")
    def _whole_key_pair(self) -> TempestConnection:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together: give both or none")
        return self

    def stands_for(self, table: pa.Table) -> tuple[Seconds, Seconds]:
        """What each report says of itself in its own rows; see `source.py`."""
        from weather_backfill.sources.tempest.older import lengths_of_reports

        return lengths_of_reports(table), 0

    def archive(self, defaults: S3Options, *, inside: bool = False) -> ObjectStore:
        """The archive's object store; what the connection does not say comes from the platform's settings.

        `inside` refuses links that lead out of a local archive. Listing one that is not there raises `NotFoundError`.
        """
        own_keys = self.access_key_id and self.secret_access_key
        options = S3Options(
            endpoint_url=self.endpoint_url or defaults.endpoint_url,
            region=self.region or defaults.region,
            profile=self.profile or (None if own_keys else defaults.profile),
            access_key_id=reveal(self.access_key_id),
            secret_access_key=reveal(self.secret_access_key),
            confined=True,
            hurry=defaults.hurry,
        )
        return ObjectStore(self.archive_url, options, must_exist=True, inside=inside)
