"""Dagster resources: the lake and the tenants, configured from settings, S3 through dagster-aws."""

# No `from __future__ import annotations`: Dagster reads a resource's annotations when the class is made.

from functools import cached_property

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.tenants.files import TenantRegistry


def s3_options(s3: S3Resource, checksums: bool = True) -> S3Options:
    """The options of dagster-aws's S3 resource; those that it leaves unset come from the AWS variables."""
    return S3Options(
        endpoint_url=s3.endpoint_url,
        region=s3.region_name,
        profile=s3.profile_name,
        access_key_id=s3.aws_access_key_id,
        secret_access_key=s3.aws_secret_access_key,
        session_token=s3.aws_session_token,
        checksums=checksums,
    )


class LakeResource(dg.ConfigurableResource):
    """The lake's object store."""

    storage_url: str = Field(description="A folder or s3://bucket/prefix")
    s3_checksums: bool = Field(True, description="Whether uploads carry a SHA-256")
    s3: dg.ResourceDependency[S3Resource]

    @cached_property
    def store(self) -> ObjectStore:
        """The opened store."""
        return ObjectStore(self.storage_url, s3_options(self.s3, self.s3_checksums))


class TenantsResource(dg.ConfigurableResource):
    """The tenant files."""

    tenants_url: str = Field(description="A folder or s3://bucket/prefix")
    s3: dg.ResourceDependency[S3Resource]

    @cached_property
    def registry(self) -> TenantRegistry:
        """The registry over the tenant files."""
        return TenantRegistry(ObjectStore(self.tenants_url, s3_options(self.s3)))

    @property
    def s3_defaults(self) -> S3Options:
        """S3 options for connections that set none of their own."""
        return s3_options(self.s3)
