"""One tenant's use of DWD's open data, as the tenant file says it.

dwd:
  resolution: hourly
  products: [air_temperature, precipitation]
  stations: ["00433", "01048"]          # or all, or {state: Hessen}, or {south: 47, west: 10, ...}
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from weather_backfill.lake import parquet
from weather_backfill.model.errors import WeatherError
from weather_backfill.model.expectation import ALL, Asked, Lack
from weather_backfill.model.intervals import Seconds, by_metric
from weather_backfill.security.reach import Place, folder_of
from weather_backfill.security.tenant_policy import check_url
from weather_backfill.sources.connection import Connection, Narrowed
from weather_backfill.sources.dwd.directory_index import STATES, Station
from weather_backfill.sources.dwd.older import interval_of
from weather_backfill.sources.dwd.products import Product, Resolution, product, product_name
from weather_backfill.sources.dwd.remote import Remote, open_remote

_ID = re.compile(r"\d{5}")
METRICS_MADE = frozenset({"cloud_observation_method"})
"""Metrics that are made from another column where their own is absent."""
MOST_NARROWED = 500
"""Stations that are named one by one; more are read with all the others."""
BASE_URL = "https://opendata.dwd.de/climate_environment/CDC/observations_germany/climate"


def _station_id(value: Any) -> Any:
    """Five digits of a text or a number; a tenant file's 00433 without quotes comes as text (`tenants/files.py`)."""
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 5):
        raise ValueError(f"{str(value)[:40]!r} is no station id: expected up to five digits, for example '00433'")
    return text.zfill(5)


StationId = Annotated[str, BeforeValidator(_station_id)]
"""DWD's own station number, five digits."""


class InState(BaseModel):
    """The stations of a state of Germany."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: str

    @model_validator(mode="after")
    def _known(self) -> InState:
        if self.state not in STATES:
            raise ValueError(f"no state {self.state!r}: expected one of {', '.join(STATES)}")
        return self

    def holds(self, station: Station) -> bool:
        """Whether the station lies in the state."""
        return station.state == self.state


class InBox(BaseModel):
    """The stations of a bounding box, edges included; degrees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    south: float = Field(ge=-90, le=90)
    west: float = Field(ge=-180, le=180)
    north: float = Field(ge=-90, le=90)
    east: float = Field(ge=-180, le=180)

    @model_validator(mode="after")
    def _not_empty(self) -> InBox:
        if self.south > self.north or self.west > self.east:
            raise ValueError("the box is empty: south must not exceed north, nor west east")
        return self

    def holds(self, station: Station) -> bool:
        """Whether the station's present position lies in the box."""
        return self.south <= station.latitude <= self.north and self.west <= station.longitude <= self.east


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _known_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return _unique(tuple(map(product_name, names)))


StationIds = Annotated[tuple[StationId, ...], Field(min_length=1), AfterValidator(_unique)]


class DwdConnection(Connection):
    """Which products of which stations, at which resolution, from which server."""

    service: Literal["dwd"] = "dwd"
    base_url: Place = Field(BASE_URL, description="https://, http:// or file:///; the folder above `hourly`")
    resolution: Resolution = "hourly"
    products: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_names)] = ("air_temperature",)
    stations: Literal["all"] | InState | InBox | StationIds = Field(
        description="'all', a list of ids, {state: ...} or {south, west, north, east}"
    )
    requests_per_minute: int | None = Field(
        None, ge=1, le=100_000, description="An allowance of this tenant alone; without it the service's is shared"
    )
    parallel_downloads: int = Field(4, ge=1, le=16, description="Stations fetched ahead of the reader")

    @model_validator(mode="after")
    def _possible(self) -> DwdConnection:
        try:
            self.opened_products()
            if folder_of(self.base_url) is None:
                check_url(self.base_url)
            open_remote(self.base_url)
        except WeatherError as error:
            raise ValueError(str(error)) from error
        return self

    def opened_products(self) -> list[Product]:
        """The products in the order named; where two hold a metric, the earlier one is taken."""
        return [product(self.resolution, name) for name in self.products]

    def asked(self) -> Asked:
        """The products of the stations, by their ids or by the selection's name."""
        chosen = self.stations
        named = (
            frozenset(chosen) if isinstance(chosen, tuple) else frozenset((ALL if chosen == "all" else str(chosen),))
        )
        return Asked(frozenset(self.products), named, self.resolution)

    def narrowed(self, lacks: Collection[Lack]) -> Narrowed | None:
        """The lacking products of the lacking stations; products that share a metric are read together."""
        if any(not lack.station and not lack.part for lack in lacks):
            return None
        opened = self.opened_products()
        parts = {lack.part for lack in lacks}
        wanted = [p for p in opened if "" in parts or p.name in parts]
        metrics = {column.metric for p in wanted for column in p.columns.values()}
        while more := [p for p in opened if p not in wanted and metrics & {c.metric for c in p.columns.values()}]:
            wanted += more
            metrics |= {column.metric for p in more for column in p.columns.values()}
        ids = {lack.station for lack in lacks}
        named = all(_ID.fullmatch(station) for station in ids)
        products = tuple(p.name for p in opened if p in wanted)
        if not products or (named and len(ids) > MOST_NARROWED):
            return None
        update: dict[str, Any] = {"products": products} | ({"stations": tuple(sorted(ids))} if named else {})
        covered = frozenset(metrics | METRICS_MADE)
        return Narrowed(self.model_copy(update=update), frozenset(ids) if named else None, covered)

    def stands_for(self, table: pa.Table) -> tuple[Seconds, Seconds]:
        """What the rows' metrics stand for at the cadence of their file's footer; see `older.py`."""
        cadence = parquet.cadence_of(parquet.our_pairs(table.schema.metadata)).seconds
        return by_metric(table, lambda metric: interval_of(metric, cadence))

    def remote(self) -> Remote:
        """The server's tree."""
        return open_remote(self.base_url)
