"""What a tenant's file may name: folders, servers and secrets, with the addresses that are refused always."""

from __future__ import annotations

import http.server
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.http.client import Policy, PoliteClient
from weather_backfill.http.rate_limit import Rate
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill.model.days import DayFailure
from weather_backfill.model.errors import AccessDeniedError, ConfigurationError, WeatherError
from weather_backfill.security.reach import Reach
from weather_backfill.security.tenant_policy import TenantPolicy, check_address, check_url, literal
from weather_backfill.settings import Settings
from weather_backfill.sources.dwd.remote import open_remote
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore, S3Options, check_s3_url
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import Tenant, parse_tenant

METADATA = [
    "169.254.169.254", "169.254.170.2", "2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "169.254.43518",
    "169.16689662",
    "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]",
    "[fe80::1]", "[::169.254.169.254]", "metadata.google.internal", "METADATA.google.internal.", "metadata",
    "instance-data.ec2.internal", "100.100.100.200", "168.63.129.16", "192.0.0.192", "3221225664",
    "[::ffff:192.0.0.192]",
    "[::ffff:100.100.100.200]", "[::ffff:168.63.129.16]", "[64:ff9b::192.0.0.192]", "[64:ff9b:1::a9fe:a9fe]",
    "[fd00:ec2::23]", "[fd00:ec2:0::fd]", "[fd20:ce::254]", "169.254.0.23", "[fe80::a9fe:a9fe]",
]  # fmt: skip
STRANGE = [
    "http://good.example\\@169.254.169.254/", "http://user:pass@good.example/", "http://\u2460\u2465\u2468.254.169.254/",
    "http://%31%36%39.254.169.254/", "http://good.example\t/", "http:///x", "ftp://good.example/", "good.example", "",
    "http://good.example:99999/", "http://good.example:0/", "http://[::1", "http://good.example/\n", "http://a b/",
    "http://1.2.3.4.5/", "https://h?x=1", "https://h#x", "http://0x/",
]  # fmt: skip


@pytest.mark.parametrize("host", METADATA)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_metadata_endpoints_are_refused_however_they_are_written(host: str, scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="metadata endpoint or link-local"):
        check_url(f"{scheme}://{host}:80/latest/meta-data/")


@pytest.mark.parametrize("url", STRANGE)
def test_addresses_that_readers_understand_differently_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not an allowed URL|neither a name"):
        check_url(url)


@given(
    st.integers(0, 2**16 - 1),
    st.sampled_from(["{a}.{b}.{c}.{d}", "{n}", "{n:#x}", "0{a:o}.0{b:o}.{c}.{d}", "{a}.{rest}"]),
)
def test_no_spelling_of_a_link_local_address_passes(low: int, form: str) -> None:
    n = (169 << 24) + (254 << 16) + low
    host = form.format(a=169, b=254, c=low >> 8, d=low & 255, n=n, rest=n & 0xFFFFFF)
    with pytest.raises(ConfigurationError, match="metadata"):
        check_url(f"http://{host}/")


@given(st.ip_addresses())
def test_private_addresses_pass_unless_they_are_refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    try:
        check_address(address, "host")
    except ConfigurationError:
        return
    if not address.is_global:
        with pytest.raises(ConfigurationError, match="WEATHER_PRIVATE_ADDRESSES"):
            check_address(address, "host", private=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.0.0.5", "192.168.1.1", "0.0.0.0", "[fd12::1]", "[::ffff:10.0.0.1]"]
)
def test_loopback_and_private_addresses_are_a_setting(host: str) -> None:
    check_url(f"http://{host}:9000/")
    with pytest.raises(ConfigurationError, match="private address"):
        check_url(f"http://{host}:9000/", private=False)


def test_a_name_is_no_address() -> None:
    assert literal("opendata.dwd.de") is None
    assert literal("2001:db8::1") == ipaddress.ip_address("2001:db8::1")


@contextmanager
def server(status: int, headers: dict[str, str], body: bytes = b"") -> Iterator[tuple[int, list[str]]]:
    """A server that answers all requests alike; its port and the paths that it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running.server_port, asked
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


OBJECT = {"etag": '"x"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}


def client(url: str, **options: Any) -> PoliteClient:
    policy = Policy(retry_waits=())
    return PoliteClient("dwd", url, state=MemoryState(), rate=Rate(1000), policy=policy, **options)


def test_a_name_that_leads_to_a_refused_address_is_not_sent_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name passes; what it resolves to when the connection is made does not."""
    with server(200, {}, b"secret") as (port, asked):
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: real("127.0.0.1" if host == "rebound.example" else host, *a, **k),
        )
        assert client(f"http://rebound.example:{port}").get("/x").body == b"secret"
        asked.clear()
        with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1\) is a private address"):
            client(f"http://rebound.example:{port}", private=False).get("/x")
        assert asked == []


def test_an_http_source_follows_no_redirect() -> None:
    with (
        server(200, {}, b"secret") as (inner, asked),
        server(302, {"location": f"http://127.0.0.1:{inner}/"}) as (port, _),
    ):
        with pytest.raises(WeatherError, match="a redirect to"):
            client(f"http://127.0.0.1:{port}").get("/x")
        assert asked == []


def test_an_archives_server_cannot_lead_elsewhere() -> None:
    """What a redirect led to would be read as a message and filed among the tenant's rejects."""
    with server(200, OBJECT, b"secret") as (inner, asked):
        with server(307, {"location": f"http://localhost:{inner}/latest/meta-data/"}) as (port, _):
            open_store = ObjectStore("s3://bucket/x", S3Options(endpoint_url=f"http://127.0.0.1:{port}"))
            assert open_store.get("a") == b"secret", "this is what has to be prevented"
            asked.clear()
            confined = S3Options(endpoint_url=f"http://127.0.0.1:{port}", confined=True)
            with pytest.raises(WeatherError, match="could not read"):
                ObjectStore("s3://bucket/x", confined).get("a")
            assert asked == []
        own = S3Options(endpoint_url=f"http://127.0.0.1:{inner}", confined=True)
        assert ObjectStore("s3://bucket/x", own).get("a") == b"secret"


@pytest.mark.parametrize(
    "url", ["s3://bucket/acme/../borealis", "s3://bucket/./x", "s3://b/x?y", "s3://b/x#y", "s3://bu cket/x", "s3:///x",
            "s3://bucket/a//b", "s3://u@host/x", "s3://bucket/a\\..\\b", "s3://bucket/a\nb"]
)  # fmt: skip
def test_a_bucket_and_prefix_are_plain(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected s3://bucket/prefix"):
        check_s3_url(url)


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a\0b"])
def test_a_key_stays_in_its_store(store: ObjectStore, key: str) -> None:
    for action in (store.get, store.head, store.delete, store.list, lambda k: store.put(k, b"x")):
        with pytest.raises(ConfigurationError, match="points out of"):
            action(key)


def tenant(service: str, **connection: Any) -> Tenant:
    return parse_tenant(json.dumps({"id": "acme", "services": {service: connection}}).encode(), "acme.yaml", "acme")


def opened(settings: Settings, service: str, **connection: Any) -> Any:
    return open_source(tenant(service, **connection), service, open_lake(settings), settings.s3, settings)


@pytest.fixture
def bucket_settings(tmp_path: Path) -> Settings:
    """A platform whose tenant files come from a bucket."""
    return Settings(storage_url=str(tmp_path / "lake"), tenants_url="s3://somewhere/tenants")


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/../archive", "{}/link"])
def test_folders_are_for_tenant_files_in_a_folder(tmp_path: Path, bucket_settings: Settings, form: str) -> None:
    archive, other = tmp_path / "archive", tmp_path / "other"
    archive.mkdir()
    other.mkdir()
    (archive / "link").symlink_to(other)
    url = form.format(archive)
    local = bucket_settings.model_copy(update={"tenants_url": str(tmp_path / "tenants")})
    opened(local, "tempest", archive_url=url)
    for refusing in (bucket_settings, local.model_copy(update={"tenant_folders": [str(tmp_path / "none")]})):
        with pytest.raises(ConfigurationError, match=r"'acme' may not read the folder .*WEATHER_TENANT_FOLDERS"):
            opened(refusing, "tempest", archive_url=url)
    allowed = bucket_settings.model_copy(update={"tenant_folders": [str(archive)]})
    if "link" in form:
        with pytest.raises(ConfigurationError, match="WEATHER_TENANT_FOLDERS"):
            opened(allowed, "tempest", archive_url=url)
    else:
        opened(allowed, "tempest", archive_url=url)


def test_a_mirror_of_dwd_is_a_folder_too(tmp_path: Path, bucket_settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="WEATHER_TENANT_FOLDERS"):
        opened(bucket_settings, "dwd", stations="all", base_url=tmp_path.as_uri())


SECRETS = {"access_key_id": "${ACME_KEY}", "secret_access_key": "${ACME_SECRET}"}


def test_a_file_from_a_bucket_names_only_the_secrets_that_are_granted(
    bucket_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_KEY", "key")
    monkeypatch.setenv("ACME_SECRET", "secret")
    with pytest.raises(ConfigurationError, match=r'may not use ACME_KEY.*\{"acme": \["ACME_KEY"\]\}'):
        opened(bucket_settings, "tempest", archive_url="s3://acme/x", **SECRETS)
    others = bucket_settings.model_copy(update={"tenant_secrets": {"borealis": ["ACME_KEY", "ACME_SECRET"]}})
    with pytest.raises(ConfigurationError, match="may not use ACME_KEY"):
        opened(others, "tempest", archive_url="s3://acme/x", **SECRETS)
    granted = bucket_settings.model_copy(update={"tenant_secrets": {"acme": ["ACME_KEY", "ACME_SECRET"]}})
    opened(granted, "tempest", archive_url="s3://acme/x", **SECRETS)
    with pytest.raises(ConfigurationError, match="may not use profile:borealis"):
        opened(granted, "tempest", archive_url="s3://acme/x", profile="borealis")


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "WEATHER_LIMITS_URL", "DAGSTER_PG_PASSWORD"])
def test_no_file_names_the_platforms_own_variables(tmp_path: Path, name: str) -> None:
    """With an address of its own choice beside it, a tenant would be sent the platform's password."""
    settings = Settings(storage_url=str(tmp_path / "lake"), tenants_url=str(tmp_path / "tenants"))
    with pytest.raises(ConfigurationError, match=f"may not use the variable {name}"):
        opened(settings, "aceiot", base_url="https://evil.example/api", api_key=f"${{{name}}}", sites=["x"])


def test_a_file_from_a_bucket_names_no_plain_server_but_the_platforms(bucket_settings: Settings) -> None:
    """Plain HTTP could be led anywhere, and would carry the platform's session to whoever listens."""
    with pytest.raises(ConfigurationError, match="https:// endpoints only"):
        opened(bucket_settings, "tempest", archive_url="s3://acme/x", endpoint_url="http://127.0.0.1:9000")
    own = bucket_settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9000"})
    opened(own, "tempest", archive_url="s3://acme/x", endpoint_url="http://127.0.0.1:9000")


@pytest.mark.parametrize("region", ["evil.example/#", "x.evil.example", "a b", "", "EU"])
def test_a_region_is_no_part_of_an_address(region: str) -> None:
    with pytest.raises(ConfigurationError, match="region"):
        tenant("tempest", archive_url="s3://acme/x", region=region)


def test_an_endpoints_name_is_resolved_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ConfigurationError, match=r"innocent\.example \(169\.254\.169\.254\) is a metadata endpoint"):
        TenantPolicy().check("acme", Reach(endpoint="https://innocent.example"))


@pytest.mark.parametrize("service", ["aceiot", "dwd"])
def test_a_file_from_a_bucket_names_no_server_over_plain_http(bucket_settings: Settings, service: str) -> None:
    """A key would go out in clear."""
    own = {"aceiot": {"api_key": "${ACME_KEY}", "sites": ["x"]}, "dwd": {"stations": "all"}}[service]
    granting = bucket_settings.model_copy(update={"tenant_secrets": {"acme": ["ACME_KEY"]}})
    reach = tenant(service, base_url="http://api.example.com/api", **own).connection(service).reach()
    with pytest.raises(ConfigurationError, match=r"'acme' may not use the server http://api\.example\.com/api"):
        granting.tenant_policy().check("acme", reach)
    safe = tenant(service, base_url="https://api.example.com/api", **own).connection(service).reach()
    granting.tenant_policy().check("acme", safe)
    granting.model_copy(update={"tenants_url": "tenants", "tenant_secrets": None}).tenant_policy().check("acme", reach)


def test_links_do_not_lead_out_of_a_folder_that_a_tenant_may_name(tmp_path: Path, bucket_settings: Settings) -> None:
    day = date(2024, 1, 1)
    write_archive(SimulatedArchive("other", day, day, 1, 3, 60), ObjectStore(str(tmp_path / "other")))
    mine = tmp_path / "allowed" / "acme"
    mine.mkdir(parents=True)
    (mine / "year=2024").symlink_to(tmp_path / "other" / "year=2024")
    allowed = bucket_settings.model_copy(update={"tenant_folders": [str(tmp_path / "allowed")]})
    [read] = opened(allowed, "tempest", archive_url=str(mine)).days([day])
    assert isinstance(read, DayFailure), "not the rows of the other archive"
    assert isinstance(read.error, AccessDeniedError)
    local = bucket_settings.model_copy(update={"tenants_url": str(tmp_path / "tenants")})
    [read] = opened(local, "tempest", archive_url=str(mine)).days([day])
    assert read.table.num_rows, "whoever runs the platform may link its own folders"


def test_links_do_not_lead_out_of_a_mirror_of_dwd(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.zip").write_bytes(b"x")
    (tmp_path / "mirror" / "hourly").symlink_to(tmp_path / "other")
    url = (tmp_path / "mirror").as_uri()
    assert open_remote(url).fetch("hourly/a.zip").body == b"x"
    remote = open_remote(url, inside=True)
    for read in (remote.fetch, remote.local_file, lambda _: remote.folder("hourly")):
        with pytest.raises(AccessDeniedError, match="leads out"):
            read("hourly/a.zip")


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would resolve the name itself, where nobody looks at the address."""
    with server(200, {}, b"of the proxy") as (proxy, asked), server(200, {}, b"of the server") as (port, _):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert client(f"http://127.0.0.1:{port}").get("/x").body == b"of the server"
        assert asked == []


def test_an_authority_of_the_environment_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(FileNotFoundError):
        client("https://api.example.com")
