"""What rows of an older release stand for, told from the rows."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from weather_backfill.model.schemas import RAW
from weather_backfill.sources.csv_folder.connection import CsvFolderConnection
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.products import PRODUCTS
from weather_backfill.sources.tempest.connection import TempestConnection

START = datetime(2024, 1, 1, tzinfo=UTC)
OLD = pa.schema(list(RAW)[:5])


def rows(*given: tuple[int, str, str, float | None]) -> pa.Table:
    """Rows as schema 1 had them, by seconds after `START`, station, metric and value."""
    columns = [
        {"observed_at": START + timedelta(seconds=s), "station_id": station, "metric": m, "value": v, "quality": 1}
        for s, station, m, v in given
    ]
    return pa.Table.from_pylist(columns, schema=OLD)


def of_metrics(*metrics: str) -> pa.Table:
    return rows(*((0, "00433", metric, 1.0) for metric in metrics))


@pytest.mark.parametrize(
    ("cadence", "metrics", "expected"),
    [
        (600, ["precipitation_amount", "air_temperature", "retired"], [(600, 0)] * 3),
        (60, ["precipitation_amount"], [(60, 0)]),
        (3600, ["air_temperature", "wind_speed", "precipitation_amount", "duration_of_sunshine", "retired"],
         [(0, -600), (3600, -600), (3600, -600), (3600, 0), (0, -600)]),
        (3600, ["cloud_area_fraction", "cloud_observation_method"], [(0, -600)] * 2),
    ],
)  # fmt: skip
def test_dwd_by_resolution_and_metric(cadence: int, metrics: list[str], expected: list[tuple[int, int]]) -> None:
    """The connection is of another resolution and product by now."""
    connection = DwdConnection(stations=("00433",), resolution="1_minute", products=("precipitation",))
    footer = {"weather.cadence": json.dumps({"seconds": cadence, "by_metric": {}})}
    told = connection.stands_for(of_metrics(*metrics).replace_schema_metadata(footer))
    assert list(zip(*(np.asarray(part).tolist() for part in told), strict=True)) == expected


def test_products_that_share_a_metric_say_the_same_of_it() -> None:
    said: dict[tuple[int, str], set[tuple[int, int]]] = defaultdict(set)
    for product in PRODUCTS.values():
        for column in product.columns.values():
            said[product.cadence, column.metric].add((product.interval.seconds, product.interval.end_offset))
    assert {key: kinds for key, kinds in said.items() if len(kinds) > 1} == {}


def test_a_tempest_report_says_its_length_and_how_often_wind_is_sampled() -> None:
    table = rows(
        (0, "A", "air_temperature", 1.0), (300, "A", "air_temperature", 1.0), (300, "B", "air_temperature", 1.0),
        (0, "A", "reporting_interval", 1.0), (300, "A", "reporting_interval", 5.0),
        (300, "B", "reporting_interval", None),
        (0, "A", "wind_sample_interval", 300.0), (300, "A", "wind_sample_interval", 6.0),
        (0, "A", "wind_speed", 2.0), (300, "A", "wind_speed", 2.0), (0, "A", "wind_speed_lull", None),
    )  # fmt: skip
    seconds, offset = TempestConnection(archive_url="/nowhere").stands_for(table)
    assert (np.asarray(seconds).tolist(), offset) == ([60, 300, 60, 60, 300, 60, 60, 300, 300, 300, 60], 0)


def test_a_report_of_several_chunks_is_one() -> None:
    first, second = rows((0, "B", "air_temperature", 1.0)), rows((0, "B", "reporting_interval", 2.0))
    table = pa.concat_tables([first, second])
    assert np.asarray(TempestConnection(archive_url="/nowhere").stands_for(table)[0]).tolist() == [120, 120]


def test_a_csv_connection_says_it_by_metric() -> None:
    connection = CsvFolderConnection(
        folder="/data", station="S", columns={"t": "air_temperature", "r": "precipitation_amount"},
        intervals={"precipitation_amount": 900}, time_is="start",
    )  # fmt: skip
    told = connection.stands_for(of_metrics("precipitation_amount", "air_temperature"))
    assert [np.asarray(part).tolist() for part in told] == [[900, 0], [900, 0]]
