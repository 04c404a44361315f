"""What a tenant file may say, and how it is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from weather_backfill.sources.dwd.connection import DwdConnection, InBox
from weather_backfill.sources.dwd.directory_index import Station
from weather_backfill.tenants.files import parse_tenant


def test_the_default_is_the_public_server() -> None:
    connection = DwdConnection(stations=["433", "01048", "00433"])
    assert connection.stations == ("00433", "01048")
    assert connection.base_url.startswith("https://opendata.dwd.de/")
    assert [p.folder for p in connection.opened_products()] == ["air_temperature"]


@pytest.mark.parametrize("text", ["00433", "433", "'00433'", '"433"', " 0433 "])
def test_a_station_in_a_tenant_file_is_the_one_that_stands_there(text: str) -> None:
    """YAML itself reads 00433 as the octal number 283."""
    written = f"id: acme\nservices:\n  dwd: {{stations: [{text}, 01048, 1975, 00283]}}\n"
    connection = parse_tenant(written.encode(), "acme.yaml", "acme").connection("dwd")
    assert connection.stations == ("00433", "01048", "01975", "00283")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stations": ["x"]}, "'x' is no station id: expected up to five digits"),
        ({"stations": [123456]}, "'123456' is no station id"),
        ({"stations": [-1]}, "'-1' is no station id"),
        ({"stations": [4.5]}, "'4.5' is no station id"),
        ({"stations": [True]}, "'True' is no station id"),
        ({"stations": []}, "at least 1"),
        ({"stations": "some"}, "all"),
        ({"stations": {"state": "Preussen"}}, "expected one of Baden"),
        ({"stations": {"south": 50, "west": 5, "north": 40, "east": 6}}, "the box is empty"),
        ({"stations": "all", "products": ["snow"]}, "no product 'snow'"),
        ({"stations": "all", "products": []}, "at least 1"),
        ({"stations": "all", "resolution": "daily"}, "hourly"),
        ({"stations": "all", "resolution": "1_minute"}, "no product 'air_temperature'"),
        ({"stations": "all", "base_url": "ftp://x"}, "expected https://"),
        ({"stations": "all", "colour": "red"}, "Extra inputs"),
    ],
)
def test_what_is_wrong_is_named(settings, words) -> None:
    with pytest.raises(ValidationError, match=words):
        DwdConnection(**settings)


def test_a_box_holds_its_edges() -> None:
    box = InBox(south=50, west=6, north=51, east=7)
    station = Station("00003", "Aachen", "Nordrhein-Westfalen", 50.0, 6.5, 202, None, None)
    assert box.holds(station)


def test_a_product_is_known_by_the_name_of_its_folder_too() -> None:
    connection = DwdConnection(stations="all", products=["cloudiness", "wind", "cloud_cover"])
    assert connection.products == ("cloud_cover", "wind")
    assert [p.folder for p in connection.opened_products()] == ["cloudiness", "wind"]


def test_products_at_every_resolution_the_server_has() -> None:
    every = ("air_temperature", "precipitation", "wind", "pressure", "cloud_cover", "moisture", "sun",
             "solar", "extreme_wind")  # fmt: skip
    assert len(DwdConnection(stations="all", products=every).opened_products()) == 9
    DwdConnection(stations="all", resolution="1_minute", products=["precipitation"])
