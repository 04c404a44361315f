"""`dagster asset materialize` over a range and for one day, in processes of their own."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.simulate import Faults
from weather_backfill_tests.platform import START, Platform

BOTH = "tempest/raw_observations,tempest/refined_15m"
TEN = set(days_between(START, START + timedelta(days=9)))


def materialize(platform: Platform, select: str, *span: str, check: bool = True) -> str:
    done = platform.run(
        "dagster",
        "asset",
        "materialize",
        "-m",
        "weather_backfill.definitions_single_run",
        "--select",
        select,
        *span,
        check=check,
    )
    return done.stdout + done.stderr


def test_a_range_and_a_single_partition(platform: Platform) -> None:
    platform.add_tempest("acme", 10)
    materialize(platform, BOTH, "--partition-range", "2024-01-01|acme...2024-01-10|acme")
    assert platform.materialized("raw_observations", "acme") == TEN
    assert platform.materialized("refined_15m", "acme") == TEN
    before = platform.day("refined_15m", "acme", START)
    materialize(platform, BOTH, "--partition", "2024-01-01|acme")
    assert platform.day("refined_15m", "acme", START).equals(before)
    with platform.instance as instance:
        for asset in ("raw_observations", "refined_15m"):
            records = instance.fetch_materializations(dg.AssetKey(["tempest", asset]), limit=100).records
            assert len(records) == 10 + 1, "each day is recorded once a run"


def test_a_bad_day_names_itself_and_the_commands_that_finish_the_rest(local_platform: Platform) -> None:
    platform = local_platform
    archive = platform.add_tempest("acme", 4, faults=Faults(corrupt_day=1))
    text = materialize(platform, BOTH, "--partition-range", "2024-01-01|acme...2024-01-04|acme", check=False)
    assert "1 of 4 days failed" in text
    assert "2024-01-02|acme: UnreadableObjectError" in text
    assert "cut-off.json.gz" in text
    commands = {line.strip() for line in text.splitlines() if line.startswith("  dagster asset materialize")}
    assert len(commands) == 3, "the failed day, and refined of the good days on both sides"
    (archive / "year=2024/month=01/day=02/hour=12/cut-off.json.gz").unlink()
    for command in commands:
        platform.run(*(word.strip("'") for word in command.split()))
    assert platform.materialized("refined_15m", "acme") == set(days_between(START, START + timedelta(days=3)))


def test_tenants_of_one_run_do_not_cost_each_other(local_platform: Platform) -> None:
    """Dagster may make one run cross tenants; a tenant whose file is broken fails its own days only."""
    platform = local_platform
    platform.add_tempest("acme", 2)
    platform.add_tempest("broken", 2)
    (platform.folder / "tenants" / "broken.yaml").write_text("id: broken\nservices: [1]\n")
    span = "2024-01-01|acme...2024-01-02|broken"
    text = materialize(platform, "tempest/raw_observations", "--partition-range", span, check=False)
    assert "2 of 4 days failed" in text
    assert "broken.yaml" in text
    assert platform.materialized("raw_observations", "acme") == set(days_between(START, START + timedelta(days=1)))


def test_dg_loads_the_definitions(local_platform: Platform) -> None:
    from weather_backfill_tests.platform import PROJECT

    local_platform.folder = PROJECT  # dg looks for pyproject.toml where it runs
    assert "tempest/raw_observations" in local_platform.run("dg", "list", "defs", "--json").stdout
    local_platform.run("dg", "check", "defs")
