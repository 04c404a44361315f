"""Owners, tags, column schema and URI of every asset, under the keys that Dagster's pages and search know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

import dagster as dg
import pyarrow as pa

from weather_backfill.lake import layout
from weather_backfill.model import schemas
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.schemas import STATION_HISTORY, STATION_HISTORY_COLUMNS, Column
from weather_backfill.model.tags import DATASET_TAG, DOMAIN_TAG, SERVICE_TAG
from weather_backfill.settings import Settings, absolute

REQUIRED = dg.TableColumnConstraints(nullable=False)

_LAKE_TABLES: Mapping[str, tuple[pa.Schema, Mapping[str, Column], tuple[str, ...]]] = {
    layout.RAW_OBSERVATIONS: (
        pa.schema([*schemas.RAW, schemas.SOURCE_QUALITY]),
        schemas.RAW_COLUMNS,
        (
            "unique by station_id, metric, observed_at and interval_seconds",
            "sorted by station_id, metric, observed_at and interval_seconds",
        ),
    ),
    layout.REJECTED_OBSERVATIONS: (schemas.REJECTS, schemas.REJECTS_COLUMNS, ()),
    layout.REFINED_15M: (
        schemas.REFINED,
        schemas.REFINED_COLUMNS,
        (
            "unique by station_id, metric, window_start and window_seconds",
            "sorted by station_id, metric, window_start and window_seconds",
        ),
    ),
    layout.QUARTERLY_FEATURES: (
        schemas.FEATURES,
        schemas.FEATURES_COLUMNS,
        ("unique by quarter_start and station_id", "sorted by station_id"),
    ),
    layout.STATION_HISTORY: (
        STATION_HISTORY,
        STATION_HISTORY_COLUMNS,
        ("unique by station_id and valid_from", "sorted by station_id and valid_from"),
    ),
}


def lake_asset_attributes(service: str, dataset: str, settings: Settings) -> dict[str, Any]:
    """Owners, tags and metadata of the asset `<service>/<dataset>`, whose table lies in the lake."""
    uri = uri_of(f"{absolute(settings.storage_url).rstrip('/')}/{dataset}/service={service}")
    return asset_attributes(dataset, settings, lake_table_schema(dataset), service=service, uri=uri)


def asset_attributes(
    dataset: str, settings: Settings, columns: dg.TableSchema, *, service: str | None = None, uri: str | None = None
) -> dict[str, Any]:
    """Owners, tags and metadata of an asset, as keyword arguments of `dg.asset` and `dg.AssetSpec`.

    Raises `ConfigurationError` if an owner in the settings is none by Dagster's rules.
    """
    tags = {DOMAIN_TAG: "weather", DATASET_TAG: dataset, **({SERVICE_TAG: service} if service else {})}
    metadata = {"dagster/column_schema": columns, **({"dagster/uri": uri} if uri else {})}
    return {"owners": owners_of(settings), "tags": tags, "metadata": metadata}


def owners_of(settings: Settings) -> list[str]:
    """The owners of the platform's assets; raises `ConfigurationError` naming the one that Dagster refuses."""
    for owner in settings.asset_owners:
        try:
            dg.AssetSpec("owned", owners=[owner])
        except dg.DagsterInvalidDefinitionError as error:
            raise ConfigurationError(
                f"settings are not valid: WEATHER_ASSET_OWNERS: {owner!r} is no owner in Dagster: expected an e-mail "
                'address or "team:NAME", for example ["team:weather"].'
            ) from error
    return list(settings.asset_owners)


@cache
def lake_table_schema(dataset: str) -> dg.TableSchema:
    """The columns of a dataset of the lake as Dagster shows them."""
    schema, columns, constraints = _LAKE_TABLES[dataset]
    return table_schema(schema, columns, constraints)


def table_schema(schema: pa.Schema, columns: Mapping[str, Column], constraints: Sequence[str] = ()) -> dg.TableSchema:
    """An Arrow schema and what its columns mean as Dagster's table schema; a field that is not nullable is required."""
    return dg.TableSchema(
        columns=[_table_column(field, columns[field.name]) for field in schema],
        constraints=dg.TableConstraints(other=list(constraints)),
    )


def _table_column(field: pa.Field, column: Column) -> dg.TableColumn:
    # A dictionary is how Arrow holds repeated texts in memory; in the file the column is a plain string.
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return dg.TableColumn(
        field.name,
        str(kind),
        description=f"{column.description} [{column.unit}]" if column.unit else column.description,
        constraints=dg.TableColumnConstraints(nullable=field.nullable),
        tags={"unit": column.unit} if column.unit else {},
    )


def uri_of(place: str) -> str:
    """The URI of an object or folder: an absolute path becomes `file://`, a URL stays."""
    return place if "://" in place else f"file://{quote(place, safe='/=')}"
