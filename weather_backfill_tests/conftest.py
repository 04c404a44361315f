"""Fixtures: real data, object stores on disk and on an S3 server process, isolated platforms."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, settings

from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill_tests.examples import USUAL, examples
from weather_backfill_tests.platform import PROJECT, Platform
from weather_backfill_tests.servers import s3_server

# How long an example takes says something of the machine, and of who else is at it, alone.
settings.register_profile("any machine", examples(USUAL), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": os.environ.get("WEATHER_TEST_S3_KEY", "testing"),
    "AWS_SECRET_ACCESS_KEY": os.environ.get("WEATHER_TEST_S3_SECRET", "testing"),
    "AWS_DEFAULT_REGION": "us-east-1",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The end-to-end tests first: they mostly wait, and at the end would leave the other workers idle."""
    items.sort(key=lambda item: "/e2e/" not in item.nodeid)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """No setting of the machine reaches the tests, and no real AWS account."""
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if (name.startswith("WEATHER_") and not name.startswith("WEATHER_TEST")) or name.startswith(
            ("AWS_", "DAGSTER_")
        ):
            patch.delenv(name)
    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files; skips where it is absent."""
    folder = Path(os.environ.get("WEATHER_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real files in {folder}: set WEATHER_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    name = f"weather-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty object store, once on disk and once on the S3 server."""
    if request.param == "local":
        return ObjectStore(str(tmp_path / "store"))
    endpoint, name = request.getfixturevalue("s3_endpoint"), request.getfixturevalue("bucket")
    return ObjectStore(f"s3://{name}/some/prefix", S3Options(endpoint_url=endpoint))


@pytest.fixture(params=["local", "s3"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    """An isolated platform, its lake once on disk and once on the S3 server."""
    if request.param == "local":
        return Platform(tmp_path, str(tmp_path / "lake"))
    endpoint, name = request.getfixturevalue("s3_endpoint"), request.getfixturevalue("bucket")
    environment = {**CREDENTIALS, "WEATHER_S3_ENDPOINT_URL": endpoint}
    return Platform(tmp_path, f"s3://{name}/lake", environment)


def long_on(place: str) -> pytest.MarkDecorator:
    """For a test of minutes that takes `platform`: that lake belongs to `make test-long`, the other to `make test`."""
    other = "s3" if place == "local" else "local"
    return pytest.mark.parametrize("platform", [other, pytest.param(place, marks=pytest.mark.long)], indirect=True)


@pytest.fixture
def local_platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path, str(tmp_path / "lake"))
