"""Nothing crosses from one tenant to another: paths, queries, views, credentials. And secrets stay where they are."""

from __future__ import annotations

import json
import logging
import string
import warnings
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from weather_backfill.lake import layout, parquet
from weather_backfill.lake.warehouse import create_views
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.errors import WeatherError
from weather_backfill.model.partitions import PartitionKey, by_tenant
from weather_backfill.reader import read_raw
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake, open_tenant_files
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import TenantRegistry, parse_tenant
from weather_backfill_tests.examples import examples
from weather_backfill_tests.refine.test_windows import raw_table

IDS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
NEAR = st.sampled_from(["a", "a-b", "a_b", "ab", "a-", "a_", "aa", "a-b-c", "0", "00", "date", "tenant", "service"])
TENANTS = IDS | NEAR
DAY = date(2024, 3, 31)  # the day of `raw_table`
DATASETS = [layout.RAW_OBSERVATIONS, layout.REFINED_15M, layout.REJECTED_OBSERVATIONS, layout.QUARTERLY_FEATURES]


@given(TENANTS, TENANTS, st.sampled_from(DATASETS), st.sampled_from(SERVICES), st.dates())
def test_no_path_of_a_tenant_lies_in_anothers_folder(
    one: str, other: str, dataset: str, service: str, day: date
) -> None:
    assume(one != other)
    mine = {layout.day_key(dataset, service, PartitionKey(day, one)), layout.tenant_key(dataset, service, one)}
    folder = layout.tenant_prefix(dataset, service, other) + "/"
    assert not any(key.startswith(folder) for key in mine)
    assert str(PartitionKey(day, one)) != str(PartitionKey(day, other))


@given(st.text())
def test_whatever_is_given_as_an_id_is_refused_or_stays_one_folder(text: str) -> None:
    try:
        prefix = layout.tenant_prefix(layout.RAW_OBSERVATIONS, "tempest", text)
    except WeatherError:
        return
    assert prefix.split("/") == [layout.RAW_OBSERVATIONS, "service=tempest", f"tenant={text}"]
    assert set(text) <= set(string.ascii_lowercase + string.digits + "-_")


@given(st.lists(st.tuples(st.dates(), TENANTS), max_size=20))
def test_a_run_that_crosses_tenants_gives_each_its_own_days(keys: list[tuple[date, str]]) -> None:
    grouped = by_tenant(str(PartitionKey(day, tenant)) for day, tenant in keys)
    assert {(day, tenant) for tenant, days in grouped.items() for day in days} == set(keys)


@pytest.fixture
def lake(store: ObjectStore) -> ObjectStore:
    """Days of tenants whose names are much alike, each station named after its tenant."""
    for number, tenant in enumerate(["a", "a-b", "a_b", "ab", "aa"]):
        for days in range(2):
            key = PartitionKey(DAY + timedelta(days=days), tenant)
            table = raw_table([(60 * days * 24, f"ST-{tenant}", "air_temperature", float(number), 1)])
            write_day(store, "tempest", layout.RAW_OBSERVATIONS, DayTable(key, table))
    return store


def test_a_listing_of_a_tenant_holds_its_objects_alone(lake: ObjectStore) -> None:
    for tenant in ("a", "a-b", "a_b", "ab", "aa"):
        keys = [o.key for o in lake.list(layout.tenant_prefix(layout.RAW_OBSERVATIONS, "tempest", tenant))]
        assert len(keys) == 2
        assert all(f"/tenant={tenant}/" in key for key in keys)


def test_a_view_tells_tenants_apart(lake: ObjectStore) -> None:
    with duckdb.connect() as connection:
        create_views(connection, lake)
        for view in ("raw_observations", "dataset_versions"):
            column = "station_id" if view == "raw_observations" else "part(object, 'tenant')"
            rows = connection.execute(f"SELECT DISTINCT tenant, {column} FROM {view}").fetchall()
            assert len(rows) == 5
            assert all(found in (tenant, f"ST-{tenant}") for tenant, found in rows)


@examples(20, suppress_health_check=list(HealthCheck))
@given(asked=TENANTS)
def test_reading_gives_a_tenants_rows_or_none(tmp_path_factory: pytest.TempPathFactory, asked: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "isolated-lake"
    store = ObjectStore(str(folder))
    for tenant in ("a", "a-b", "ab"):
        table = raw_table([(0, f"ST-{tenant}", "air_temperature", 1.0, 1)])
        if not store.exists(layout.day_key(layout.RAW_OBSERVATIONS, "tempest", PartitionKey(DAY, tenant))):
            write_day(store, "tempest", layout.RAW_OBSERVATIONS, DayTable(PartitionKey(DAY, tenant), table))
    at = Settings(storage_url=str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_raw(tenant=asked, service="tempest", start=DAY, end=DAY, as_="arrow", settings=at)
        except WeatherError:
            assert asked not in ("a", "a-b", "ab")
            return
    assert set(found["station_id"].to_pylist()) == {f"ST-{asked}"}


SECRET = st.text(string.ascii_letters + string.digits, min_size=16, max_size=40).map(lambda s: "Zq7" + s)


def everything_said(values: Any, caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join([repr(values), str(values), json.dumps(values, default=str), caplog.text])


@examples(15, suppress_health_check=list(HealthCheck))
@given(
    secret=SECRET,
    broken=st.sampled_from(["", "x: 1", "secret_access_key: [1]", "endpoint_url: http://169.254.169.254"]),
)
def test_a_secret_is_in_nothing_that_is_said(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, secret: str, broken: str
) -> None:
    """Models, JSON, logs, errors, metadata and files, of connections that work and of ones that do not."""
    caplog.set_level(logging.DEBUG)
    folder = tmp_path_factory.mktemp("secrets")
    said: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACME_KEY", "ACME_SECRET", "ACME_API"):
            patch.setenv(name, f"{secret}{name[-3:]}")
        at = Settings(
            storage_url=str(folder / "lake"), tenants_url=str(folder / "tenants"), limits_url=str(folder / "l.db")
        )
        text = f"""
id: acme
services:
  tempest:
    archive_url: s3://acme/x
    access_key_id: ${{ACME_KEY}}
    secret_access_key: ${{ACME_SECRET}}
    {broken or "endpoint_url: http://127.0.0.1:9"}
  aceiot: {{base_url: "http://127.0.0.1:9/api", api_key: "${{ACME_API}}", sites: [x]}}
"""
        registry = TenantRegistry(open_tenant_files(at))
        try:
            tenant = parse_tenant(text.encode(), "acme.yaml", "acme")
            said += [
                registry.put(tenant),
                tenant,
                tenant.model_dump(),
                tenant.model_dump_json(),
                tenant.model_json_schema(),
            ]
            for service in ("tempest", "aceiot"):
                source = open_source(tenant, service, open_lake(at), at.s3, at)
                said += [source, getattr(source, "archive", None), vars(source) if hasattr(source, "__dict__") else ""]
                said.append(tenant.connection(service).reach())
        except WeatherError as error:
            said += [error, error.__cause__, error.__context__]
        said += [at, at.model_dump(), at.tenant_policy()]
        said += [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    assert secret not in everything_said(said, caplog)


def test_a_secret_is_in_no_request_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The errors of a source that cannot be reached, with everything that caused them, as Dagster would print it."""
    monkeypatch.setenv("ACME_KEY", "Zq7-key-of-acme")
    monkeypatch.setenv("ACME_SECRET", "Zq7-secret-of-acme")
    at = Settings(storage_url=str(tmp_path / "lake"), tenants_url=str(tmp_path / "tenants"))
    keys = "access_key_id: '${ACME_KEY}', secret_access_key: '${ACME_SECRET}'"
    text = (
        f"id: acme\nservices: {{tempest: {{archive_url: 's3://acme/x', endpoint_url: 'http://127.0.0.1:9', {keys}}}}}"
    )
    source = open_source(parse_tenant(text.encode(), "acme.yaml", "acme"), "tempest", open_lake(at), at.s3, at)
    with pytest.raises(WeatherError) as caught:
        source.inventory(DAY, DAY)
    shown = dg._utils.error.serializable_error_info_from_exc_info((caught.type, caught.value, caught.tb))
    assert "Zq7-secret" not in shown.to_string()
    assert "Zq7-secret" not in repr(caught.value.__cause__)


def test_a_days_footer_names_no_secret(tmp_path: Path) -> None:
    table = raw_table([(0, "ST-1", "air_temperature", 1.0, 1)])
    data = parquet.encode(table, {"source": "s3://acme/x"}).data
    footer = parquet.footer(parquet.open_file(parquet.pa.BufferReader(data)))
    assert set(footer) >= {"source", "schema_version"}
    assert not {name for name in footer if "key" in name or "secret" in name}
