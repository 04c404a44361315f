"""Partitions of Glue tables: lists the existing ones and creates the missing ones, a hundred per call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import tenacity

from weather_backfill.catalog.client import THROTTLING, Catalog, translated
from weather_backfill.catalog.tables import Table
from weather_backfill.model.errors import CatalogError, CatalogUnavailableError
from weather_backfill.util.retries import retrying

BATCH = 100
"""AWS's limit of partitions per batch call."""

PAGE = 1000
"""AWS's limit of partitions per page of a listing."""

_NAMED = 5

Values = tuple[str, ...]
"""A partition's values, one for each key of its table."""


@dataclass(frozen=True, slots=True)
class RegistrationCounts:
    """Counts of registered partitions: created now, existing already, and moved: their location was corrected."""

    created: int = 0
    existing: int = 0
    moved: int = 0

    def __add__(self, other: RegistrationCounts) -> RegistrationCounts:
        return RegistrationCounts(
            self.created + other.created, self.existing + other.existing, self.moved + other.moved
        )


def location_of(table: Table, values: Values) -> str:
    """The folder of a partition: `<table>/<key>=<value>/...`, no slash at the end."""
    return "/".join([table.location, *(f"{key}={value}" for key, value in zip(table.keys, values, strict=True))])


def existing(catalog: Catalog, database: str, table: Table, wanted: Sequence[Values]) -> dict[Values, str]:
    """List existing partitions with their locations, as far as listing them is cheaper than creating them.

    A page lists ten times as many as a call creates. The listing ends after as many pages as creating all would take
    calls; partitions it has not seen by then are created all the same, which is idempotent.
    """
    locations: dict[Values, str] = {}
    request = {"DatabaseName": database, "TableName": table.name, "ExcludeColumnSchema": True, "MaxResults": PAGE}
    if expression := range_expression(table.keys, wanted):
        request["Expression"] = expression
    for _ in range(-(-len(wanted) // BATCH)):
        with translated(f"listing partitions of {database}.{table.name}"):
            page = catalog.glue.get_partitions(**request)
        locations |= {tuple(p["Values"]): p["StorageDescriptor"]["Location"].rstrip("/") for p in page["Partitions"]}
        if not page.get("NextToken"):
            break
        request["NextToken"] = page["NextToken"]
    return locations


def range_expression(keys: Sequence[str], wanted: Iterable[Values]) -> str:
    """A Glue filter that all wanted partitions pass: equal leading values, then the range of the first that differs."""
    parts = []
    for key, column in zip(keys, zip(*wanted, strict=True), strict=False):
        low, high = min(column), max(column)
        if low != high:
            parts.append(f"{key} >= '{low}' AND {key} <= '{high}'")
            break
        parts.append(f"{key} = '{low}'")
    return " AND ".join(parts)


def register_partitions(
    catalog: Catalog,
    database: str,
    table: Table,
    wanted: Sequence[Values],
    known: Mapping[Values, str],
    progress: Callable[[int], None] = lambda _: None,
) -> RegistrationCounts:
    """Create the wanted partitions that are not `known`, and correct those known at another location.

    Batches are sent in parallel, as many at once as the settings allow. Every batch is tried before an error is
    raised: `CatalogError` naming the partitions that Glue refuses and why, `CatalogUnavailableError` if throttling
    outlasts our tries.
    """
    missing = [values for values in wanted if values not in known]
    moved = [values for values in wanted if values in known and known[values] != location_of(table, values)]
    progress(len(wanted) - len(missing) - len(moved))
    jobs = [(batch, False) for batch in _batches(missing)] + [(batch, True) for batch in _batches(moved)]

    def send(job: tuple[list[Values], bool]) -> RegistrationCounts | CatalogError | CatalogUnavailableError:
        batch, replace = job
        try:
            counts = _send_batch(catalog, database, table, batch, replace)
        except (CatalogError, CatalogUnavailableError) as error:
            return error
        progress(len(batch))
        return counts

    total = RegistrationCounts(existing=len(wanted) - len(missing) - len(moved))
    errors: list[CatalogError | CatalogUnavailableError] = []
    with ThreadPoolExecutor(catalog.concurrency, thread_name_prefix="glue") as pool:
        for result in pool.map(send, jobs):
            if isinstance(result, RegistrationCounts):
                total += result
            else:
                errors.append(result)
    if errors:
        more = f" ({len(errors) - 1} more batches failed)" if len(errors) > 1 else ""
        kind = CatalogUnavailableError if isinstance(errors[0], CatalogUnavailableError) else CatalogError
        raise kind(f"{errors[0]}{more}") from errors[0]
    return total


class _ItemsBusyError(CatalogUnavailableError):
    """Glue accepted the call, but some of its items were throttled."""


def _send_batch(
    catalog: Catalog, database: str, table: Table, batch: list[Values], replace: bool
) -> RegistrationCounts:
    """Send one batch; items that Glue throttled are sent again on their own."""
    remaining, existing_count = batch, 0
    # A call as a whole has been tried often enough by the client.
    for attempt in retrying().copy(retry=tenacity.retry_if_exception_type(_ItemsBusyError)):
        with attempt:
            errors = _call(catalog, database, table, remaining, replace)
            existing_count += sum(code == "AlreadyExistsException" for _, code, _ in errors)
            failed = [error for error in errors if error[1] != "AlreadyExistsException"]
            if refused := [error for error in failed if error[1] not in THROTTLING]:
                raise CatalogError(_named(database, table, len(batch), refused))
            remaining = [values for values, _, _ in failed]
            if remaining:
                raise _ItemsBusyError(_named(database, table, len(batch), failed))
    if replace:
        return RegistrationCounts(moved=len(batch))
    return RegistrationCounts(created=len(batch) - existing_count, existing=existing_count)


def _call(
    catalog: Catalog, database: str, table: Table, batch: list[Values], replace: bool
) -> list[tuple[Values, str, str]]:
    """Create or replace partitions in one call; returns the items that failed, with code and message."""
    inputs = [
        {"Values": list(values), "StorageDescriptor": table.descriptor(location_of(table, values))} for values in batch
    ]
    target: dict[str, Any] = {"DatabaseName": database, "TableName": table.name}
    with translated(f"registering {len(batch)} partitions of {database}.{table.name}"):
        if replace:
            entries = [{"PartitionValueList": item["Values"], "PartitionInput": item} for item in inputs]
            answer = catalog.glue.batch_update_partition(**target, Entries=entries)
        else:
            answer = catalog.glue.batch_create_partition(**target, PartitionInputList=inputs)
    return [
        (
            tuple(item.get("PartitionValues") or item.get("PartitionValueList") or ()),
            item["ErrorDetail"]["ErrorCode"],
            item["ErrorDetail"].get("ErrorMessage", ""),
        )
        for item in answer.get("Errors", [])
    ]


def _named(database: str, table: Table, size: int, failed: list[tuple[Values, str, str]]) -> str:
    shown = "; ".join(f"{'/'.join(values)}: {code} {message}".strip() for values, code, message in failed[:_NAMED])
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f"{len(failed)} of {size} partitions of {database}.{table.name} were not registered: {shown}{more}."


def _batches(values: Iterable[Values]) -> Iterator[list[Values]]:
    remaining = iter(values)
    while batch := list(islice(remaining, BATCH)):
        yield batch
