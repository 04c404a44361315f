"""Quarterly features of refined days, one day in memory at a time; the SQL is in files beside this module.

A statistic weighs by the time that values cover, and is null where that is under 75 % of the quarter's: so a missing
month makes it null, not wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import layout, ownership, parquet
from weather_backfill.model.days import Cadence
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.partitions import quarter_end
from weather_backfill.model.schemas import FEATURES, REFINED, conformed
from weather_backfill.refine.rules import COMPLETE_SHARE
from weather_backfill.refine.samples import connect, sql
from weather_backfill.refine.windows import FINEST_SLOT_SECONDS

PRODUCTS = {
    "temperature": "air_temperature",
    "precipitation": "precipitation_amount",
    "wind": "wind_speed",
    "wind_direction": "wind_from_direction",
    "gust": "wind_speed_of_gust",
    "pressure": "surface_air_pressure",
    "humidity": "relative_humidity",
    "cloud": "cloud_area_fraction",
}
"""The metric of each product of the features: a product exists where its metric has values."""

_COLUMNS = (
    "window_start", "station_id", "metric", "sample_count", "completeness",
    "mean", "minimum", "maximum", "sum", "window_seconds", "partial_sum",
)  # fmt: skip
_HISTORY = pa.schema(
    [
        ("station_id", pa.string()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("name", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("height", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class FeatureInput:
    """One refined day: its windows (columns of `schemas.REFINED`) and the cadence of their samples."""

    date: date
    table: pa.Table
    cadence: Cadence


def read_refined_day(day: date, data: bytes, name: str, object_key: str = "") -> FeatureInput:
    """Read the rows and columns of a refined object that the features need; `name` is the object's, for errors.

    Raises `UnreadableObjectError` where the object is damaged, lacks a column, has no cadence or does not belong where
    its key says.
    """
    with parquet.open_file(pa.BufferReader(data)) as file:
        footer = parquet.footer(file)
        ownership.check_owner(footer, object_key)
        if "cadence" not in footer:
            raise UnreadableObjectError(f"{name} has no cadence in its footer: materialize that refined day again.")
        table = file.read(list(_COLUMNS))
    schema = pa.schema([REFINED.field(column) for column in _COLUMNS])
    table = conformed(table, schema, layout.REFINED_15M)
    needed = pc.is_in(table["metric"].cast(pa.string()), pa.array(list(PRODUCTS.values())))
    return FeatureInput(day, table.filter(needed), parquet.cadence_of(footer))


def quarter_features(quarter: date, days: Iterable[FeatureInput], history: pa.Table | None = None) -> pa.Table:
    """Compute the rows of `schemas.FEATURES` of the quarter that starts on `quarter`.

    `history` has the stations' positions (the columns of the station history); without it they are null.
    """
    summaries, sectors = [], []
    with connect() as connection:
        for day in days:
            connection.register("windows", day.table)
            connection.register("cadences", _cadences(day))
            summaries.append(_day(connection, day.date))
            sectors.append(connection.sql(sql("features_sectors")).to_arrow_table())
        if not summaries:
            return FEATURES.empty_table()
        connection.register("days", pa.concat_tables(summaries))
        connection.register("sectors", pa.concat_tables(sectors))
        connection.register("history", (_HISTORY.empty_table() if history is None else history).select(_HISTORY.names))
        parameters = {"quarter_start": quarter, "quarter_end": quarter_end(quarter), "complete": COMPLETE_SHARE}
        return _typed(connection.sql(sql("features"), params=parameters).to_arrow_table())


def _day(connection: duckdb.DuckDBPyConnection, day: date) -> pa.Table:
    table = connection.sql(sql("features_day")).to_arrow_table()
    return table.append_column("date", pa.array([day] * table.num_rows, pa.date32()))


def _cadences(day: FeatureInput) -> pa.Table:
    """The seconds between two grid slots by station and metric."""
    stations = pc.unique(day.table["station_id"].cast(pa.string())).to_pylist()
    series = [(station, metric) for station in stations for metric in PRODUCTS.values()]
    slots = [max(day.cadence.of(metric, station), FINEST_SLOT_SECONDS) for station, metric in series]
    return pa.table({
        "station_id": pa.array([station for station, _ in series], pa.string()),
        "metric": pa.array([metric for _, metric in series], pa.string()),
        "slot_seconds": pa.array(slots, pa.int64()),
    })  # fmt: skip


def _typed(rows: pa.Table) -> pa.Table:
    tags = {"station_id": pc.dictionary_encode(rows["station_id"])}
    return pa.Table.from_arrays([tags.get(f.name, rows[f.name]).cast(f.type) for f in FEATURES], schema=FEATURES)
