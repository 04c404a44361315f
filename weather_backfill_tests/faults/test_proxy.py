"""The faulty S3 server spoils what it is told to, and nothing else."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
import requests

from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill_tests.faults.proxy import FaultyProxy

KEY = "raw_observations/service=tempest/tenant=acme/date=2024-01-01/part.parquet"
SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""What the light server takes for a signature: it looks only whether there is one."""


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[FaultyProxy]:
    with FaultyProxy.running(s3_endpoint) as running:
        yield running


def test_each_kind_as_a_client_sees_it(proxy: FaultyProxy, s3_endpoint: str, bucket: str) -> None:
    whole = b"x" * 1000
    ObjectStore(f"s3://{bucket}/lake", S3Options(endpoint_url=s3_endpoint)).put(KEY, whole)
    url = f"{proxy.url}/{bucket}/lake/{KEY}"
    client = requests.Session()
    client.headers["Authorization"] = SIGNED
    etag = client.head(url, timeout=10).headers["etag"]
    proxy.spoil("refine", "SlowDown", 2)
    assert [client.get(url, timeout=10).status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert proxy.heal() == 2
    proxy.spoil("refine", "404", 1)
    assert "NoSuchKey" in client.get(url, timeout=10).text
    proxy.spoil("refine", "truncated body", 1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError, http.client.HTTPException)):
        client.get(url, timeout=10)
    proxy.spoil("verify", "stale ETag", 1)
    assert [client.head(url, timeout=10).headers["etag"] == etag for _ in range(2)] == [False, True]
    proxy.spoil("write", "answer lost", 1)
    with pytest.raises(requests.ConnectionError):
        client.put(url, b"new", timeout=10)
    assert proxy.heal() == 1
    assert client.get(url, timeout=10).content == b"new", "the object is there, the answer was not"


def test_the_store_gets_over_a_slow_down(proxy: FaultyProxy, bucket: str) -> None:
    store = ObjectStore(f"s3://{bucket}/lake", S3Options(endpoint_url=proxy.url))
    proxy.spoil("write", "SlowDown", 1)
    assert store.put(KEY, b"day").size == 3
    assert proxy.heal() == 2
