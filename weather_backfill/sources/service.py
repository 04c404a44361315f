"""`Service`: the one object by which a service declares itself, in its folder's `__init__.py`.

Everything that differs by service derives from these objects (`registry.SERVICES_BY_NAME`): the tenant model, the
defaults of settings, the options of `weather-backfill tenants add`, the form's choices, access checks and assets. A
declaration imports nothing heavy: models, sources and simulators are imported when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from weather_backfill.sources.base import Source
    from weather_backfill.sources.connection import Connection
    from weather_backfill.storage.object_store import ObjectStore, S3Options


class SourceSettings(Protocol):
    """The platform's settings that sources go by."""

    @property
    def requests_per_minute(self) -> Mapping[str, int]:
        """Rate limits by service, all tenants together; a service that is absent keeps its own."""
        ...

    @property
    def limits_url(self) -> str | None:
        """Where rate limits and circuit breakers are shared."""
        ...

    @property
    def outage_patience(self) -> float:
        """Seconds that an outage is waited out."""
        ...

    @property
    def private_addresses(self) -> bool:
        """Whether loopback and private addresses may be asked."""
        ...

    @property
    def trusts_files(self) -> bool:
        """Whether tenant files are the operator's own."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A source's surroundings besides its connection. `inside`: a local archive ends at its folder, whatever links in
    it say; `hurry`: the caller has others to see to, so that a slow server is given up soon.
    """

    tenant: str
    lake: ObjectStore
    s3: S3Options
    settings: SourceSettings
    inside: bool = False
    hurry: bool = False

    def archive(self, place: str) -> ObjectStore:
        """The folder or bucket that a connection names, opened with the platform's S3 settings.

        Listing one that is not there raises `NotFoundError`.
        """
        from dataclasses import replace

        from weather_backfill.storage.object_store import ObjectStore

        return ObjectStore(place, replace(self.s3, hurry=self.hurry), must_exist=True, inside=self.inside)

    def pace(self, service: Service, own: int | None) -> tuple[int, bool]:
        """Requests a minute for a connection that asks for `own`, and whether that is an allowance of its own.

        A tenant's file allows itself at most the platform's pace, where such files are not the operator's.
        """
        shared = self.settings.requests_per_minute.get(service.name, service.requests_per_minute or 1)
        if own is None:
            return shared, False
        return (own if self.settings.trusts_files else min(own, shared)), True


@dataclass(frozen=True, slots=True)
class ConnectOption:
    """An option of `weather-backfill tenants add`: its name without dashes in front, its help, its default."""

    name: str
    help: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of source system, and all that the platform has to know about it.

    `connection` and `open` import what they need when they are called. `connect` makes a connection's settings from
    the values of `options`, by name; None where they ask for none. `simulate` gives the command of
    `weather-backfill simulate <name>`.
    """

    name: str
    title: str
    connection: Callable[[], type[Connection]]
    open: Callable[[Any, Surroundings], Source]
    first_day: date = date(2018, 1, 1)
    """The first daily partition, unless WEATHER_FIRST_DAY says otherwise."""
    chunk_days: int = 30
    """Days that a run takes, unless WEATHER_CHUNK_DAYS or WEATHER_SERVICE_CHUNK_DAYS says otherwise."""
    requests_per_minute: int | None = None
    """The pace that all tenants share; None for a service that is not asked by request."""
    required_metrics: tuple[str, ...] = ()
    """Metrics that every report has: a station that has no value of one all day makes the day incomplete."""
    has_station_history: bool = False
    """Its source has `station_history()`, the asset `<service>/station_history` is made from it."""
    restates: bool = False
    """Its source has `restated()`: the upstream changes days that it has sent."""
    reads_ranges: bool = False
    """Its source reads all days of a range before it gives the first; others read one day ahead."""
    has_request_budget: bool = False
    """Its source has `plan()`: requests and hours at the rate limit are known before a backfill."""
    options: tuple[ConnectOption, ...] = ()
    connect: Callable[[Mapping[str, str | None]], dict[str, Any] | None] = lambda values: None
    simulate: Callable[[], Callable[..., None]] | None = None


def imported(module: str, name: str) -> Callable[[], Any]:
    """A function that imports `module` when it is called, and returns what is called `name` there."""

    def get() -> Any:
        from importlib import import_module

        return getattr(import_module(module), name)

    return get


def words(text: str) -> list[str]:
    """The words between commas, as options of the command line list things."""
    return [word.strip() for word in text.split(",") if word.strip()]


def absolute(url: str) -> str:
    """A storage URL with a plain folder made absolute, so that every process means the same place."""
    from pathlib import Path

    return url if "://" in url else str(Path(url).expanduser().absolute())
