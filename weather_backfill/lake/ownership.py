"""Whose a file is: service, tenant and day in its footer, compared with the place it lies in.

A file copied or restored to another tenant's or day's place looks whole. Its footer says whose it is, so that every
reader that knows what it reads takes such a file for damaged. Files written before have nothing to compare.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from weather_backfill.lake import parquet
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import refuse_newer

_FIELDS = ("service", "tenant", "date")


def owner_of_day(service: str, key: PartitionKey) -> dict[str, str]:
    """The footer's entries for a day of a service (for features: the first day of the quarter)."""
    return {**owner_of_tenant(service, key.tenant), "date": key.date.isoformat()}


def owner_of_tenant(service: str, tenant: str) -> dict[str, str]:
    """The footer's entries for a tenant's file that has no day."""
    return {"service": service, "tenant": tenant}


def check_owner(footer: Mapping[str, str], object_key: str) -> None:
    """Raise `UnreadableObjectError` if a footer (without `weather.`) names another owner than the object's key does.

    Raises `NewerSchemaError` if a newer release has written it.
    """
    refuse_newer(footer.get("schema_version"), object_key)
    place = dict(part.split("=", 1) for part in object_key.split("/") if part.partition("=")[0] in _FIELDS)
    named = {name: footer[name] for name in _FIELDS if name in footer and name in place}
    if any(value != place[name] for name, value in named.items()):
        raise UnreadableObjectError(
            f"{object_key} is by its footer of {_text(named)}, but lies in the place of {_text(place)}: it was copied "
            "or restored to a wrong place. Reprocess its day, or restore the place's own version."
        )


def check_table(table: pa.Table, object_key: str) -> pa.Table:
    """Return a table that was read from an object; raises as `check_owner`."""
    check_owner(parquet.our_pairs(table.schema.metadata), object_key)
    return table


def decode(data: bytes, object_key: str) -> pa.Table:
    """Decode an object's file; raises `UnreadableObjectError` if it is damaged or of another owner."""
    return check_table(parquet.decode(data), object_key)


def _text(owner: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {owner[name]!r}" for name in _FIELDS if name in owner)
