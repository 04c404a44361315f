"""Remotes and their cache, over a real server and a real folder."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from weather_backfill.model.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotFoundError,
    PermanentError,
    SchemaError,
    SourceUnavailableError,
    UnreadableObjectError,
)
from weather_backfill.sources.dwd.remote import FolderRemote, HttpRemote, open_remote
from weather_backfill.sources.dwd.zip_file import require_zip
from weather_backfill.sources.file_cache import PREFIX, FileCache, unused
from weather_backfill.sources.remote import Fetched, NotModified
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.sources.dwd.files import NEW_YEAR, hourly_zip, put
from weather_backfill_tests.sources.dwd.server import serve

FILE = "hourly/air_temperature/recent/stundenwerte_TU_00433_akt.zip"
ZIP = hourly_zip(433, NEW_YEAR, [1.0, 2.0])


@pytest.fixture
def root(tmp_path):
    put(tmp_path / "tree", FILE, ZIP)
    return tmp_path / "tree"


def test_a_folder_and_a_server_over_it_say_the_same(root) -> None:
    with serve(root) as mirror:
        for remote in (open_remote(root.as_uri()), HttpRemote(mirror.url, wait=0)):
            (entry,) = remote.folder(FILE.rsplit("/", 1)[0])
            assert (entry.name, entry.size) == (FILE.rsplit("/", 1)[1], len(ZIP))
            first = remote.fetch(FILE)
            assert isinstance(first, Fetched)
            assert first.body == ZIP
            assert isinstance(remote.fetch(FILE, first.etag, first.last_modified), NotModified)
            with pytest.raises(NotFoundError):
                remote.fetch("hourly/nothing.zip")
            with pytest.raises(NotFoundError):
                remote.folder("hourly/nothing")


def test_an_empty_folder_is_an_error(root) -> None:
    (root / "hourly/wind/recent").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="is empty"):
        FolderRemote(root).folder("hourly/wind/recent")
    with serve(root) as mirror, pytest.raises(SchemaError, match="no directory listing"):
        HttpRemote(mirror.url, wait=0).folder("hourly/wind/recent")


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [(503, SourceUnavailableError, 4), (429, SourceUnavailableError, 4), (403, AccessDeniedError, 1),
     (404, NotFoundError, 1), (418, PermanentError, 1)],
)  # fmt: skip
def test_statuses_follow_the_taxonomy(root, status, kind, tries) -> None:
    with serve(root) as mirror:
        mirror.fault = lambda path: (status, b"no")
        with pytest.raises(kind, match=str(status)):
            HttpRemote(mirror.url, wait=0).fetch(FILE)
        assert mirror.asked[FILE] == tries


def test_a_hiccup_is_ridden_out(root) -> None:
    with serve(root) as mirror:
        mirror.fault = lambda path: (500, b"") if mirror.asked[path] < 3 else None
        assert isinstance(HttpRemote(mirror.url, wait=0).fetch(FILE), Fetched)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(SourceUnavailableError, match="did not answer"):
        HttpRemote("http://127.0.0.1:9", wait=0).folder("hourly")


def test_other_schemes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected https://"):
        open_remote("s3://bucket")


def test_an_unchanged_file_is_sent_once_and_a_changed_one_again(root, tmp_path) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    with serve(root) as mirror:
        downloads = [FileCache(store, HttpRemote(mirror.url, wait=0), "dwd").fetch(FILE) for _ in range(3)]
        assert [d.body for d in downloads] == [ZIP] * 3
        assert [d.transferred for d in downloads] == [len(ZIP), 0, 0]
        assert (mirror.asked[FILE], mirror.sent[FILE]) == (3, 1)
        newer = hourly_zip(433, NEW_YEAR, [1.0, 2.0, 3.0])
        put(root, FILE, newer)
        assert FileCache(store, HttpRemote(mirror.url, wait=0), "dwd").fetch(FILE).body == newer
    assert len(store.list(PREFIX)) == 2, "the old version is gone"


def test_a_damaged_cache_is_a_miss(root, tmp_path) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    with serve(root) as mirror:
        cache = FileCache(store, HttpRemote(mirror.url, wait=0), "dwd")
        cache.fetch(FILE)
        for stored in store.list(PREFIX):
            store.put(stored.key, b"{" if stored.key.endswith("json") else b"rubbish")
            assert cache.fetch(FILE).body == ZIP
        assert mirror.sent[FILE] == 3


def test_an_error_page_never_gets_into_the_cache(root, tmp_path) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    with serve(root) as mirror:
        cache = FileCache(store, HttpRemote(mirror.url, wait=0), "dwd")
        mirror.fault = lambda path: (200, b"<html><title>Wartung</title></html>")
        with pytest.raises(UnreadableObjectError, match="Wartung"):
            cache.fetch(FILE, lambda body: require_zip(body, FILE))
        assert store.list(PREFIX) == []


def test_without_etag_or_time_nothing_is_cached(root, tmp_path) -> None:
    store = ObjectStore(str(tmp_path / "lake"))
    with serve(root) as mirror:
        mirror.etags = False
        cache = FileCache(store, HttpRemote(mirror.url, wait=0), "dwd")
        cache.fetch(FILE)
        cache.fetch(FILE)
        assert mirror.sent[FILE] == 2


def test_a_download_that_nobody_uses_goes_and_one_in_use_stays(root, tmp_path) -> None:
    """Used is what is asked for, also where the answer is always that nothing has changed."""
    store = ObjectStore(str(tmp_path / "lake"))
    now = datetime.now(UTC)
    with serve(root) as mirror:
        cache = FileCache(store, HttpRemote(mirror.url, wait=0), "dwd")
        for ask in (cache.fetch, cache.digest):
            cache.fetch(FILE)
            [version] = [o.key for o in store.list(PREFIX) if o.key.endswith(".json")]
            document = json.loads(store.get(version))
            store.put(version, json.dumps({**document, "used": "2020-01-01"}).encode())
            for stored in store.list(PREFIX):
                os.utime(tmp_path / "lake" / stored.key, ((now - timedelta(days=31)).timestamp(),) * 2)
            assert len(unused(store, now)) == 2
            ask(FILE)
            assert unused(store, now) == []
        assert unused(store, now + timedelta(days=29)) == []
        assert len(unused(store, now + timedelta(days=31))) == 2
        assert mirror.sent[FILE] == 1
