"""One tenant's Tempest archive, as the tenant file says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from weather_backfill.connections import Connection, SecretReference, reveal
from weather_backfill.lake.storage import ObjectStore, S3Options


class TempestConnection(Connection):
    """A Tempest archive: `year=/month=/day=/hour=/*.json[.gz]` below `archive_url`."""

    service: Literal["tempest"] = "tempest"
    archive_url: str = Field(min_length=1, description="A folder or s3://bucket/prefix")
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: SecretReference | None = None
    secret_access_key: SecretReference | None = None
    stations: tuple[str, ...] = Field((), description="Stations to expect; one that is silent is then noticed")

    @model_validator(mode="after")
    def _whole_key_pair(self) -> TempestConnection:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together: give both or none")
        return self

    def archive(self, defaults: S3Options) -> ObjectStore:
        """The archive's object store; what the connection does not say comes from the platform's settings."""
        own_keys = self.access_key_id and self.secret_access_key
        options = S3Options(
            endpoint_url=self.endpoint_url or defaults.endpoint_url,
            region=self.region or defaults.region,
            profile=self.profile or (None if own_keys else defaults.profile),
            access_key_id=reveal(self.access_key_id),
            secret_access_key=reveal(self.secret_access_key),
        )
        return ObjectStore(self.archive_url, options)
