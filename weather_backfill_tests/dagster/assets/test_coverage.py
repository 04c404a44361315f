"""The coverage asset: it draws the days that are asked for, also those of long ago."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_backfill.dagster.assets.coverage import build_coverage
from weather_backfill.settings import Settings


def draw(folder: Path, **config: Any) -> dg.ExecuteInProcessResult:
    settings = Settings(storage_url=str(folder / "lake"), tenants_url=str(folder / "tenants"))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("tempest_tenants", ["acme"])
        return dg.materialize(
            [build_coverage("tempest", settings)],
            instance=instance,
            run_config={"ops": {"tempest__coverage": {"config": config}}},
            raise_on_error=False,
        )


@pytest.mark.parametrize("config", [{"days": 10, "end_date": "2024-01-10"}, {"days": 10}])
def test_it_draws_as_many_days_as_are_asked_for(tmp_path: Path, config: dict[str, Any]) -> None:
    [event] = draw(tmp_path, **config).get_asset_materialization_events()
    shown = str(event.materialization.metadata["coverage"].value)
    assert "| acme | 10 |" in shown
    assert "data:image/png;base64," in shown


def test_an_end_that_is_no_date_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    result = draw(tmp_path, end_date="10.01.2024")
    assert not result.success
    failure = result.failure_data_for_node("tempest__coverage")
    assert failure is not None
    assert "end_date '10.01.2024' is no date: expected YYYY-MM-DD" in str(failure.user_failure_data)
