"""Object stores on disk and on S3: one behaviour, one set of errors, nothing half written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest

from weather_backfill.lake import layout, parquet
from weather_backfill.model.errors import (
    AccessDeniedError,
    ConfigurationError,
    NotFoundError,
    StorageUnavailableError,
    VerificationError,
)
from weather_backfill.storage import object_store, read_ahead
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.storage.objects import StoredObject
from weather_backfill_tests.refine.test_windows import raw_table
from weather_backfill_tests.servers import free_port


@pytest.fixture
def local(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path / "store"))


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 40_000])
def test_what_is_put_is_got(store: ObjectStore, data: bytes) -> None:
    stored = store.put("a/b.bin", data)
    assert store.get("a/b.bin") == data
    assert (stored.key, stored.size) == ("a/b.bin", len(data))
    assert store.head("a/b.bin") == stored
    assert store.exists("a/b.bin")
    assert store.tail(stored, 10) == data[-10:]
    assert store.tail(stored, 1 << 30) == data


def test_a_large_object_is_uploaded_in_parts_and_comes_back_whole(store: ObjectStore) -> None:
    data = os.urandom(13 << 20)
    assert store.put("large", data).size == len(data)
    assert store.get("large") == data


def test_another_content_has_another_etag(store: ObjectStore) -> None:
    first = store.put("a", b"one")
    second = store.put("a", b"two")
    assert first.etag != second.etag
    assert store.get("a") == b"two"


KEYS = ["a/2", "a/1", "b", "a/sub/3", "ab/4", "a b/\u00e4#+&=%20.json"]


def test_a_listing_is_sorted_and_ends_at_the_folder(store: ObjectStore) -> None:
    for key in KEYS:
        store.put(key, key.encode())
    assert [o.key for o in store.list()] == sorted(KEYS)
    assert [o.key for o in store.list("a")] == ["a/1", "a/2", "a/sub/3"], "a prefix is a folder, not ab/"
    assert [o.key for o in store.list("a/")] == ["a/1", "a/2", "a/sub/3"]
    assert [o.size for o in store.list("a")] == [3, 3, 7]
    assert store.list("nothing") == []
    assert [name for name in store.folders() if name != object_store.STAGING] == ["a", "a b", "ab"]
    assert store.folders("a") == ["sub"]
    assert store.folders("nothing") == []


def test_a_listing_of_few_is_none_where_there_are_more(store: ObjectStore) -> None:
    for name in ("b", "a", "c"):
        store.put(f"x/{name}", b"")
    assert [o.key for o in store.list_if_few("x", 3) or ()] == ["x/a", "x/b", "x/c"]
    assert store.list_if_few("x", 2) is None
    assert store.list_if_few("y", 2) == []


def test_every_listed_object_can_be_read(store: ObjectStore) -> None:
    for key in KEYS:
        store.put(key, key.encode())
    for stored in store.list():
        head = store.head(stored.key)
        assert (head.size, head.etag) == (stored.size, stored.etag)
        assert store.get(stored.key) == stored.key.encode()
    store.delete([stored.key for stored in store.list()])
    assert store.list() == []


def test_deleting_what_is_not_there_is_no_error(store: ObjectStore) -> None:
    store.put("a", b"")
    store.put("b", b"")
    store.delete(["nothing", "a"])
    store.delete("a")
    assert [o.key for o in store.list()] == ["b"]


def test_what_is_not_there_is_named(store: ObjectStore) -> None:
    for look in (store.get, store.head):
        with pytest.raises(NotFoundError, match=r"could not .* .*folder/nothing: it is not there"):
            look("folder/nothing")
    with pytest.raises(NotFoundError), store.local_copy("folder/nothing"):
        pass
    assert not store.exists("folder/nothing")


def test_many_objects_are_read_in_order_and_a_missing_one_is_an_error_among_them(store: ObjectStore) -> None:
    keys = [f"{n * 7919 % 1000:03d}" for n in range(1000)]
    for key in keys[:600]:
        if key != keys[300]:
            store.put(key, key.encode())
    wanted = keys[:600] * 5  # more than the batches that are read ahead
    found = list(store.read_many(iter(wanted)))
    assert [key for key, _ in found] == wanted
    errors = {key for key, content in found if isinstance(content, NotFoundError)}
    assert errors == {keys[300]}
    assert all(content == key.encode() for key, content in found if key != keys[300])
    assert list(store.read_many([])) == []


@pytest.mark.parametrize("size", [1, 1 << 20, read_ahead.BATCH_BYTES, 3 * read_ahead.BYTES_IN_FLIGHT])
def test_bytes_decide_how_much_is_read_ahead(size: int) -> None:
    """Listed sizes alone: nothing so large is made. What has come out and is asked for is no longer counted."""
    listed = [StoredObject(f"{n:04d}", size, None, datetime.now(UTC)) for n in range(3000)]
    lock, begun, taken, most = threading.Lock(), [0], [0], [0]

    def read(keys: list[str]) -> list[str]:
        with lock:
            begun[0] += len(keys)
            most[0] = max(most[0], begun[0] - taken[0])
        return keys

    found = []
    for key in read_ahead.read_ahead(listed, read):
        found.append(key)
        with lock:
            taken[0] = len(found) - 1
    assert found == [stored.key for stored in listed]
    batch = max(min(read_ahead.BATCH_BYTES // size, read_ahead.BATCH_OBJECTS), 1)
    assert most[0] * size <= max(read_ahead.BYTES_IN_FLIGHT + size, 2 * size)
    assert most[0] <= (read_ahead.READ_THREADS + 2) * batch + 1


def test_listed_objects_are_read_as_their_keys_are(store: ObjectStore) -> None:
    for n in range(300):
        store.put(f"folder/{n:03d}", b"x" * n)
    listed = store.list("folder")
    assert list(store.read_many(listed)) == [(stored.key, b"x" * n) for n, stored in enumerate(listed)]


def test_reading_many_may_stop_early(store: ObjectStore) -> None:
    store.put("a", b"1")
    reading = store.read_many(["a"] * 5000)
    assert next(reading) == ("a", b"1")
    reading.close()  # type: ignore[attr-defined]


def test_a_local_copy_holds_the_bytes_and_goes(store: ObjectStore) -> None:
    store.put("folder/part.parquet", b"data")
    with store.local_copy("folder/part.parquet") as path:
        assert path.read_bytes() == b"data"
        assert path.name == "part.parquet"
    assert path.exists() is (store.folder is not None), "a download goes, the lake's own file stays"
    assert store.get("folder/part.parquet") == b"data"


def test_duckdb_reads_lazily(store: ObjectStore) -> None:
    keys = [f"date=2024-01-0{n}/part.parquet" for n in (1, 2)]
    for number, key in enumerate(keys):
        store.put(key, parquet.encode(raw_table([(s, "ST-1", "x", float(number), 1) for s in range(100)]), {}).data)
    with duckdb.connect() as connection:
        store.register(connection)
        relation = connection.read_parquet([store.uri(key) for key in keys])
        assert relation.aggregate("count(*), sum(value)").fetchall() == [(200, 100.0)]
        store.put(keys[0], parquet.encode(raw_table([(s, "ST-1", "x", 5.0, 1) for s in range(10)]), {}).data)
        assert relation.aggregate("count(*), sum(value)").fetchall() == [(110, 150.0)], "nothing was read before"


KILLED = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weather_backfill.storage.object_store import ObjectStore
Path.replace = lambda *_: os._exit(9)  # the process dies between writing and renaming
ObjectStore(sys.argv[1]).put("dataset/part.parquet", b"data")
"""


def test_a_process_that_dies_before_the_rename_leaves_nothing_in_the_dataset(local: ObjectStore) -> None:
    local.put("dataset/part.parquet", b"before")
    died = subprocess.run([sys.executable, "-c", KILLED, str(local.folder)], check=False)
    assert died.returncode == 9
    assert local.get("dataset/part.parquet") == b"before"
    assert [o.key for o in local.list("dataset")] == ["dataset/part.parquet"]
    assert len(local.list(object_store.STAGING)) == 1, "what it left is not in a dataset"


def test_a_write_that_fails_leaves_no_staged_file(local: ObjectStore) -> None:
    local.put("a/part.parquet", b"")
    with pytest.raises(StorageUnavailableError, match="could not write"):
        local.put("a", b"a folder is in the way")
    assert local.list(object_store.STAGING) == []


def test_a_full_disk_is_worth_another_try(local: ObjectStore) -> None:
    """/dev/full answers every write as a full disk does."""
    assert local.folder
    local.folder.mkdir()
    (local.folder / object_store.STAGING).symlink_to("/dev")

    class Full:
        hex = "full"

    patch = pytest.MonkeyPatch()
    patch.setattr(object_store.uuid, "uuid4", Full)
    patch.setattr(Path, "unlink", lambda *_, **__: None)  # not the device
    try:
        with pytest.raises(StorageUnavailableError, match=r"No space left.*free space"):
            local.put("a", b"data")
    finally:
        patch.undo()


@pytest.mark.skipif(os.name != "posix", reason="users of Unix")
def test_a_folder_of_somebody_else_is_access_denied(local: ObjectStore) -> None:
    local.put("a", b"secret")
    assert local.folder
    (local.folder / "a").chmod(0)
    local.folder.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root may read everything
    try:
        for act in (local.get, local.head, lambda key: local.put(key, b"")):
            with pytest.raises(AccessDeniedError, match=r"access denied. Check the credentials"):
                act("a")
    finally:
        os.seteuid(me)
        local.folder.chmod(0o700)


def test_an_endpoint_that_does_not_answer_is_worth_another_try() -> None:
    store = ObjectStore("s3://bucket/prefix", S3Options(endpoint_url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StorageUnavailableError, match=r"could not look at s3://bucket/prefix/a: .*check the endpoint"):
        store.head("a")
    [(key, error)] = store.read_many(["a"])
    assert key == "a"
    assert isinstance(error, StorageUnavailableError)
    assert error.retryable


def test_an_s3_bucket_that_is_not_there_is_not_found(s3_endpoint: str) -> None:
    store = ObjectStore("s3://no-such-bucket-here", S3Options(endpoint_url=s3_endpoint))
    for act in (store.get, store.list, lambda key: store.put(key, b"x")):
        with pytest.raises(NotFoundError):
            act("a")


@pytest.mark.radosgw
@pytest.mark.skipif("WEATHER_TEST_S3_ENDPOINT" not in os.environ, reason="moto checks no credentials: make test-s3")
def test_wrong_s3_credentials_are_access_denied(s3_endpoint: str, bucket: str) -> None:
    wrong = [("nobody", "x"), (os.environ["WEATHER_TEST_S3_KEY"], "wrong")]
    for key, secret in wrong:
        options = S3Options(endpoint_url=s3_endpoint, access_key_id=key, secret_access_key=secret)
        store = ObjectStore(f"s3://{bucket}", options)
        for act in (store.get, store.head, store.list, lambda name, store=store: store.put(name, b"x")):
            with pytest.raises(AccessDeniedError, match="access denied"):
                act("a")


@pytest.mark.radosgw
@pytest.mark.skipif("WEATHER_TEST_S3_ENDPOINT" not in os.environ, reason="a real server: make test-s3")
def test_an_upload_to_s3_is_accepted_and_read_by_another_client(s3_endpoint: str, bucket: str) -> None:
    store = ObjectStore(f"s3://{bucket}", S3Options(endpoint_url=s3_endpoint))
    store.put("a", b"data")
    body = boto3.client("s3", endpoint_url=s3_endpoint).get_object(Bucket=bucket, Key="a")["Body"].read()
    assert body == b"data"


class OtherWriter(ObjectStore):
    """Somebody else writes the same object right after us."""

    def _call(self, verb: str, key: str, action: Any) -> Any:
        result = super()._call(verb, key, action)
        if verb == "write" and self.folder:
            (self.folder / key).write_bytes(b"other")
        return result


def test_an_upload_that_did_not_arrive_whole_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"holds 5 bytes after an upload of 4") as caught:
        OtherWriter(str(tmp_path)).put("a", b"data")
    assert caught.value.retryable


@pytest.mark.parametrize("url", ["gs://bucket", "http://host/folder", "s3://", "s3:///prefix"])
def test_a_url_that_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        ObjectStore(url)


@pytest.fixture
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.mark.usefixtures("_no_credentials")
def test_no_credentials_at_all_say_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="no AWS credentials for s3://bucket: set AWS_ACCESS_KEY_ID"):
        ObjectStore("s3://bucket")


@pytest.mark.usefixtures("_no_credentials")
def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ConfigurationError, match="nobody"):
        ObjectStore("s3://bucket", S3Options(profile="nobody"))


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ObjectStore("lake").uri("a/b") == str(tmp_path / "lake/a/b")
    assert ObjectStore(f"file://{tmp_path}/my%20lake/").uri("a") == str(tmp_path / "my lake/a")
    assert ObjectStore("s3://bucket/prefix/").uri("a") == "s3://bucket/prefix/a"
    assert layout.FILE not in repr(ObjectStore("lake"))


def test_of_many_who_create_an_object_one_wins(store: ObjectStore) -> None:
    bodies = [str(n).encode() for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda body: store.create("a/b.json", body), bodies))
    assert won.count(True) == 1
    assert store.get("a/b.json") == bodies[won.index(True)]
    assert not store.create("a/b.json", b"later")
    assert [stored.key for stored in store.list()] == ["a/b.json"], "nothing is left of the others"


def test_names_are_those_directly_below_the_root(store: ObjectStore) -> None:
    for key in ("b.yaml", "a.yaml", "folder/c.yaml"):
        store.put(key, b"x")
    assert store.names() == ["a.yaml", "b.yaml"]


def test_reading_makes_no_folder_and_a_first_write_does(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    local = ObjectStore(str(folder))
    assert (local.list(), local.list("a"), local.folders(), local.exists("a")) == ([], [], [], False)
    local.delete(["a", "b"])
    for read in (local.get, local.head):
        with pytest.raises(NotFoundError):
            read("a")
    with pytest.raises(NotFoundError):
        local.names()
    assert not folder.parent.exists()
    local.put("a/b", b"x")
    assert [stored.key for stored in local.list()] == ["a/b"]
    assert local.names() == []


def test_what_has_to_be_there_is_told_of(tmp_path: Path) -> None:
    archive = ObjectStore(str(tmp_path / "archive"), must_exist=True)
    for read in (archive.list, archive.folders):
        with pytest.raises(NotFoundError, match="it is not there"):
            read("")
    assert not (tmp_path / "archive").exists()
    (tmp_path / "archive").mkdir()
    assert archive.list() == []


def test_files_of_any_size_go_in_and_out(store: ObjectStore, tmp_path: Path) -> None:
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(os.urandom(13 << 20))
    assert store.put_file("a/large", given).size == 13 << 20
    store.get_file("a/large", got)
    assert got.read_bytes() == given.read_bytes() == store.get("a/large")


def test_many_are_deleted_at_once_whether_they_are_there_or_not(store: ObjectStore) -> None:
    """On S3 in less requests than objects: one for a thousand."""
    keys = [f"a/{n}" for n in range(40)]
    for key in [*keys[::2], "b"]:
        store.put(key, b"x")
    with pytest.MonkeyPatch.context() as patch:
        calls: list[str] = []
        real = store._call
        patch.setattr(store, "_call", lambda verb, key, action: (calls.append(key), real(verb, key, action))[1])
        store.delete(keys)
    assert len(calls) == (40 if store.folder else 1)
    assert [stored.key for stored in store.list()] == ["b"]
    with pytest.raises(ConfigurationError, match="points out of"):
        store.delete(["b", "../b"])
    assert store.exists("b") or store.folder


def test_a_link_that_leads_out_of_a_confined_folder_is_not_followed(tmp_path: Path) -> None:
    """A tenant may write below its folder, and so put a link to another tenant's archive there."""
    for name in ("mine/own", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a").write_bytes(b"x")
    (tmp_path / "mine/theirs").symlink_to(tmp_path / "other")
    (tmp_path / "mine/link").symlink_to(tmp_path / "mine/own")
    confined = ObjectStore(str(tmp_path / "mine"), inside=True)
    assert confined.get("own/a") == confined.get("link/a") == b"x"
    [stored] = [o for o in confined.list("theirs") if o.key == "theirs/a"]
    for read in (confined.get, lambda key: confined.tail(stored, 1)):
        with pytest.raises(AccessDeniedError):
            read("theirs/a")
    with pytest.raises(AccessDeniedError), confined.local_copy("theirs/a"):
        pass
    assert ObjectStore(str(tmp_path / "mine")).get("theirs/a") == b"x"


@pytest.mark.parametrize("url", ["s3://us3r:pa55@bucket/p", "https://us3r:pa55@host/p", "file://us3r:pa55@host/p",
                                 "HTTPS://pa55@host", "https:/us3r:pa55@host", "us3r:pa55@host/p"])  # fmt: skip
def test_a_storage_url_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="user or password") as caught:
        ObjectStore(url)
    assert "pa55" not in str(caught.value)
    assert "us3r" not in str(caught.value)


def test_an_at_sign_in_a_path_is_no_password(tmp_path: Path) -> None:
    assert ObjectStore(f"{tmp_path}/a@b").url.endswith("/a@b")
    assert ObjectStore(f"file://{tmp_path}/a@b").url.endswith("/a@b")


def test_an_endpoint_with_a_password_is_refused_and_not_repeated() -> None:
    options = S3Options("https://us3r:pa55@minio", access_key_id="k", secret_access_key="s")
    with pytest.raises(ConfigurationError, match=r"the S3 endpoint .* user or password") as caught:
        ObjectStore("s3://bucket-a/p", options)
    assert "pa55" not in str(caught.value)
