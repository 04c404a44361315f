"""One tenant's use of GHCNh, as the tenant file says it.

ghcnh:
  stations: [USW00023183, INI0000VIDD]    # or {country: IN}, {state: AZ}, or {south: 47, west: 10, ...}
  resolution_40: false                    # leave out what its owners may restrict: docs/ghcnh.md, Licence
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from weather_backfill.http.client import PoliteClient
from weather_backfill.http.shared_state.local import MemoryState
from weather_backfill.model.errors import WeatherError
from weather_backfill.model.expectation import Asked
from weather_backfill.security.reach import Place, folder_of
from weather_backfill.security.tenant_policy import check_url
from weather_backfill.sources.connection import Connection
from weather_backfill.sources.ghcnh import REQUESTS_PER_MINUTE
from weather_backfill.sources.ghcnh.stations import Station
from weather_backfill.sources.remote import FolderRemote, HttpRemote, Remote, opened, polite

BASE_URL = "https://www.ncei.noaa.gov/oa/global-historical-climatology-network/hourly"
_ID = re.compile(r"[A-Z0-9]{3}[A-Z0-9-]{8}")


def _station_id(value: Any) -> Any:
    text = value.strip().upper() if isinstance(value, str) else ""
    if not _ID.fullmatch(text):
        raise ValueError("a station id has 11 letters, digits and hyphens, for example 'USW00023183'")
    return text


def _code(value: Any) -> Any:
    text = value.strip().upper() if isinstance(value, str) else ""
    if not re.fullmatch("[A-Z]{2}", text):
        raise ValueError("expected two letters in quotes, for example 'IN' (YAML reads NO without quotes as false)")
    return text


def _month(value: str) -> str:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value):
        raise ValueError("expected months as YYYY-MM in quotes, for example '2026-07'")
    return value


StationId = Annotated[str, BeforeValidator(_station_id)]
"""GHCNh's station id, 11 characters."""
Code = Annotated[str, BeforeValidator(_code)]


class InCountry(BaseModel):
    """The stations of a country: FIPS 10-4, the first two letters of their ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    country: Code

    def holds(self, station: Station) -> bool:
        """Whether the station's id is of the country."""
        return station.id.startswith(self.country)


class InState(BaseModel):
    """The stations of a state of the US, or of a province in another country: `{state: ON, country: CA}`.

    The list gives states to some stations elsewhere too (TX in Antigua), so a country goes with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Code
    country: Code = "US"

    def holds(self, station: Station) -> bool:
        """Whether the list says so."""
        return station.state == self.state and station.id.startswith(self.country)


class InBox(BaseModel):
    """The stations of a bounding box, edges included; degrees. One with west above east lies across 180 degrees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    south: float = Field(ge=-90, le=90)
    west: float = Field(ge=-180, le=180)
    north: float = Field(ge=-90, le=90)
    east: float = Field(ge=-180, le=180)

    @model_validator(mode="after")
    def _not_empty(self) -> InBox:
        if self.south > self.north:
            raise ValueError("the box is empty: south must not exceed north")
        return self

    def holds(self, station: Station) -> bool:
        """Whether the station's listed position lies in the box."""
        if not self.south <= station.latitude <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= station.longitude <= self.east
        return station.longitude >= self.west or station.longitude <= self.east


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


StationIds = Annotated[tuple[StationId, ...], Field(min_length=1, max_length=50_000), AfterValidator(_unique)]


class GhcnhConnection(Connection):
    """Which stations, from which server."""

    service: Literal["ghcnh"] = "ghcnh"
    base_url: Place = Field(BASE_URL, description="https://, http:// or file:///; the folder above `access` and `doc`")
    stations: InCountry | InState | InBox | StationIds = Field(
        description="A list of ids, {country: ...}, {state: ...} or {south, west, north, east}"
    )
    resolution_40: bool = Field(
        True, description="false: leave out sources under WMO Resolution 40, and those whose terms are not known"
    )
    accept_lost_months: tuple[Annotated[str, AfterValidator(_month)], ...] = Field(
        (),
        max_length=1200,
        description="Months (YYYY-MM) that NOAA has withdrawn for good: no file is refused for them",
    )
    requests_per_minute: int | None = Field(
        None, ge=1, le=100_000, description="An allowance of this tenant alone; without it the service's is shared"
    )
    parallel_downloads: int = Field(4, ge=1, le=16, description="Files fetched ahead of the reader")

    def asked(self) -> Asked:
        """All elements of the stations, by their ids or by the selection's name."""
        chosen = self.stations
        stations = frozenset(chosen) if isinstance(chosen, tuple) else frozenset((str(chosen),))
        return Asked(stations=stations, whole="" if self.resolution_40 else "without Resolution 40")

    @model_validator(mode="after")
    def _possible(self) -> GhcnhConnection:
        try:
            if folder_of(self.base_url) is None:
                check_url(self.base_url)
            remote_of(self.base_url)
        except WeatherError as error:
            raise ValueError(str(error)) from error
        return self


def remote_of(base_url: str, client: Callable[[], PoliteClient] | None = None, *, inside: bool = False) -> Remote:
    """The remote of an `https://` or `http://` URL (over `client`) or a `file://` one.

    With `inside`, links that lead out of the folder are not followed. Raises `ConfigurationError` for others.
    """

    def over_http() -> Remote:
        if client is not None:
            return HttpRemote(base_url, client())
        return HttpRemote(base_url, polite("ghcnh", base_url, MemoryState(), per_minute=REQUESTS_PER_MINUTE))

    def folder(root: Path) -> Remote:
        return FolderRemote(root, inside)

    return opened(base_url, over_http, folder, example=BASE_URL)
