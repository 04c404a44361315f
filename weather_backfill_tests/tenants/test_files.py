"""Tenant files: hostile and broken ones are named, secrets stay in the environment."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable

import pytest
import yaml

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.security.secrets import resolve_secret
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry, parse_tenant

FILE = "/tenants/acme.yaml"
PLAIN = "hunter2-is-the-secret"


def parse(text: str | bytes) -> Tenant:
    return parse_tenant(text.encode() if isinstance(text, str) else text, FILE, "acme")


def tempest(fields: str) -> str:
    return f"id: acme\nservices:\n  tempest:\n    archive_url: /archive\n    {fields}\n"


def test_a_file_is_read() -> None:
    tenant = parse(tempest("stations: [ST-1, ST-2]"))
    assert tenant.connection("tempest").archive_url == "/archive"
    assert tenant.connection("tempest").stations == ("ST-1", "ST-2")


def test_what_a_connection_has_when_nothing_is_said() -> None:
    services = parse(
        """id: acme
services:
  tempest: {archive_url: /archive}
  dwd: {stations: ["00433"]}
  aceiot: {base_url: https://aceiot.example/api, api_key: "${ACME_KEY}", sites: [north]}
"""
    ).services
    found = {name: getattr(services, name) for name in ("tempest", "dwd", "aceiot")}
    assert {name: c.lookback_days for name, c in found.items()} == {"tempest": 730, "dwd": 730, "aceiot": 365}
    assert {c.enabled for c in found.values()} == {True}
    assert {found[name].requests_per_minute for name in ("dwd", "aceiot")} == {None}, "the service's is shared"


@pytest.mark.parametrize("value", ["0", "-5", "many"])
def test_an_allowance_that_cannot_be_meant_is_refused(value: str) -> None:
    text = f"id: acme\nservices:\n  dwd: {{stations: ['00433'], requests_per_minute: {value}}}\n"
    with pytest.raises(ConfigurationError, match=rf"services\.dwd\.requests_per_minute: .*'{value}'"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (tempest("lookback_days: many"), r"services\.tempest\.lookback_days: .*valid integer.*'many'"),
        (tempest("lookback_days: 0"), r"services\.tempest\.lookback_days: .*greater than or equal to 1.*'0'"),
        (tempest("archive: s3://b"), r"services\.tempest\.archive: .*not permitted"),
        (tempest("stations: ST-1"), r"services\.tempest\.stations: .*valid tuple.*'ST-1'"),
        (tempest("service: dwd"), r"services\.tempest\.service: .*'tempest'.*'dwd'"),
        (tempest("first_day: 2024-02-30"), r"is not YAML.*day is out of range"),
        (tempest("first_day: soon"), r"services\.tempest\.first_day: .*'soon'"),
        ("id: acme\nservices:\n  tempest: {}\n", r"services\.tempest\.archive_url: Field required"),
        ("id: acme\nservices:\n  tempest: {archive_url: ''}\n", r"archive_url: .*at least 1 character"),
        ("id: acme\nservices: [1]\n", r"services: .*given a list"),
        ("id: acme\nservices: {weather: {}}\n", r"services\.weather: .*not permitted"),
        ("id: acme\n", r"services: Field required"),
        ("id: no\nservices: {}\n", r"id: .*valid string.*'False'"),
        ("id: [acme]\nservices: {}\n", r"id: .*valid string"),
        ("id: ../acme\nservices: {}\n", r"'\.\./acme' is not allowed"),
        ("id: other\nservices: {}\n", r"id is 'other'; expected 'acme', as the file is named"),
        ("id: acme\nname: [x]\nservices: {}\n", r"name: .*valid string"),
        ("- acme\n", r"expected a mapping with id and services, found list"),
        ("", r"expected a mapping with id and services, found NoneType"),
        ("acme", r"found str"),
        ("id: acme\n  services: {\n", r"is not YAML.*line 2"),
        ("id: acme\nid: acme\nservices: {}\n: {[}\n", r"is not YAML"),
        ("{[1]: 2}", r"is not YAML.*unhashable"),
        ("id: !!python/object/apply:os.system ['true']\n", r"is not YAML.*constructor"),
        ("id: !!int acme\n", r"is not YAML"),
        ("id: acme\n---\nid: acme\n", r"is not YAML.*single document"),
        (b"id: \xff\xfe\n", r"is not YAML"),
        (b"id: acme\x00\n", r"is not YAML.*special characters"),
        ("id: " + "9" * 5000, r"is not YAML: Exceeds"),
        ("[" * 20_000, r"is not YAML"),
        ("id: acme #" + "x" * 70_000, r"7\d{4} bytes; a tenant file has at most 65536"),
    ],
)
def test_a_broken_file_names_file_field_value_and_what_was_expected(text: str | bytes, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"(?s)^{FILE}.*{named}") as caught:
        parse(text)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value), "one line, for a log and a terminal"


def test_every_problem_of_a_file_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"enabled: .*; .*lookback_days: "):
        parse(tempest("lookback_days: x\n    enabled: perhaps"))


def _full(head: str, item: str, tail: str = "]") -> str:
    """A file at the limit on its size: as many items, numbered, as it holds."""
    items, size = [], len(head) + len(tail)
    while size + len(text := item.format(len(items))) <= 64 * 1024:
        items.append(text)
        size += len(text)
    return head + "".join(items) + tail


ACEIOT = 'id: acme\nservices: {aceiot: {base_url: "https://a.example", api_key: "${K}", '


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        _full("id: acme\nservices: {}\nname: {", "{:x},", "}"),
        _full("id: acme\nservices: {", "{:x},", "}"),
        _full("id: acme\nservices: {}\n", "s{:x}: 1\n", ""),
        _full(ACEIOT + "sites: [", "s{:x},", "]}}"),
        _full(ACEIOT + "sites: [", "ab,", "]}}"),
        _full(ACEIOT + "sites: [s], metrics: {", "{0:x}x: m{0:x},", "}}}"),
        _full("id: acme\nservices: {dwd: {stations: [", "'{}',", "]}}"),
        _full("id: acme\nservices: {tempest: {archive_url: /a, stations: [", "s{:x},", "]}}"),
        _full("id: acme\nservices: {csv_folder: {folder: /a, station: x, columns: {", "{:x}x: rain,", "}}}"),
        f"id: {'a' * 65_000}",
        f"id: acme\nservices: {{aceiot: {{base_url: {'a' * 60_000}}}}}",
    ],
    ids=["names", "services", "unknown", "sites", "twice", "metrics", "dwd", "tempest", "columns", "long", "url"],
)
def test_a_file_of_the_largest_size_takes_no_longer_than_its_yaml(text: str) -> None:
    """The attacks took 8 to 13 s. One of three tries has to be fast: who else is at the machine slows some."""
    assert any(_seconds(parse, text) < 2 * _seconds(yaml.safe_load, text) + 0.5 for _ in range(3))


def _seconds(read: Callable[[str], object], text: str) -> float:
    started = time.process_time()
    with contextlib.suppress(ConfigurationError):
        read(text)
    return time.process_time() - started


def test_lists_have_a_limit_and_problems_are_told_in_part() -> None:
    with pytest.raises(ConfigurationError, match=r"sites: .* at most 5000 items"):
        parse(_full(ACEIOT + "sites: [", "s{:x},", "]}}"))
    with pytest.raises(ConfigurationError, match="and 5 problems more") as caught:
        parse("id: acme\nservices: {}\n" + "".join(f"x{n}: 1\n" for n in range(25)))
    assert len(str(caught.value)) < 2000


WITH_USER = "://us3r:pa55@host/x"


@pytest.mark.parametrize(
    "services",
    [
        "{tempest: {archive_url: 's3URL'}}",
        "{tempest: {archive_url: 'httpsURL'}}",
        "{tempest: {archive_url: 'fileURL'}}",
        "{tempest: {archive_url: /a, endpoint_url: 'httpsURL'}}",
        "{csv_folder: {folder: 's3URL', station: x, columns: {t: air_temperature}}}",
        "{csv_folder: {folder: 'httpsURL', station: x, columns: {t: air_temperature}}}",
        "{dwd: {stations: all, base_url: 'httpsURL'}}",
        "{dwd: {stations: all, base_url: 'fileURL'}}",
        "{aceiot: {base_url: 'httpsURL', api_key: '${K}', sites: [s]}}",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(services: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"id: acme\nservices: {services.replace('URL', WITH_USER)}\n")
    text = "".join(traceback.format_exception(caught.value))
    assert "us3r" not in text
    assert "pa55" not in text


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"id: acme\nservices: *a{levels - 1}\n"])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", [bomb(10), "&a [*a]", "id: acme\nservices: &s {tempest: *s}\n"])
def test_aliases_are_refused_before_they_grow(text: str) -> None:
    """Ten levels of nine aliases would print as three billion elements."""
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"aliases"):
        parse(text)
    assert time.monotonic() - started < 5


SECRETS = [
    tempest(f"secret_access_key: {PLAIN}"),
    tempest(f"access_key_id: {PLAIN}"),
    tempest(f"secret_access_key: ${{ACME}}{PLAIN}"),
    tempest(f"secret_access_key: [{PLAIN}]"),
    tempest(f"secret_access_key: {{a: {PLAIN}}}"),
    tempest(f"secret_acess_key: {PLAIN}"),
    tempest(f"password: {PLAIN}"),
    f"id: acme\nservices:\n  tempest:\n    secret_access_key: {PLAIN}\n",
    f"id: acme\nservices:\n  tempest: [{{secret_access_key: {PLAIN}}}]\n",
    f"id: acme\nsecret_access_key: {PLAIN}\nservices: {{}}\n",
    f"id: acme\nservices:\n  tempest:\n    secret_access_key: '{PLAIN}\n",
    f"id: acme\nservices:\n  tempest:\n    secret_access_key: @{PLAIN}\n",
    tempest(f"endpoint_url: https://me:{PLAIN}@host.example"),
    f"id: acme\nservices:\n  tempest:\n    archive_url: s3://me:{PLAIN}@bucket\n",
    f"id: acme\nservices:\n  tempest:\n    archive_url: s3://bucket/prefix?key={PLAIN}\n",
    *(
        f"id: acme\nservices:\n  aceiot: {{base_url: '{url}', api_key: '${{ACME_KEY}}', sites: [a]}}\n"
        for url in (f"https://me:{PLAIN}@host.example/api", f"https://host.example/api?key={PLAIN}", f"me:{PLAIN}@host")
    ),
    f"id: acme\nservices:\n  dwd: {{base_url: 'https://me:{PLAIN}@host.example/api', stations: all}}\n",
    f"id: acme\nservices:\n  dwd: {{base_url: 'me:{PLAIN}@host', stations: all}}\n",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_written_into_a_file_is_refused_and_not_repeated(text: str) -> None:
    """Errors go to logs and to the web page of a run."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert PLAIN not in str(caught.value)


def test_a_plain_secret_is_told_what_to_write_instead() -> None:
    expected = r"services\.tempest\.secret_access_key: .*must be a reference .*\$\{ACME_SECRET\}"
    with pytest.raises(ConfigurationError, match=expected):
        parse(tempest(f"secret_access_key: {PLAIN}"))


def test_a_resolved_secret_is_in_no_repr_and_no_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "AKIAACME")
    monkeypatch.setenv("ACME_SECRET", PLAIN)
    keys = "access_key_id: ${ACME_KEY}\n    secret_access_key: ${ACME_SECRET}"
    tenant = parse(tempest(keys).replace("/archive", "s3://bucket/archive"))
    archive = tenant.connection("tempest").archive(S3Options())
    assert PLAIN not in repr(resolve_secret("${ACME_SECRET}"))
    assert resolve_secret("${ACME_SECRET}").get_secret_value() == PLAIN
    for text in (repr(tenant), tenant.model_dump_json(), repr(archive), repr(archive.__dict__)):
        assert PLAIN not in text
    assert PLAIN not in repr(S3Options(secret_access_key=PLAIN, access_key_id=PLAIN, session_token=PLAIN))


def test_a_reference_to_nothing_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_SECRET", raising=False)
    with pytest.raises(ConfigurationError, match="environment variable ACME_SECRET is not set"):
        resolve_secret("${ACME_SECRET}")


def test_half_a_key_pair_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="access_key_id and secret_access_key go together"):
        parse(tempest("access_key_id: ${ACME_KEY}"))


def test_a_connection_that_is_not_there_names_the_file_to_change() -> None:
    with pytest.raises(ConfigurationError, match=r"'acme' has no connection to 'tempest': add it .*acme\.yaml"):
        parse("id: acme\nservices: {}\n").connection("tempest")


def test_a_registry_gives_back_what_was_put(store: ObjectStore) -> None:
    registry = TenantRegistry(store)
    connection = TempestConnection(archive_url="/a b/\u00e4", stations=("ST-1",))
    tenant = Tenant(id="acme", services=Services(tempest=connection))
    assert registry.put(tenant) == store.uri("acme.yaml")
    assert registry.get("acme") == tenant
    assert yaml.safe_load(store.get("acme.yaml")).keys() == {"id", "services"}


def test_a_broken_file_does_not_block_the_others(store: ObjectStore) -> None:
    registry = TenantRegistry(store)
    registry.put(Tenant(id="acme", services=Services()))
    store.put("broken.yaml", b"services: [")
    store.put("notes.txt", b"no tenant")
    store.put("folder/deep.yaml", b"no tenant")
    assert registry.ids() == ["acme", "broken"]
    assert registry.get("acme").id == "acme"
    with pytest.raises(ConfigurationError, match=r"broken\.yaml is not YAML"):
        registry.get("broken")


def test_an_unknown_tenant_says_where_it_was_looked_for(store: ObjectStore) -> None:
    with pytest.raises(ConfigurationError, match=r"'acme' is not known: there is no .*acme\.yaml"):
        TenantRegistry(store).get("acme")


@pytest.mark.parametrize("tenant", ["../secrets", "a/b", "", "acme\n"])
def test_an_id_never_leaves_the_folder(store: ObjectStore, tenant: str) -> None:
    with pytest.raises(ConfigurationError, match="is not allowed"):
        TenantRegistry(store).get(tenant)
