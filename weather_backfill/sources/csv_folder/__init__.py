"""CSV or Parquet files in a folder or bucket: any logger's own tables, by a mapping of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weather_backfill.sources.service import ConnectOption, Service, absolute, imported, words

_source = imported(f"{__name__}.source", "CsvFolderSource")


def _connect(values: Mapping[str, str | None]) -> dict[str, Any] | None:
    if not values["csv"]:
        return None
    fields = ("files", "station", "station_column", "time_zone")
    given = {name: value for name in fields if (value := values[f"csv-{name.replace('_', '-')}"])}
    columns = dict(pair.partition("=")[::2] for pair in words(values["csv-columns"] or ""))
    return {"folder": absolute(values["csv"]), "columns": columns, "time_column": values["csv-time"], **given}


SERVICE = Service(
    name="csv_folder", title="CSV and Parquet files", connect=_connect,
    connection=imported(f"{__name__}.connection", "CsvFolderConnection"),
    open=lambda connection, around: _source()(connection, around.archive(connection.folder)),
    options=(
        ConnectOption("csv", "CSV or Parquet files: a folder or s3://bucket/prefix"),
        ConnectOption("csv-files", "Keys below it, with the date: %Y/%m/%Y-%m-%d.csv", "%Y-%m-%d.csv"),
        ConnectOption("csv-columns", "Metric, unit by column: 'temp=air_temperature degF,rain=precipitation_amount'"),
        ConnectOption("csv-time", "Column of the time", "time"),
        ConnectOption("csv-time-zone", "Zone of times that name none"),
        ConnectOption("csv-station", "The station of all rows"),
        ConnectOption("csv-station-column", "Or the column that names it"),
    ),
)  # fmt: skip
