"""What an S3 server lacks is found out, said by name, and costs no row."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from weather_backfill.model.errors import MissingFeatureError
from weather_backfill.settings import Settings
from weather_backfill.storage import s3
from weather_backfill.storage.abilities import Abilities
from weather_backfill.storage.conditional import exclusive, put_if
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill_tests.storage.lacking_server import lacking

CHECKSUM = "x_amz_checksum_sha256"


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's client asks again after 501, with pauses."""
    real = s3.s3_arguments
    monkeypatch.setattr(
        "weather_backfill.storage.object_store.s3_arguments",
        lambda *given: real(*given) | {"retry_config": {"max_retries": 0}},
    )


@pytest.mark.parametrize(
    ("lacks", "has"),
    [
        ({}, Abilities(create_only=True, if_match=True)),
        ({"If_Match": 412}, Abilities(create_only=True, if_match=False)),  # Ceph's gateway
        ({"If_Match": 501}, Abilities(create_only=True, if_match=False)),
        ({"If_Match": "ignored", "If_None_Match": "ignored"}, Abilities(create_only=False, if_match=False)),
        ({"If_Match": 501, "If_None_Match": 501}, Abilities(create_only=False, if_match=False)),
    ],
)
def test_conditions_are_tried_out_once_and_updates_are_not_lost_without_them(
    lacks: dict[str, object], has: Abilities, caplog: pytest.LogCaptureFixture
) -> None:
    with lacking(**lacks) as endpoint, caplog.at_level(logging.INFO):
        store = ObjectStore("s3://bucket/lake", S3Options(endpoint_url=endpoint))
        assert store.abilities == has
        assert ObjectStore("s3://bucket/lake", S3Options(endpoint_url=endpoint)).abilities == has
        assert [r.message for r in caplog.records if "If-Match" in r.message] == [
            f"s3://bucket/lake: create-only writes {'work' if has.create_only else 'do not work'}, "
            f"If-Match {'works' if has.if_match else 'does not work'}"
        ]
        assert store.list() == [], "what was tried is gone"

        def add(_: int) -> None:
            with exclusive(store, "sum") as held:
                seen = held.look()
                held.put(b"%d" % (int(seen.data if seen else 0) + 1), seen)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(add, range(6)))
        assert store.get("sum") == b"6"
        put_if(store, "other", b"1", None)
        if has.create_only:
            assert [store.create("new", b"x"), store.create("new", b"y")] == [True, False]
        else:
            with pytest.raises(MissingFeatureError, match=r"create-only writes \(If-None-Match") as caught:
                store.create("new", b"x")
            assert not caught.value.retryable


@pytest.mark.parametrize("answer", [400, 501])
def test_a_server_without_checksums_is_named_and_can_be_used_without(answer: int) -> None:
    with lacking(**{CHECKSUM: answer}) as endpoint:
        store = ObjectStore("s3://bucket/lake", S3Options(endpoint_url=endpoint))
        for write in (lambda: store.put("a", b"1"), lambda: store.create("b", b"1")):
            with pytest.raises(MissingFeatureError, match="WEATHER_S3_CHECKSUMS=false") as caught:
                write()
            assert not caught.value.retryable
        options = Settings(s3_endpoint_url=endpoint, s3_checksums=False).s3
        without = ObjectStore("s3://bucket/lake", options)
        assert without.put("a", b"1").size == 1
        assert without.create("b", b"1")
