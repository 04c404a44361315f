"""What Dagster knows of us: partitions, policies and pools of every asset."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest

from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.model.partitions import tenants_partition_name
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    chosen = Settings(service_chunk_days={"tempest": 10}, first_day={"tempest": date(2020, 2, 29)})
    return build_definitions(chosen)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("dataset", [layout.RAW_OBSERVATIONS, layout.REJECTED_OBSERVATIONS, layout.REFINED_15M])
def test_every_asset_has_a_partition_a_day_and_tenant(definitions: dg.Definitions, service: str, dataset: str) -> None:
    partitions = definitions.resolve_asset_graph().get(dg.AssetKey([service, dataset])).partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    dimensions = {d.name: d.partitions_def for d in partitions.partitions_defs}
    assert sorted(dimensions) == ["date", "tenant"]
    assert isinstance(dimensions["tenant"], dg.DynamicPartitionsDefinition)
    assert dimensions["tenant"].name == tenants_partition_name(service)
    assert isinstance(dimensions["date"], dg.TimeWindowPartitionsDefinition)
    assert dimensions["date"].timezone == "UTC"
    if service == "tempest":
        assert dimensions["date"].start.date() == date(2020, 2, 29)


@pytest.mark.parametrize("service", SERVICES)
def test_backfills_run_in_chunks_and_raw_and_refined_apart(definitions: dg.Definitions, service: str) -> None:
    """Equal policies would make one run of both, and a bad raw day would then hold up refined of the good ones."""
    graph = definitions.resolve_asset_graph()
    raw, refined = (
        graph.get(dg.AssetKey([service, name])).backfill_policy
        for name in (layout.RAW_OBSERVATIONS, layout.REFINED_15M)
    )
    assert raw is not None
    assert refined is not None
    assert raw != refined
    expected = {"tempest": 10, "dwd": 365, "ghcnh": 365}.get(service, 30)
    assert raw.max_partitions_per_run == expected
    assert refined.max_partitions_per_run == expected + 1


@pytest.mark.parametrize("service", SERVICES)
def test_only_raw_takes_a_place_in_the_sources_pool(definitions: dg.Definitions, service: str) -> None:
    raw = definitions.resolve_assets_def(dg.AssetKey([service, layout.RAW_OBSERVATIONS]))
    refined = definitions.resolve_assets_def(dg.AssetKey([service, layout.REFINED_15M]))
    assert raw.op.pool == f"{service}_source"
    assert refined.op.pool is None


def test_there_is_no_job_of_partitioned_assets(definitions: dg.Definitions) -> None:
    """A job over multi-partitions cannot be backfilled by ranges; the asset graph can."""
    jobs = [job for job in definitions.jobs or () if isinstance(job, dg.JobDefinition)]
    assert {job.name: job.partitions_def for job in jobs} == dict.fromkeys(job.name for job in jobs)


def test_every_asset_has_its_checks(definitions: dg.Definitions) -> None:
    names = {(key.asset_key.path[1], key.name) for key in definitions.resolve_asset_graph().asset_check_keys}
    assert (layout.RAW_OBSERVATIONS, "completeness") in names
    assert (layout.RAW_OBSERVATIONS, "no_duplicates") in names
    assert (layout.REFINED_15M, "counts_agree") in names


def test_the_definitions_load_and_validate(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_a_policy_and_a_resource_can_be_replaced() -> None:
    made = build_definitions(
        Settings(), backfill_policy=lambda days: dg.BackfillPolicy.single_run(), resource_overrides={"lake": 7}
    )
    key = dg.AssetKey(["tempest", layout.RAW_OBSERVATIONS])
    assert made.resolve_asset_graph().get(key).backfill_policy == dg.BackfillPolicy.single_run()
    assert (made.resources or {})["lake"] == 7
