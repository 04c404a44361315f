"""Arrow schemas of the lake's datasets, and the metadata in every file's footer.

All times are UTC and aware (`timestamp[us, UTC]`); windows are `[start, end)` labelled by their start.
`station_id` and `metric` are dictionary-encoded in memory and plain strings (dictionary pages) in the file,
so that any Parquet reader understands them.

Beside each schema stands what its columns mean. These texts are for people and catalogues: they are no metadata of the
Arrow schema, which would go into the footer and change the bytes of every file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa

from weather_backfill import __version__
from weather_backfill.model.errors import NewerSchemaError, UnreadableObjectError
from weather_backfill.model.metrics import METRICS

SCHEMA_VERSION = "2"
SINCE: Mapping[str, Mapping[str, str]] = {
    "raw_observations": {"interval_seconds": "2", "interval_end_offset_seconds": "2"},
    "refined_15m": {"window_seconds": "2", "partial_sum": "2"},
    "rejected_observations": {"raw_bytes": "2", "stands_for": "2"},
}
"""Columns added by schema versions after 1, by dataset: `{"refined_15m": {"median": "2"}}`.

Older files lack them and are read with nulls, so they are nullable. Columns are only ever added: a new meaning gets a
new name. For the operator's view see docs/operations.md, "Upgrading".
"""

TIMESTAMP = pa.timestamp("us", tz="UTC")
TAG = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, slots=True)
class Column:
    """The meaning of a column, and its unit where it has a fixed one (UDUNITS, as in `model/metrics.py`)."""

    description: str
    unit: str | None = None


# QARTOD Manual for Real-Time Quality Control of Oceanographic and Meteorological Data, flag table.
PASS, NOT_EVALUATED, SUSPECT, FAIL, MISSING = 1, 2, 3, 4, 9

RAW = pa.schema(
    [
        pa.field("observed_at", TIMESTAMP, nullable=False),
        pa.field("station_id", TAG, nullable=False),
        pa.field("metric", TAG, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("quality", pa.int8(), nullable=False),
        pa.field("interval_seconds", pa.int32()),
        pa.field("interval_end_offset_seconds", pa.int32()),
    ]
)
"""One row per observation; sorted by station, metric, time, interval; unique by those four. Null value = missing.

The interval that a value stands for ends `interval_end_offset_seconds` after its stamp and began `interval_seconds`
before that end; one of 0 seconds is a reading at that end. `intervals.py` derives start, end and midpoint. A row lies
in the UTC day of its midpoint; both numbers are null in files of schema 1, whose rows lie in the day of their stamp.
"""

RAW_COLUMNS = {
    "observed_at": Column("Time stamp as the upstream sent it, in UTC"),
    "station_id": Column("Station, as the upstream names it"),
    "metric": Column("Measured quantity, a CF standard name where CF has one"),
    "value": Column("Measured value in the metric's unit, which the file's footer names; null: missing"),
    "quality": Column("QARTOD flag: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing"),
    "interval_seconds": Column("Length of the interval that the value stands for; 0: a reading; null: not known", "s"),
    "interval_end_offset_seconds": Column("End of that interval, from observed_at on; null: not known", "s"),
    "source_quality": Column(
        "The upstream's own quality level, only where it gives one: DWD's QN, GHCNh's code (a letter as its ASCII "
        "number); null: none given"
    ),
}

SOURCE_QUALITY = pa.field("source_quality", pa.int8())
"""The upstream's own quality level, kept beside `quality` where the service has one (DWD's QN, GHCNh's
codes)."""

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
        pa.field("window_seconds", pa.int32()),
        pa.field("partial_sum", pa.float64()),
    ]
)
"""One row per window, station and metric; sorted by station, metric, window_start and window_seconds; unique by those.

A value of at most 15 minutes counts in the 15-minute windows that its interval overlaps; one that stands for longer has
a window of its own: it begins as the interval begins and is as long. See docs/values.md. Both last columns are null in
files of schema 1, whose windows are of 900 s whatever their values stood for.
"""

REFINED_COLUMNS = {
    "window_start": Column("Start of the window [start, end), in UTC"),
    "station_id": Column("Station, as the upstream names it"),
    "metric": Column("Measured quantity, a CF standard name where CF has one"),
    "sample_count": Column(
        "Values, neither missing nor flagged as failed, whose interval has its midpoint in the window: counts add up "
        "to the raw rows"
    ),
    "expected_count": Column("Grid slots of the station's cadence that start in the window, at least one"),
    "completeness": Column(
        "Share of the window's time that values cover (of readings, of its grid slots), 0 to 1", "1"
    ),
    "mean": Column(
        "Mean in the metric's unit, weighted by overlap; of directions that of their unit vectors (calms excluded, "
        "north is 360), of codes and totals null"
    ),
    "minimum": Column("Lowest value of those with half or more of their interval in the window, in the metric's unit"),
    "maximum": Column("Highest value of those with half or more of their interval in the window, in the metric's unit"),
    "sum": Column("Sum in the metric's unit, of metrics that add up; null where completeness is under 0.75"),
    "first": Column("Value of the earliest interval that ends in the window, in the metric's unit"),
    "last": Column("Value of the latest interval that ends in the window, in the metric's unit"),
    "standard_deviation": Column(
        "Sample standard deviation in the metric's unit, weighted by overlap; null of fewer than two values"
    ),
    "resultant_length": Column("Length of the mean unit vector of directions: 1 steady, 0 from everywhere", "1"),
    "quality": Column("QARTOD flag of the window: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing"),
    "window_seconds": Column(
        "Length of the window: 900, or of one value that stands for longer; null in files of schema 1", "s"
    ),
    "partial_sum": Column(
        "Sum of what fell in the window, however little of its time values cover, of metrics that add up: adds up to "
        "the raw values; null in files of schema 1"
    ),
}

FEATURES = pa.schema(
    [
        pa.field("quarter_start", pa.date32(), nullable=False),
        pa.field("station_id", TAG, nullable=False),
        pa.field("temperature_mean", pa.float64()),
        pa.field("temperature_minimum", pa.float64()),
        pa.field("temperature_maximum", pa.float64()),
        pa.field("frost_days", pa.int32()),
        pa.field("ice_days", pa.int32()),
        pa.field("heat_days", pa.int32()),
        pa.field("frost_hours", pa.int32()),
        pa.field("heat_hours", pa.int32()),
        pa.field("precipitation_total", pa.float64()),
        pa.field("wet_hours", pa.int32()),
        pa.field("wettest_day", pa.date32()),
        pa.field("wettest_day_amount", pa.float64()),
        pa.field("wind_mean", pa.float64()),
        pa.field("gust_maximum", pa.float64()),
        pa.field("prevailing_sector", pa.string()),
        pa.field("pressure_mean", pa.float64()),
        pa.field("pressure_range", pa.float64()),
        pa.field("humidity_mean", pa.float64()),
        pa.field("cloud_mean", pa.float64()),
        pa.field("temperature_completeness", pa.float64(), nullable=False),
        pa.field("precipitation_completeness", pa.float64(), nullable=False),
        pa.field("wind_completeness", pa.float64(), nullable=False),
        pa.field("wind_direction_completeness", pa.float64(), nullable=False),
        pa.field("gust_completeness", pa.float64(), nullable=False),
        pa.field("pressure_completeness", pa.float64(), nullable=False),
        pa.field("humidity_completeness", pa.float64(), nullable=False),
        pa.field("cloud_completeness", pa.float64(), nullable=False),
        pa.field("station_name", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("height", pa.float64()),
    ]
)
"""One row per station and quarter, sorted by station; days and hours are UTC's. °C, mm, m/s, hPa, percent, okta.

Frost day: minimum < 0; ice day: maximum < 0; heat day: maximum >= 30. Frost and heat hours: clock hours whose mean
is < 0 and >= 30. Wet hour: more than 0.1 mm. A window counts in the day that it is filed by and in the hour of its
midpoint, and weighs by the time that its values cover. `prevailing_sector`: of sixteen (N, NNE, ...), the one that the
mean direction lies in most of the time. `pressure_*` is station pressure. A statistic is null where its metric covers
less than 75 % of the quarter; `*_completeness` is that share, 0 where the metric is absent. The position (degrees,
metres) is the one that held for most of the quarter, null without a station history.
"""

_SHARE = "Share of the quarter that values of {} cover; 0 where the metric is absent"
FEATURES_COLUMNS = {
    "quarter_start": Column("First UTC day of the quarter"),
    "station_id": Column("Station, as the upstream names it"),
    "temperature_mean": Column("Mean air temperature", "degree_Celsius"),
    "temperature_minimum": Column("Lowest air temperature", "degree_Celsius"),
    "temperature_maximum": Column("Highest air temperature", "degree_Celsius"),
    "frost_days": Column("UTC days with a minimum below 0 degrees Celsius", "day"),
    "ice_days": Column("UTC days with a maximum below 0 degrees Celsius", "day"),
    "heat_days": Column("UTC days with a maximum of at least 30 degrees Celsius", "day"),
    "frost_hours": Column("Clock hours with a mean below 0 degrees Celsius", "hour"),
    "heat_hours": Column("Clock hours with a mean of at least 30 degrees Celsius", "hour"),
    "precipitation_total": Column("Precipitation of the quarter; 1 kg m-2 is one millimetre", "kg m-2"),
    "wet_hours": Column("Clock hours with more than 0.1 mm of precipitation", "hour"),
    "wettest_day": Column("UTC day with the most precipitation"),
    "wettest_day_amount": Column("Precipitation of that day; 1 kg m-2 is one millimetre", "kg m-2"),
    "wind_mean": Column("Mean wind speed", "m s-1"),
    "gust_maximum": Column("Highest gust", "m s-1"),
    "prevailing_sector": Column(
        "Of sixteen sectors (N, NNE, ...), the one that the wind came from for most of the time"
    ),
    "pressure_mean": Column("Mean station pressure", "hPa"),
    "pressure_range": Column("Highest less lowest station pressure", "hPa"),
    "humidity_mean": Column("Mean relative humidity", "percent"),
    "cloud_mean": Column("Mean cloud cover", "okta"),
    "temperature_completeness": Column(_SHARE.format("air temperature"), "1"),
    "precipitation_completeness": Column(_SHARE.format("precipitation"), "1"),
    "wind_completeness": Column(_SHARE.format("wind speed"), "1"),
    "wind_direction_completeness": Column(_SHARE.format("wind direction"), "1"),
    "gust_completeness": Column(_SHARE.format("gusts"), "1"),
    "pressure_completeness": Column(_SHARE.format("station pressure"), "1"),
    "humidity_completeness": Column(_SHARE.format("relative humidity"), "1"),
    "cloud_completeness": Column(_SHARE.format("cloud cover"), "1"),
    "station_name": Column("Name of the station for most of the quarter; null without a station history"),
    "latitude": Column("Latitude for most of the quarter; null without a station history", "degree_north"),
    "longitude": Column("Longitude for most of the quarter; null without a station history", "degree_east"),
    "height": Column("Height above sea level for most of the quarter; null without a station history", "m"),
}

REJECTS = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("source_object", pa.string(), nullable=False),
        pa.field("station_id", pa.string()),
        pa.field("observed_at", TIMESTAMP),
        pa.field("raw_text", pa.string(), nullable=False),
        pa.field("raw_bytes", pa.int64()),
        pa.field("stands_for", pa.int64()),
    ]
)
"""What was rejected: the reason, the source object, its text cut at `RAW_TEXT_LIMIT` bytes, and how much it stands for.

Mostly that is one row. A text that could not be taken apart may have held many: `stands_for` is then estimated from its
bytes, by what the other rows of the day take. Both last columns are null in older files.
"""

RAW_TEXT_LIMIT = 1000

REJECTS_COLUMNS = {
    "reason": Column("Why the row could not be kept"),
    "source_object": Column("Object of the upstream that the row was read from"),
    "station_id": Column("Station of the row; null where it names none that can be read"),
    "observed_at": Column("Time stamp of the row in UTC; null where it has none that can be read"),
    "raw_text": Column(f"The row as it was read, cut at {RAW_TEXT_LIMIT} bytes"),
    "raw_bytes": Column("Length of that text before it was cut; null in older files", "byte"),
    "stands_for": Column("Rows that may be lost with it, estimated where that is not known; null in older files"),
}


def is_older(version: str | None) -> bool:
    """Return whether a file's schema version precedes today's; a file without one is older than all."""
    return version is None or not version.isdecimal() or int(version) < int(SCHEMA_VERSION)


def refuse_newer(version: str | None, what: str) -> None:
    """Raise `NewerSchemaError` where `what` was written by a release that knows more than this one.

    Its columns may be read and mean something else: half-understood rows are worse than none, and a day that was taken
    for damaged would be loaded again, over the newer one.
    """
    if version is not None and version.isdecimal() and int(version) > int(SCHEMA_VERSION):
        raise NewerSchemaError(
            f"{what} has schema version {version}, this release ({__version__}) knows versions up to {SCHEMA_VERSION}: "
            "a newer release has written it. Run that release, or a later one, on this lake."
        )


def require_columns(present: Collection[str], required: Collection[str]) -> None:
    """Raise `UnreadableObjectError` where a file lacks a column that files of every version have.

    A damaged footer can rename a column and still be read: nulls in its place would be values lost in silence.
    """
    missing = [name for name in required if name not in present]
    if missing:
        raise UnreadableObjectError(
            f"this Parquet file has no column {', '.join(missing)}, which files of every schema version have (it has "
            f"{', '.join(present)}): it is damaged or was not written by this program. Reprocess its day, "
            "or restore the object's previous version."
        )


def conformed(table: pa.Table, schema: pa.Schema, dataset: str) -> pa.Table:
    """Bring a file's table to today's schema: the columns of `schema` in order, nulls where the file is older.

    Raises `UnreadableObjectError` where a column is missing that files of every version of the dataset have (all but
    those of `SINCE`). Further columns of the file (an upstream's own quality) stay at the end.
    """
    if table.schema.names[: len(schema)] == schema.names:
        return table
    later = SINCE.get(dataset, ())
    require_columns(table.schema.names, [name for name in schema.names if name not in later])
    extra = [name for name in table.schema.names if name not in schema.names]
    columns = {
        f.name: table[f.name] if f.name in table.schema.names else pa.nulls(table.num_rows, f.type) for f in schema
    }
    return pa.table({**columns, **{name: table[name] for name in extra}}, metadata=table.schema.metadata)


def file_schema(schema: pa.Schema, lineage: dict[str, str], metrics: list[str]) -> pa.Schema:
    """Attach the footer's metadata to a schema.

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


STATION_HISTORY = pa.schema(
    [
        pa.field("station_id", pa.string(), nullable=False),
        pa.field("valid_from", pa.date32(), nullable=False),
        pa.field("valid_to", pa.date32()),
        pa.field("is_current", pa.bool_(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("height", pa.float64()),
        pa.field("instruments", pa.list_(pa.string()), nullable=False),
        pa.field("operator", pa.string()),
    ]
)
"""Positions in degrees, height in metres above sea level, instruments as "what it measures: type"."""


STATION_HISTORY_COLUMNS = {
    "station_id": Column("Station, as the upstream names it"),
    "valid_from": Column("First day of the span in which nothing about the station changed"),
    "valid_to": Column("Day after the last of the span; null: still so"),
    "is_current": Column("True for the span that still lasts"),
    "name": Column("Name of the station"),
    "latitude": Column("Latitude", "degree_north"),
    "longitude": Column("Longitude", "degree_east"),
    "height": Column("Height above sea level", "m"),
    "instruments": Column("Instruments, each as quantity: type"),
    "operator": Column("Who runs the station"),
}
