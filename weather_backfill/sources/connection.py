"""The settings that every connection has: one tenant's use of one service."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.expectation import Asked, Lack
from weather_backfill.model.intervals import Seconds
from weather_backfill.security.reach import Label, Reach, reach_of


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("no such time zone: expected an IANA name, for example Europe/Berlin") from error
    return name


TimeZoneName = Annotated[Label, AfterValidator(_known_zone)]
"""An IANA time zone."""


Share = Annotated[float, Field(ge=0, le=1)]
"""A share from 0 to 1."""


class OffPeak(BaseModel):
    """The hours in which a connection's backfills may be launched; may run over midnight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: time = Field(description="HH:MM, included")
    end: time = Field(description="HH:MM, excluded")
    time_zone: TimeZoneName = "UTC"

    @field_validator("start", "end", mode="before")
    @classmethod
    def _a_time_of_day(cls, value: Any) -> Any:
        if not isinstance(value, (str, time)):  # YAML reads an unquoted 22:00 as 1320
            raise ValueError('expected HH:MM in quotes, for example "22:00"')
        return value

    @field_validator("start", "end")
    @classmethod
    def _of_the_zone(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("expected HH:MM alone: the zone goes to time_zone")
        return value

    @model_validator(mode="after")
    def _not_empty(self) -> OffPeak:
        if self.start == self.end:
            raise ValueError("start and end are the same, so no hour is left: leave off_peak out to launch at any time")
        return self

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.time_zone}"

    def holds(self, moment: datetime) -> bool:
        """Whether an aware moment lies in the window."""
        local = moment.astimezone(ZoneInfo(self.time_zone)).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A connection that asks for a part of another's data: of these stations and these metrics; None stands for all."""

    connection: Connection
    stations: frozenset[str] | None = None
    metrics: frozenset[str] | None = None


class Connection(BaseModel):
    """What every connection of a tenant to a service has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    lookback_days: int = Field(730, ge=1, le=36_500, description="Days before today that onboarding loads")
    first_day: date | None = Field(None, description="Nothing before this day is asked for")
    chunk_days: int | None = Field(None, ge=1, le=1000, description="Days a run takes, at most the service's own chunk")
    priority: int = Field(0, ge=-100, le=100, description="Higher goes first where backfills wait")
    off_peak: OffPeak | None = Field(None, description="Launch backfills only in these hours")
    required_metrics: tuple[Label, ...] | None = Field(
        None, max_length=200, description="Metrics without a value all day make it incomplete; default: the service's"
    )
    completeness_targets: dict[Label, Share] = Field(
        default_factory=dict, max_length=200, description="Share of a day that a metric's values must cover, by metric"
    )
    failed_limits: dict[Label, Share] = Field(
        default_factory=dict, max_length=200, description="Share of failed values that is allowed, by metric"
    )
    suspect_limits: dict[Label, Share] = Field(
        default_factory=dict, max_length=200, description="Share of suspect values that is allowed, by metric"
    )

    def reach(self) -> Reach:
        """Every folder, server and secret that the connection can touch, by the types of its fields."""
        return reach_of(self)

    def asked(self) -> Asked:
        """What the connection asks of every day; another request makes days that are done incomplete for it."""
        return Asked()

    def narrowed(self, lacks: Collection[Lack]) -> Narrowed | None:
        """The connection that brings no more than these lacks; None where only reading whole days brings them."""
        return None

    def stands_for(self, table: pa.Table) -> tuple[Seconds, Seconds]:
        """What rows of an older release stand for: the length of each row's interval, and its end after the stamp."""
        return 0, 0


def plainly(check: Callable[[str], object], value: str) -> str:
    """The value, if a check of ours takes it; its refusal as the `ValueError` that names the field in a file."""
    try:
        check(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return value
