"""Launching backfills: once per id, only for tenants that are registered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import dagster as dg
import pytest

from weather_backfill.backfill import launch as launching
from weather_backfill.backfill.launch import launch_backfill, native_id, register_tenant
from weather_backfill.backfill.status import natives_of
from weather_backfill.definitions import build_definitions
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import days_between
from weather_backfill.settings import Settings

DAYS = days_between(date(2024, 1, 1), date(2024, 1, 3))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        register_tenant(made, "tempest", "acme")
        yield made


def launch(instance: dg.DagsterInstance, backfill_id: str = "one", tenant: str = "acme", **more: object) -> str:
    return launch_backfill(
        instance, build_definitions(Settings()), backfill_id=backfill_id, service="tempest", tenant=tenant,
        **{"days": DAYS, **more},  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_tenant_is_registered_once(instance: dg.DagsterInstance) -> None:
    assert not register_tenant(instance, "tempest", "acme")
    assert register_tenant(instance, "tempest", "borealis")
    assert register_tenant(instance, "dwd", "acme"), "each service has its own tenants"
    assert sorted(instance.get_dynamic_partitions("tempest_tenants")) == ["acme", "borealis"]
    with pytest.raises(ConfigurationError, match="is not allowed"):
        register_tenant(instance, "tempest", "a|b")


def test_a_backfill_holds_raw_and_refined_of_the_days(instance: dg.DagsterInstance) -> None:
    assert launch(instance) == "one"
    backfill = instance.get_backfill("one")
    assert backfill is not None
    assert {key.path[1] for key in backfill.asset_selection or ()} == {"raw_observations", "refined_15m"}
    assert set(backfill.partition_names or ()) <= {f"{day}|acme" for day in DAYS}
    graph = build_definitions(Settings()).resolve_asset_graph()
    targeted = backfill.get_asset_backfill_data(graph).target_subset
    assert {p.partition_key for p in targeted.iterate_asset_partitions()} == {f"{day}|acme" for day in DAYS}
    assert {backfill.tags["weather/service"], backfill.tags["weather/tenant"]} == {"tempest", "acme"}
    assert backfill.title == "tempest of acme: 2024-01-01 to 2024-01-03"


def test_the_same_id_is_launched_once(instance: dg.DagsterInstance) -> None:
    launch(instance, title="first")
    assert launch(instance, title="second") == "one"
    [backfill] = instance.get_backfills()
    assert backfill.title == "first"
    launch(instance, "two")
    assert len(instance.get_backfills()) == 2


def test_what_an_older_release_launched_under_a_long_id_is_not_launched_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "tempest-acme-20240101-20240103-1.retry1"
    with monkeypatch.context() as patch:
        patch.setattr(launching, "LONGEST_ID", 1000)  # as it was
        assert launch(instance, name) == name
    assert launch(instance, name) == name
    assert [native.backfill_id for native in instance.get_backfills()] == [name]
    assert natives_of(instance, name)[0].backfill_id == name


def test_an_unknown_tenant_is_refused_and_nothing_is_launched(instance: dg.DagsterInstance) -> None:
    with pytest.raises(ConfigurationError, match="'nobody' is not registered for 'tempest': add it"):
        launch(instance, tenant="nobody")
    assert instance.get_backfills() == []


def test_no_days_are_refused(instance: dg.DagsterInstance) -> None:
    with pytest.raises(ConfigurationError, match="no days"):
        launch(instance, days=[])


def test_ids_fit_the_tables_of_every_storage(instance: dg.DagsterInstance) -> None:
    """PostgreSQL and MySQL refuse more than 32 characters; SQLite, as here, would take them."""
    names = [f"onboard-{'station-network-of-the-north'}-{number}-tempest" for number in range(20)]
    ids = [launch(instance, name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(len(made) <= 32 for made in ids)
    assert ids == [native_id(name) for name in names], "the same name is the same backfill"
    assert native_id("onboard-acme-tempest") == "onboard-acme-tempest"
    assert len(instance.get_backfills()) == len(names)
