"""A catalog of its own for every test: an AWS server with the call-noting front before Glue and Athena."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake
from weather_backfill_tests.catalog.front import Front, front_of


@pytest.fixture
def front(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    if "WEATHER_TEST_S3_ENDPOINT" in os.environ:
        pytest.skip("the server given has no Glue")
    with front_of(s3_endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", found.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", found.url)
        yield found


@pytest.fixture
def settings(front: Front, s3_endpoint: str, bucket: str) -> Settings:
    return Settings(
        storage_url=f"s3://{bucket}/lake",
        tenants_url=f"s3://{bucket}/tenants",
        s3_endpoint_url=s3_endpoint,
        catalog_database=f"weather_{uuid.uuid4().hex[:10]}",
    )


@pytest.fixture
def lake(settings: Settings) -> ObjectStore:
    return open_lake(settings)
