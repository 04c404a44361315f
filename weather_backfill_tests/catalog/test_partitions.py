"""Partitions in Glue: registered once however often, in batches, in spite of throttling; refusals by name."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Any

import pytest

from weather_backfill.catalog.chunked_registration import ChunkState, RegistrationPlan, load, register, retry
from weather_backfill.catalog.client import Catalog
from weather_backfill.catalog.ddl import run_statements, statements
from weather_backfill.catalog.partitions import Values, existing, location_of, range_expression, register_partitions
from weather_backfill.catalog.tables import Table, ensure_database, ensure_table, lake_tables
from weather_backfill.model.errors import CatalogError, CatalogUnavailableError, ConfigurationError, NotFoundError
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.catalog.front import Front, throttle

START = date(2020, 1, 1)


def days(count: int, tenant: str = "acme") -> tuple[Values, ...]:
    return tuple(("tempest", tenant, str(START + timedelta(days=n))) for n in range(count))


@pytest.fixture
def table(settings: Settings, lake: ObjectStore) -> Table:
    """`raw_observations` without projection, in a database of its own."""
    assert settings.catalog_database
    catalog, found = Catalog(settings), lake_tables(lake, None)[0]
    ensure_database(catalog, settings.catalog_database)
    ensure_table(catalog, settings.catalog_database, found)
    return found


def in_glue(settings: Settings, table: Table) -> dict[Values, str]:
    pages = Catalog(settings).glue.get_partitions(DatabaseName=settings.catalog_database, TableName=table.name)
    return {tuple(p["Values"]): p["StorageDescriptor"]["Location"] for p in pages["Partitions"]}


def plan_of(settings: Settings, table: Table, values: tuple[Values, ...]) -> RegistrationPlan:
    assert settings.catalog_database
    return RegistrationPlan(settings.catalog_database, table, values)


def test_ten_thousand_partitions_twice(settings: Settings, table: Table, lake: ObjectStore, front: Front) -> None:
    wanted = tuple(sorted(value for tenant in ("acme", "borealis", "cirrus", "dune") for value in days(2500, tenant)))
    plan = plan_of(settings, table, wanted)
    seconds = []
    calls = []
    for _ in range(2):
        front.calls.clear()
        catalog = Catalog(settings)
        began = time.monotonic()
        results = register(catalog, lake, plan)
        seconds.append(round(time.monotonic() - began, 1))
        assert {result.state for result in results} == {ChunkState.DONE}
        assert front.calls == catalog.calls
        calls.append((dict(catalog.calls), sum(r.created for r in results), sum(r.existing for r in results)))
    first, second = calls
    print(f"\n10,000 partitions, calls: first {first[0]} in {seconds[0]} s, again {second[0]} in {seconds[1]} s")
    assert first == ({"GetPartitions": 1, "BatchCreatePartition": 100}, 10_000, 0)
    assert second == ({"GetPartitions": 1}, 0, 10_000)
    found = in_glue(settings, table)
    assert set(found) == set(wanted)
    assert found["tempest", "dune", "2020-01-01"] == (
        f"{lake.url}/raw_observations/service=tempest/tenant=dune/date=2020-01-01/"
    )
    sizes = {len(r["PartitionInputList"]) for operation, r in front.requests if operation == "BatchCreatePartition"}
    assert sizes == {100}
    assert 1 < front.most_at_once <= settings.catalog_concurrency


def test_without_a_listing_what_is_there_is_no_error(settings: Settings, table: Table) -> None:
    assert settings.catalog_database
    catalog, database = Catalog(settings), settings.catalog_database
    assert register_partitions(catalog, database, table, days(30), {}).created == 30
    again = register_partitions(catalog, database, table, days(40), {})
    assert (again.created, again.existing) == (10, 30)
    assert catalog.calls == {"BatchCreatePartition": 2}


def test_a_listing_pages_and_costs_no_more_than_creating(settings: Settings, table: Table, front: Front) -> None:
    assert settings.catalog_database

    def endless(operation: str, _: dict[str, Any]) -> dict[str, Any] | None:
        return {"Partitions": [], "NextToken": "more"} if operation == "GetPartitions" else None

    front.rule = endless
    catalog = Catalog(settings)
    assert existing(catalog, settings.catalog_database, table, days(301)) == {}
    assert catalog.calls == {"GetPartitions": 4}
    requests = [request for operation, request in front.requests if operation == "GetPartitions"]
    assert [request.get("NextToken") for request in requests] == [None, "more", "more", "more"]
    assert {request["MaxResults"] for request in requests} == {1000}


def test_the_listing_is_limited_to_the_range(settings: Settings, table: Table) -> None:
    assert settings.catalog_database
    catalog, database = Catalog(settings), settings.catalog_database
    register_partitions(catalog, database, table, [*days(20), *days(20, "borealis")], {})
    assert range_expression(table.keys, days(5)) == (
        "service = 'tempest' AND tenant = 'acme' AND date >= '2020-01-01' AND date <= '2020-01-05'"
    )
    assert set(existing(catalog, database, table, days(5))) == set(days(5))


def test_a_partition_that_points_elsewhere_is_put_right(
    settings: Settings, table: Table, lake: ObjectStore, front: Front
) -> None:
    old = Table(table.name, "", f"{lake.url}-old", table.columns, table.keys, table.storage)
    assert settings.catalog_database
    register_partitions(Catalog(settings), settings.catalog_database, old, days(150), {})
    results = register(Catalog(settings), lake, plan_of(settings, table, days(200)))
    assert [(r.created, r.existing, r.moved) for r in results] == [(50, 0, 150)]
    assert in_glue(settings, table)[days(1)[0]] == f"{location_of(table, days(1)[0])}/"
    assert front.calls["BatchUpdatePartition"] == 2


def test_so_are_two(settings: Settings, table: Table, lake: ObjectStore) -> None:
    """As of station histories, one a tenant."""
    old = Table(table.name, "", f"{lake.url}-old", table.columns, table.keys, table.storage)
    assert settings.catalog_database
    register_partitions(Catalog(settings), settings.catalog_database, old, days(2), {})
    [result] = register(Catalog(settings), lake, plan_of(settings, table, days(2)))
    assert (result.created, result.existing, result.moved) == (0, 0, 2)
    assert in_glue(settings, table)[days(1)[0]] == f"{location_of(table, days(1)[0])}/"


def test_throttling_is_waited_out(settings: Settings, table: Table, lake: ObjectStore, front: Front) -> None:
    front.rule = throttle("BatchCreatePartition", 3)
    catalog = Catalog(settings)
    [result] = register(catalog, lake, plan_of(settings, table, days(500)))
    assert (result.state, result.created) == (ChunkState.DONE, 500)
    assert catalog.throttled == 3
    assert catalog.calls["BatchCreatePartition"] == 5 + 3
    assert set(in_glue(settings, table)) == set(days(500))


def refuse(code: str, day: str, times: int = 99) -> Any:
    """Refuse one day's partition, by itself, so many times; the others of its batch are not created either."""
    left = [times]

    def rule(operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
        values = [tuple(item["Values"]) for item in request.get("PartitionInputList", [])]
        bad = [value for value in values if value[-1] == day]
        if not bad or not left[0]:
            return None
        left[0] -= 1
        detail = {"ErrorCode": code, "ErrorMessage": "it says why"}
        return {"Errors": [{"PartitionValues": list(bad[0]), "ErrorDetail": detail}]}

    return rule


def test_a_refused_partition_is_named(settings: Settings, table: Table, front: Front) -> None:
    assert settings.catalog_database
    front.rule = refuse("ResourceNumberLimitExceededException", "2020-01-03")
    with pytest.raises(CatalogError, match=r"1 of 10 .*tempest/acme/2020-01-03: ResourceNumberLimit.* it says why"):
        register_partitions(Catalog(settings), settings.catalog_database, table, days(10), {})


def test_an_item_that_may_pass_later_is_sent_again_alone(settings: Settings, table: Table, front: Front) -> None:
    assert settings.catalog_database
    front.rule = refuse("InternalServiceException", "2020-01-03", times=1)
    outcome = register_partitions(Catalog(settings), settings.catalog_database, table, days(10), {})
    assert outcome.created == 10
    sizes = [len(r["PartitionInputList"]) for operation, r in front.requests if operation == "BatchCreatePartition"]
    assert sizes == [10, 1]


def test_only_what_failed_is_run_again(settings: Settings, table: Table, lake: ObjectStore, front: Front) -> None:
    plan = plan_of(settings, table, days(2500))
    front.rule = refuse("ResourceNumberLimitExceededException", str(START + timedelta(days=1550)))
    results = register(Catalog(settings), lake, plan)
    assert [r.state for r in results] == [ChunkState.DONE, ChunkState.FAILED, ChunkState.DONE]
    assert "ResourceNumberLimitExceededException" in (results[1].error or "")
    front.rule = lambda *_: None
    front.requests.clear()
    again = retry(Catalog(settings), lake, plan.id)
    sent = [tuple(i["Values"]) for _, r in front.requests for i in r.get("PartitionInputList", [])]
    assert sorted(sent) == sorted(days(2500)[1500:1600]), "just the batch that was missing"
    assert [r.state for r in again] == [ChunkState.DONE, ChunkState.DONE, ChunkState.DONE]
    assert (again[1].created, again[1].existing) == (100, 900)
    assert set(in_glue(settings, table)) == set(days(2500))
    front.calls.clear()
    retry(Catalog(settings), lake, plan.id)
    assert not front.calls, "nothing failed, nothing is asked"


def test_a_killed_registration_goes_on(settings: Settings, table: Table, lake: ObjectStore, front: Front) -> None:
    plan = plan_of(settings, table, days(2500))

    class KilledError(BaseException):
        pass

    seen = [0]

    def progress(count: int) -> None:
        seen[0] += count
        if seen[0] > 1200:
            raise KilledError

    with pytest.raises(KilledError):
        register(Catalog(settings), lake, plan, progress)
    _, results = load(lake, plan.id)
    assert [r.state for r in results] == [ChunkState.DONE, "waiting", "waiting"]
    front.calls.clear()
    assert {r.state for r in retry(Catalog(settings), lake, plan.id)} == {ChunkState.DONE}
    assert front.calls["BatchCreatePartition"] < 15
    assert len(in_glue(settings, table)) == 2500


def test_throttling_without_end_fails_the_chunk(
    settings: Settings, table: Table, lake: ObjectStore, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weather_backfill.catalog.client.TRIES", 2)
    front.rule = throttle("BatchCreatePartition", 10_000)
    [result] = register(Catalog(settings), lake, plan_of(settings, table, days(50)))
    assert result.state == ChunkState.FAILED
    assert "ThrottlingException" in (result.error or "")
    assert front.calls["BatchCreatePartition"] == 2


def test_items_that_stay_busy_are_retryable(settings: Settings, table: Table, front: Front) -> None:
    assert settings.catalog_database
    front.rule = refuse("InternalServiceException", "2020-01-03")
    with pytest.raises(CatalogUnavailableError, match=r"1 of 10 partitions .*2020-01-03"):
        register_partitions(Catalog(settings), settings.catalog_database, table, days(10), {})
    assert front.calls["BatchCreatePartition"] == 3


def test_a_registration_that_is_not_there(lake: ObjectStore) -> None:
    with pytest.raises(NotFoundError):
        load(lake, "raw_observations-0123456789ab")
    with pytest.raises(ConfigurationError, match="no id"):
        load(lake, "../../secrets")


def test_statements_for_athena(settings: Settings, table: Table, front: Front) -> None:
    found = statements(settings.catalog_database or "", table, days(150))
    assert len(found) == 2
    assert [text.count("PARTITION (") for text in found] == [100, 50]
    first = found[0].splitlines()
    assert first[0] == f"ALTER TABLE `{settings.catalog_database}`.`raw_observations` ADD IF NOT EXISTS"
    assert first[1] == (
        "  PARTITION (`service` = 'tempest', `tenant` = 'acme', `date` = '2020-01-01') "
        f"LOCATION '{table.location}/service=tempest/tenant=acme/date=2020-01-01/'"
    )
    catalog = Catalog(settings)
    assert run_statements(catalog, found) == 2
    sent = [r["QueryString"] for operation, r in front.requests if operation == "StartQueryExecution"]
    assert sent == found
    assert {r["WorkGroup"] for o, r in front.requests if o == "StartQueryExecution"} == {"primary"}


def test_a_statement_that_fails_says_why(settings: Settings, table: Table, front: Front) -> None:
    def fail(operation: str, _: dict[str, Any]) -> dict[str, Any] | None:
        status = {"State": "FAILED", "StateChangeReason": "FAILED: SemanticException table is not there"}
        return {"QueryExecution": {"Status": status}} if operation == "GetQueryExecution" else None

    front.rule = fail
    with pytest.raises(CatalogError, match=r"statement 1 of 1 .*table is not there"):
        run_statements(Catalog(settings), statements("weather", table, days(1)))
    with pytest.raises(ConfigurationError, match="quote"):
        statements("weather", table, [("tempest", "acme' OR '1", "2020-01-01")])
