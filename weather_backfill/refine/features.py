"""Quarterly features of refined days, one day in memory at a time; the SQL is in files beside this module.

A quarter's grid is the number of slots it should hold: those of each day by the cadence in the day's footer, and for a
missing day those of the metric's fullest day. So a missing month makes a statistic null, not wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import ownership, parquet
from weather_backfill.model.days import Cadence
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.partitions import quarter_end
from weather_backfill.model.schemas import FEATURES, require_columns
from weather_backfill.refine.rules import COMPLETE_SHARE
from weather_backfill.refine.samples import connect, sql
from weather_backfill.refine.windows import FINEST_SLOT_SECONDS, expected_slots

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
    "window_start", "station_id", "metric", "sample_count", "expected_count", "completeness",
    "mean", "minimum", "maximum", "sum",
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
    require_columns(table.schema.names, _COLUMNS)
    needed = pc.is_in(table["metric"].cast(pa.string()), pa.array(list(PRODUCTS.values())))
    return FeatureInput(day, table.filter(needed), parquet.cadence_of(footer))


def quarter_features(quarter: date, days: Iterable[FeatureInput], history: pa.Table | None = None) -> pa.Table:
    """Compute the rows of `schemas.FEATURES` of the quarter that starts on `quarter`.

    `history` has the stations' positions (the columns of the station history); without it they are null.
    """
    summaries, sectors = [], []
    slots: list[dict[str, int]] = []
    with connect() as connection:
        for day in days:
            slots.append({m: _slots(day.cadence, m) for m in PRODUCTS.values()})
            connection.register("windows", day.table)
            summaries.append(_day(connection, day.date, slots[-1]))
            sectors.append(connection.sql(sql("features_sectors")).to_arrow_table())
        if not summaries:
            return FEATURES.empty_table()
        connection.register("days", pa.concat_tables(summaries))
        connection.register("sectors", pa.concat_tables(sectors))
        connection.register("expected", _expected(slots, (quarter_end(quarter) - quarter).days))
        connection.register("history", (_HISTORY.empty_table() if history is None else history).select(_HISTORY.names))
        parameters = {"quarter_start": quarter, "quarter_end": quarter_end(quarter), "complete": COMPLETE_SHARE}
        return _typed(connection.sql(sql("features"), params=parameters).to_arrow_table())


def _day(connection: duckdb.DuckDBPyConnection, day: date, slots: dict[str, int]) -> pa.Table:
    table = connection.sql(sql("features_day")).to_arrow_table()
    expected = pa.array([slots[metric] for metric in table["metric"].to_pylist()], pa.int64())
    return table.append_column("date", pa.array([day] * table.num_rows, pa.date32())).append_column("slots", expected)


def _slots(cadence: Cadence, metric: str) -> int:
    return expected_slots(max(cadence.of(metric), FINEST_SLOT_SECONDS))


def _expected(slots: list[dict[str, int]], days: int) -> pa.Table:
    """The grid slots of the whole quarter by metric, including those of missing days."""
    missing = days - len(slots)
    totals = {m: sum(s[m] for s in slots) + missing * max(s[m] for s in slots) for m in PRODUCTS.values()}
    return pa.table({"metric": list(totals), "expected": pa.array(totals.values(), pa.int64())})


def _typed(rows: pa.Table) -> pa.Table:
    tags = {"station_id": pc.dictionary_encode(rows["station_id"])}
    return pa.Table.from_arrays([tags.get(f.name, rows[f.name]).cast(f.type) for f in FEATURES], schema=FEATURES)
