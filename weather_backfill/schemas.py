"""Arrow schemas of the lake's datasets, and the metadata every file carries in its footer.

All times are UTC and aware (`timestamp[us, UTC]`); windows are `[start, end)` labelled by their start.
`station_id` and `metric` are dictionary-encoded in memory and plain strings (dictionary pages) in the file,
so that any Parquet reader understands them.
"""

from __future__ import annotations

import json

import pyarrow as pa

from weather_backfill.metrics import METRICS

SCHEMA_VERSION = "1"
TIMESTAMP = pa.timestamp("us", tz="UTC")
TAG = pa.dictionary(pa.int32(), pa.string())

# QARTOD Manual for Real-Time Quality Control of Oceanographic and Meteorological Data, flag table.
PASS, NOT_EVALUATED, SUSPECT, FAIL, MISSING = 1, 2, 3, 4, 9

RAW = pa.schema(
    [
        pa.field("observed_at", TIMESTAMP, nullable=False),
        pa.field("station_id", TAG, nullable=False),
        pa.field("metric", TAG, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("quality", pa.int8(), nullable=False),
    ]
)
"""One row an observation; sorted by station, metric, time; unique by those three. Null value = missing."""

SOURCE_QUALITY = pa.field("source_quality", pa.int8())
"""The upstream's own quality level, kept beside ours where the service has one (DWD's QN)."""

REFINED = pa.schema(
    [
        pa.field("window_start", TIMESTAMP, nullable=False),
        pa.field("station_id", TAG, nullable=False),
        pa.field("metric", TAG, nullable=False),
        pa.field("sample_count", pa.int32(), nullable=False),
        pa.field("expected_count", pa.int32(), nullable=False),
        pa.field("completeness", pa.float64(), nullable=False),
        pa.field("mean", pa.float64()),
        pa.field("minimum", pa.float64()),
        pa.field("maximum", pa.float64()),
        pa.field("sum", pa.float64()),
        pa.field("first", pa.float64()),
        pa.field("last", pa.float64()),
        pa.field("standard_deviation", pa.float64()),
        pa.field("resultant_length", pa.float64()),
        pa.field("quality", pa.int8(), nullable=False),
    ]
)
"""One row a 15-minute window, station and metric; sorted by station, metric, window."""

REJECTS = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("source_object", pa.string(), nullable=False),
        pa.field("station_id", pa.string()),
        pa.field("observed_at", TIMESTAMP),
        pa.field("raw_text", pa.string(), nullable=False),
    ]
)
"""What was read and could not be kept: why, from which object, and its text cut at `RAW_TEXT_LIMIT` bytes."""

RAW_TEXT_LIMIT = 1000


def file_schema(schema: pa.Schema, lineage: dict[str, str], metrics: list[str]) -> pa.Schema:
    """The schema with the footer's metadata attached.

    `lineage` follows from the data alone (source objects, code version), never from the run, so that the
    same input gives the same bytes.
    """
    units = {
        name: {"unit": m.unit, "cf_unit": m.cf_unit, "cf_standard_name": m.cf, "long_name": m.long_name}
        for name in metrics
        if (m := METRICS.get(name))
    }
    metadata = {
        "weather.schema_version": SCHEMA_VERSION,
        "weather.time_zone": "UTC",
        "weather.window_label": "start of [start, end)",
        "weather.metrics": json.dumps(units, sort_keys=True),
        **{f"weather.{key}": value for key, value in sorted(lineage.items())},
    }
    return schema.with_metadata(metadata)
