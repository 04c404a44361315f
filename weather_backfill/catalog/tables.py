"""Glue tables of the lake's datasets, with partition projection, and of an archive in the Tempest layout.

With projection Athena derives the partitions from the table itself: it lists services and tenants (or the query names
the tenant: `injected`), and days run from the first day to today. A new day needs nothing; for a new tenant the
tables are updated, which the asset `catalog` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
from botocore.exceptions import ClientError

from weather_backfill.catalog.client import Catalog, error_of, translated
from weather_backfill.lake import layout
from weather_backfill.lake.warehouse import COLUMNS
from weather_backfill.model.errors import ConfigurationError, SchemaError
from weather_backfill.model.partitions import quarter_of
from weather_backfill.model.schemas import SCHEMA_VERSION, TIMESTAMP
from weather_backfill.storage.object_store import ObjectStore

NAME = re.compile(r"[a-z_][a-z0-9_]{0,127}")
LAKE_KEYS = ("service", "tenant", "date")
HOUR_KEYS = ("year", "month", "day", "hour")
_TYPES = {
    pa.string(): "string", pa.float64(): "double", pa.int8(): "tinyint", pa.int32(): "int", pa.int64(): "bigint",
    pa.bool_(): "boolean", pa.date32(): "date", TIMESTAMP: "timestamp",
}  # fmt: skip
_HIVE = "org.apache.hadoop.hive"
_PARQUET = {
    "InputFormat": f"{_HIVE}.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": f"{_HIVE}.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {"SerializationLibrary": f"{_HIVE}.ql.io.parquet.serde.ParquetHiveSerDe"},
}
# A line is a row of one column: JSON never holds the delimiter \001 unescaped, so no message is cut or dropped,
# whether an object holds one message, an array or one per line. Athena's JSON functions parse the text.
_LINES = {
    "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
    "OutputFormat": f"{_HIVE}.ql.io.HiveIgnoreKeyTextOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": f"{_HIVE}.serde2.lazy.LazySimpleSerDe",
        "Parameters": {"field.delim": "\x01", "serialization.format": "\x01"},
    },
}


@dataclass(frozen=True, slots=True)
class Table:
    """A Glue table over Hive-style folders below `location` (`s3://...`, no slash at the end)."""

    name: str
    description: str
    location: str
    columns: Mapping[str, str]
    keys: tuple[str, ...]
    storage: Mapping[str, Any]
    parameters: Mapping[str, str] = field(default_factory=dict)

    def descriptor(self, location: str | None = None) -> dict[str, Any]:
        """The storage descriptor of the table, or of the partition at `location`."""
        return {
            "Columns": [{"Name": name, "Type": kind} for name, kind in self.columns.items()],
            "Location": f"{location or self.location}/",
            **self.storage,
        }

    def table_input(self) -> dict[str, Any]:
        """The table as Glue's `TableInput`."""
        return {
            "Name": self.name,
            "Description": self.description,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"EXTERNAL": "TRUE", **self.parameters},
            # Strings, for ISO days and padded numbers compare as such, in Glue's filters too.
            "PartitionKeys": [{"Name": key, "Type": "string"} for key in self.keys],
            "StorageDescriptor": self.descriptor(),
        }


@dataclass(frozen=True, slots=True)
class Projection:
    """The values that the lake's tables project partitions from; without tenants each query names one (`injected`)."""

    services: Sequence[str]
    tenants: Sequence[str]
    first_day: date

    def parameters(self, dataset: str, keys: Sequence[str], location: str) -> dict[str, str]:
        """The table properties that Athena projects partitions from."""
        parameters = {"projection.enabled": "true", "projection.service.type": "enum"}
        parameters["projection.service.values"] = ",".join(self.services)
        parameters["projection.tenant.type"] = "enum" if self.tenants else "injected"
        if self.tenants:
            parameters["projection.tenant.values"] = ",".join(self.tenants)
        if "date" in keys:
            quarterly = dataset == layout.QUARTERLY_FEATURES
            start = quarter_of(self.first_day) if quarterly else self.first_day
            parameters |= {
                "projection.date.type": "date",
                "projection.date.format": "yyyy-MM-dd",
                "projection.date.range": f"{start},NOW",
                "projection.date.interval": "3" if quarterly else "1",
                "projection.date.interval.unit": "MONTHS" if quarterly else "DAYS",
            }
        parameters["storage.location.template"] = "/".join([location, *(f"{key}=${{{key}}}" for key in keys)]) + "/"
        return parameters


def lake_tables(store: ObjectStore, projection: Projection | None) -> list[Table]:
    """The tables of the lake's datasets; without a projection their partitions must be registered."""
    tables = []
    for dataset, schema in COLUMNS.items():
        keys = tuple(key for key in LAKE_KEYS if key in schema.names)
        location = f"{s3_location(store)}/{dataset}"
        parameters = {"classification": "parquet", "weather.schema_version": SCHEMA_VERSION}
        if projection:
            parameters |= projection.parameters(dataset, keys, location)
        columns = {f.name: glue_type(f.type) for f in schema if f.name not in keys}
        tables.append(Table(dataset, f"weather_backfill: {dataset}", location, columns, keys, _PARQUET, parameters))
    return tables


def archive_table(name: str, archive: ObjectStore) -> Table:
    """The table of an archive `year=/month=/day=/hour=` (UTC): one column, `message`, the text of a line."""
    parameters = {"classification": "json"}
    description = "weather_backfill: messages as they were received, one line a row"
    return Table(
        valid_name(name, "table"),
        description,
        s3_location(archive),
        {"message": "string"},
        HOUR_KEYS,
        _LINES,
        parameters,
    )


def glue_type(kind: pa.DataType) -> str:
    """The Hive type of an Arrow type; raises `SchemaError` for one that has none here."""
    if pa.types.is_dictionary(kind):
        return glue_type(kind.value_type)
    if pa.types.is_list(kind):
        return f"array<{glue_type(kind.value_type)}>"
    if kind not in _TYPES:
        raise SchemaError(f"Arrow type {kind} has no Glue type: expected one of {', '.join(map(str, _TYPES))}.")
    return _TYPES[kind]


def valid_name(name: str, what: str) -> str:
    """Return a valid name of a database or table, else raise `ConfigurationError`: names become parts of statements."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"{what} name {name[:140]!r} is not allowed: expected 1 to 128 characters of a-z, 0-9 and '_', "
            "not starting with a digit."
        )
    return name


def s3_location(store: ObjectStore) -> str:
    """The store's URL for Glue; raises `ConfigurationError` for a local folder or a URL that would break statements."""
    if store.folder:
        raise ConfigurationError(
            f"{store.url} is a local folder: Glue and Athena read S3 only. Use s3://bucket/prefix, or the `warehouse`."
        )
    if "'" in store.url or "\\" in store.url:
        raise ConfigurationError(f"{store.url!r} holds a quote or backslash: expected s3://bucket/prefix without them.")
    return store.url


def ensure_database(catalog: Catalog, database: str) -> bool:
    """Create the database if it is missing; returns whether it was created."""
    what = f"creating the database {valid_name(database, 'database')}"
    with translated(what):
        try:
            catalog.glue.get_database(Name=database)
            return False
        except ClientError as error:
            if _code(error) != "EntityNotFoundException":
                raise
    return _create(what, lambda: catalog.glue.create_database(DatabaseInput={"Name": database}))


def ensure_table(catalog: Catalog, database: str, table: Table, *, may_move: bool = True) -> str:
    """Create the table, or update it only where it differs: returns "created", "updated" or "unchanged".

    Parameters set by others stay. Raises `ConfigurationError` if the table is at another location and may not move.
    """
    wanted = table.table_input()
    existing = _get(catalog, database, table.name)
    if existing is None:
        creating = f"creating the table {database}.{table.name}"
        if _create(creating, lambda: catalog.glue.create_table(DatabaseName=database, TableInput=wanted)):
            return "created"
        existing = _get(catalog, database, table.name) or {}  # another process was first
    location = existing.get("StorageDescriptor", {}).get("Location", "").rstrip("/")
    if location != table.location and not may_move:
        raise ConfigurationError(
            f"the table {database}.{table.name} exists already, over {location or 'no location'} and not "
            f"{table.location}: name another with --table, or drop it."
        )
    foreign = {k: v for k, v in existing.get("Parameters", {}).items() if not _ours(k)}
    wanted["Parameters"] = foreign | wanted["Parameters"]
    if _includes(existing, wanted) and existing.get("Parameters") == wanted["Parameters"]:
        return "unchanged"
    with translated(f"updating the table {database}.{table.name}"):
        catalog.glue.update_table(DatabaseName=database, TableInput=wanted)
    return "updated"


def _ours(parameter: str) -> bool:
    return parameter.startswith(("projection.", "storage.location.template", "weather."))


def _includes(existing: Any, wanted: Any) -> bool:
    """Return whether `existing` has all values of `wanted`; AWS adds fields of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(existing, Mapping) and all(_includes(existing.get(k), value) for k, value in wanted.items())
    if isinstance(wanted, list):
        same_length = isinstance(existing, list) and len(existing) == len(wanted)
        return same_length and all(_includes(a, b) for a, b in zip(existing, wanted, strict=True))
    return bool(existing == wanted)


def _get(catalog: Catalog, database: str, name: str) -> dict[str, Any] | None:
    with translated(f"reading the table {database}.{name}"):
        try:
            return dict(catalog.glue.get_table(DatabaseName=database, Name=name)["Table"])
        except ClientError as error:
            if _code(error) != "EntityNotFoundException":
                raise
    return None


def _create(what: str, create: Any) -> bool:
    """Call `create`; returns whether it created the object. One that exists already is no error."""
    with translated(what):
        try:
            create()
        except ClientError as error:
            if _code(error) != "AlreadyExistsException":
                raise error_of(what, error) from error
            return False
    return True


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])
