"""One of two writers of the same day, as a process: `writer URL ENDPOINT NUMBER ROUNDS`.

Writes version after version of a day, raw and refined, as the IO manager does; each version is all one number.
"""

from __future__ import annotations

import sys
from datetime import date

import numpy as np
import pyarrow as pa

from weather_backfill.lake import layout
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import RAW, REFINED
from weather_backfill.storage.object_store import ObjectStore, S3Options
from weather_backfill.util.retries import retrying

KEY = PartitionKey(date(2024, 1, 1), "acme")
START = int(np.datetime64("2024-01-01", "us").astype("i8"))
DATASETS = {layout.RAW_OBSERVATIONS: RAW, layout.REFINED_15M: REFINED}


def version(schema: pa.Schema, number: int) -> pa.Table:
    """A day whose every value, and whose number of rows, say which version it is."""
    rows = 200 + number
    columns = []
    for field in schema:
        if pa.types.is_timestamp(field.type):
            columns.append(pa.array(START + np.arange(rows) * 1_000_000).cast(field.type))
        elif pa.types.is_dictionary(field.type):
            columns.append(pa.array([f"ST-{number}"] * rows).dictionary_encode())
        else:
            columns.append(pa.array(np.full(rows, number % 100)).cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def number_of(table: pa.Table) -> int:
    """Which version a day is; fails if it is not one whole version."""
    number = table.num_rows - 200
    station = set(table["station_id"].to_pylist())
    assert station == {f"ST-{number}"}, f"{table.num_rows} rows of {station}"
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            assert set(column.to_pylist()) == {number % 100}, name
    return number


def main() -> None:
    """Write all rounds."""
    url, endpoint, first, rounds = sys.argv[1:]
    store = ObjectStore(url, S3Options(endpoint_url=endpoint or None))
    for turn in range(int(rounds)):
        number = int(first) + 2 * turn
        for dataset, schema in DATASETS.items():
            retrying()(write_day, store, "tempest", dataset, DayTable(KEY, version(schema, number), accept_loss=True))


if __name__ == "__main__":
    main()
