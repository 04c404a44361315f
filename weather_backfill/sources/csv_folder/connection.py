"""One tenant's folder of CSV or Parquet files, as the tenant file says it; `docs/csv_folder.md` shows one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from weather_backfill.model.errors import refuse_user
from weather_backfill.model.expectation import Asked
from weather_backfill.model.intervals import Seconds, by_metric
from weather_backfill.model.units import conversion
from weather_backfill.security.reach import Label, Place
from weather_backfill.sources.connection import Connection, TimeZoneName, plainly


class CsvFolderConnection(Connection):
    """Files of one or many stations, wide (a column a metric) or long (`metric_column`, `value_column`)."""

    folder: Place = Field(min_length=1, description="A folder or s3://bucket/prefix")
    files: Label = Field("%Y-%m-%d.csv", description="Keys below it, the date as in strftime; * and ? match")
    time_column: Label = Field("time", description="The column with the time of the observation")
    time_format: Label | None = Field(None, description="As in strptime; without it ISO 8601")
    time_zone: TimeZoneName = Field("UTC", description="Zone of times that name none")
    station: Label | None = Field(None, description="The station of all rows")
    station_column: Label | None = Field(None, description="Or the column that names it")
    columns: dict[Label, Label] = Field(
        min_length=1, max_length=2000, description="'metric' or 'metric unit', by column or long name"
    )
    metric_column: Label | None = Field(None, description="Of a long table: the column with the names of `columns`")
    value_column: Label | None = Field(None, description="Of a long table: the column with the values")
    separator: str = Field(",", min_length=1, max_length=1)
    decimal: str = Field(".", pattern=r"^[.,]$")
    encoding: str = "utf-8"
    interval_seconds: int = Field(0, ge=0, le=86_400, description="What a value stands for: its seconds; 0: a reading")
    intervals: dict[Label, Annotated[int, Field(ge=0, le=86_400)]] = Field(
        {}, max_length=2000, description="The same by metric, where it differs: {precipitation_amount: 600}"
    )
    time_is: Literal["end", "start"] = Field("end", description="Which end of the interval the time is")
    cadence_seconds: int = Field(600, ge=1, le=86_400, description="Seconds between a station's observations")

    @field_validator("folder")
    @classmethod
    def _without_user(cls, folder: str) -> str:
        return plainly(lambda given: refuse_user(given, "the folder's URL"), folder)

    @field_validator("columns")
    @classmethod
    def _convertible(cls, columns: dict[str, str]) -> dict[str, str]:
        for text in columns.values():
            plainly(lambda given: conversion(*_metric_and_unit(given)), text)
        return columns

    @model_validator(mode="after")
    def _possible(self) -> CsvFolderConnection:
        if (self.station is None) == (self.station_column is None):
            raise ValueError("name either station, for all rows, or station_column")
        if (self.metric_column is None) != (self.value_column is None):
            raise ValueError("metric_column and value_column go together: a long table has both, a wide one none")
        unknown = self.intervals.keys() - {metric for metric, _, _ in self.scales().values()}
        if unknown:
            raise ValueError(f"intervals: no column is of the metric {', '.join(sorted(unknown))}")
        if self.files.startswith("/") or ".." in self.files.split("/") or "%" not in self.files:
            raise ValueError("files: expected keys below the folder with the date, for example %Y/%m/%Y-%m-%d.csv")
        return self

    def asked(self) -> Asked:
        """The columns, with the metric that each becomes."""
        return Asked(frozenset(f"{column}: {metric}" for column, metric in self.columns.items()))

    def scales(self) -> dict[str, tuple[str, float, float]]:
        """Metric, factor and offset by column, or by name in a long table."""
        pairs = {name: _metric_and_unit(text) for name, text in self.columns.items()}
        return {name: (metric, *conversion(metric, unit)) for name, (metric, unit) in pairs.items()}

    def interval_of(self, metric: str) -> tuple[int, int]:
        """Length of the interval that a metric's values stand for, and its end after the stamp, in seconds."""
        seconds = self.intervals.get(metric, self.interval_seconds)
        return seconds, seconds if self.time_is == "start" else 0

    def stands_for(self, table: pa.Table) -> tuple[Seconds, Seconds]:
        """What the connection says of each metric."""
        return by_metric(table, self.interval_of)


def _metric_and_unit(text: str) -> tuple[str, Any]:
    metric, _, unit = text.partition(" ")
    return metric, unit.strip() or None
