"""Athena's `ALTER TABLE ... ADD IF NOT EXISTS PARTITION`, for users without write access to Glue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from dagster_aws.athena.resources import AthenaError, AthenaTimeout

from weather_backfill.catalog.client import Catalog, translated
from weather_backfill.catalog.partitions import BATCH, Values, location_of
from weather_backfill.catalog.tables import Table, valid_name
from weather_backfill.model.errors import CatalogError, CatalogUnavailableError, ConfigurationError


def statements(database: str, table: Table, partitions: Sequence[Values]) -> list[str]:
    """Statements that add partitions, at most a hundred each; running them twice changes nothing.

    Values are days, hours and ids that have been validated; one with a quote raises `ConfigurationError`.
    """
    target = f"`{valid_name(database, 'database')}`.`{valid_name(table.name, 'table')}`"
    remaining = iter(partitions)
    batches = []
    while batch := list(islice(remaining, BATCH)):
        clauses = "\n".join(f"  {_clause(table, values)}" for values in batch)
        batches.append(f"ALTER TABLE {target} ADD IF NOT EXISTS\n{clauses}")
    return batches


def _clause(table: Table, values: Values) -> str:
    location = location_of(table, values)
    if "'" in location or "\\" in location:
        raise ConfigurationError(f"partition {location!r} holds a quote or backslash: it cannot stand in a statement.")
    pairs = ", ".join(f"`{key}` = '{value}'" for key, value in zip(table.keys, values, strict=True))
    return f"PARTITION ({pairs}) LOCATION '{location}/'"


def run_statements(catalog: Catalog, sql: Sequence[str], progress: Callable[[int], None] = lambda _: None) -> int:
    """Run statements one after another in Athena; returns their number.

    Raises `CatalogError` with Athena's reason, `CatalogUnavailableError` for a statement that takes too long.
    """
    athena = catalog.athena()
    for number, statement in enumerate(sql, 1):
        what = f"statement {number} of {len(sql)} ({statement.splitlines()[0]} ...)"
        try:
            with translated(what):
                athena.execute_query(statement)
        except AthenaTimeout as error:
            raise CatalogUnavailableError(
                f"{what} is still running in Athena: look there, then run it again."
            ) from error
        except (AthenaError, KeyError) as error:  # KeyError: a failure for which Athena gives no reason
            raise CatalogError(f"{what} failed in Athena: {error}") from error
        progress(1)
    return len(sql)
