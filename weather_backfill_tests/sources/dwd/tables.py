"""What was parsed of a product's file as one table, as tests look at it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from weather_backfill.sources.dwd.product_parser import NO_LEVEL, ParsedProduct, Series


def long_table(parsed: ParsedProduct, schema: pa.Schema) -> pa.Table:
    """The series as one long table: sorted by metric and time, one chunk a metric, `quality` a placeholder.

    `quality` is 1 where there is a value and 9 where it is missing: the caller judges later.
    """
    parts = [series_batch(s, parsed.station or "", schema) for s in parsed.series]
    return pa.Table.from_batches(parts, schema)


def series_batch(series: Series, station: str, schema: pa.Schema) -> pa.RecordBatch:
    """One series as a record batch of `schema` (`schemas.RAW` with `source_quality`)."""
    size = len(series.times)
    missing = np.isnan(series.values)
    zeros = pa.array(np.zeros(size, dtype=np.int32))
    return pa.record_batch(
        [
            pa.array(series.times).view(schema.field("observed_at").type),
            pa.DictionaryArray.from_arrays(zeros, pa.array([station])),
            pa.DictionaryArray.from_arrays(zeros, pa.array([series.metric])),
            pa.array(series.values, mask=missing),
            pa.array(np.where(missing, 9, 1).astype(np.int8)),
            *(pa.array(np.full(size, part, dtype=np.int32)) for part in series.interval),
            pa.array(series.levels, mask=series.levels == NO_LEVEL),
        ],
        schema=schema,
    )
