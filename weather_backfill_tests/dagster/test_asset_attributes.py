"""Owners, tags, kinds, columns and URI of every asset, and the row counts of their materializations."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from weather_backfill.dagster.asset_attributes import lake_table_schema, uri_of
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.warehouse import VIEWS
from weather_backfill.lake.writer import SCHEMAS
from weather_backfill.model import schemas
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.schemas import STATION_HISTORY, STATION_HISTORY_COLUMNS
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import SERVICES
from weather_backfill_tests.platform import Platform

COLUMNS = {
    layout.RAW_OBSERVATIONS: schemas.RAW_COLUMNS,
    layout.REFINED_15M: schemas.REFINED_COLUMNS,
    layout.QUARTERLY_FEATURES: schemas.FEATURES_COLUMNS,
    layout.REJECTED_OBSERVATIONS: schemas.REJECTS_COLUMNS,
    layout.STATION_HISTORY: STATION_HISTORY_COLUMNS,
}
TABLES = {**SCHEMAS, layout.STATION_HISTORY: STATION_HISTORY}


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    definitions = build_definitions(Settings(storage_url="s3://bucket/lake", asset_owners=["team:meteo", "a@b.org"]))
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_every_asset_has_owners_tags_kinds_and_columns(specs: dict[str, dg.AssetSpec]) -> None:
    expected = {"warehouse", "catalog", "dwd/station_history"}
    expected |= {
        f"{service}/{dataset}"
        for service in SERVICES
        for dataset in (
            "raw_observations", "rejected_observations", "refined_15m", "quarterly_features", "coverage",
        )
    }  # fmt: skip
    assert expected <= set(specs)
    for name, spec in specs.items():
        assert list(spec.owners) == ["team:meteo", "a@b.org"], name
        service, dataset = name.split("/") if "/" in name else (None, name)
        assert spec.tags.get("weather/service") == service
        assert spec.tags["weather/dataset"] == dataset
        assert spec.tags["domain"] == "weather"
        assert spec.kinds, name
        assert spec.description, name
        columns = spec.metadata["dagster/column_schema"].columns
        assert columns
        assert all(column.description for column in columns), name


@pytest.mark.parametrize("dataset", COLUMNS)
def test_columns_are_those_of_the_files(specs: dict[str, dg.AssetSpec], dataset: str) -> None:
    schema = TABLES[dataset]
    if dataset == layout.RAW_OBSERVATIONS:
        schema = pa.schema([*schema, schemas.SOURCE_QUALITY])
    shown = specs[f"dwd/{dataset}"].metadata["dagster/column_schema"].columns
    assert [column.name for column in shown] == schema.names
    assert list(COLUMNS[dataset]) == schema.names, "a text for every column, and for no other"
    assert [column.constraints.nullable for column in shown] == [field.nullable for field in schema]
    for column in shown:
        unit = COLUMNS[dataset][column.name].unit
        assert dict(column.tags) == ({"unit": unit} if unit else {})
        assert unit is None or column.description.endswith(f"[{unit}]")
    assert {c.name: c.type for c in shown}.get("station_id") == "string", "not how Arrow holds it in memory"


def test_texts_of_columns_are_not_stored() -> None:
    """A text that is improved must not change the bytes of a day."""
    for dataset, schema in TABLES.items():
        assert all(field.metadata is None for field in schema), dataset
        description = lake_table_schema(dataset).columns[0].description
        assert description
        assert description.encode() not in parquet.encode(schema.empty_table(), {}).data


def test_uris_lead_to_the_lake(specs: dict[str, dg.AssetSpec]) -> None:
    assert specs["dwd/refined_15m"].metadata["dagster/uri"] == "s3://bucket/lake/refined_15m/service=dwd"
    assert "dagster/uri" not in specs["dwd/coverage"].metadata, "a picture lies nowhere"
    assert uri_of("/data/my lake/x/service=dwd") == "file:///data/my%20lake/x/service=dwd"


@pytest.mark.parametrize("owner", ["weather", "team:", "", "a@b"])
def test_an_owner_that_dagster_refuses_is_named(owner: str) -> None:
    with pytest.raises(ConfigurationError, match=r"WEATHER_ASSET_OWNERS.*expected an e-mail"):
        build_definitions(Settings(asset_owners=["team:weather", owner]))


def test_every_partition_is_recorded_with_its_rows_and_uri(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", 1)
    definitions = build_definitions(platform.settings)
    with platform.instance as instance:
        for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M):
            asset = definitions.resolve_assets_def(dg.AssetKey(["tempest", dataset]))
            result = dg.materialize([asset], instance=instance, partition_key="2024-01-01|acme")
            [event] = [e for e in result.asset_materializations_for_node(asset.op.name) if e.asset_key == asset.key]
            [rows] = {event.metadata[f"dagster/{name}"].value for name in ("row_count", "partition_row_count")}
            assert rows == event.metadata["rows"].value > 0
            assert event.metadata["dagster/uri"].value == Path(str(event.metadata["path"].value)).as_uri().replace(
                "%3D", "="
            )
            assert "dagster/column_schema" not in event.metadata, "it is the definition's, not each partition's"


def test_unpartitioned_assets_count_their_rows(local_platform: Platform) -> None:
    definitions = build_definitions(local_platform.settings)
    with local_platform.instance as instance:
        instance.add_dynamic_partitions("tempest_tenants", ["acme", "borealis"])
        for path, rows in ((["warehouse"], len(VIEWS)), (["tempest", "coverage"], 2)):
            asset = definitions.resolve_assets_def(dg.AssetKey(path))
            [event] = dg.materialize([asset], instance=instance).get_asset_materialization_events()
            assert event.materialization.metadata["dagster/row_count"].value == rows
