"""Day types: the units that flow from a source into the lake.

A source yields each UTC day as a `RawDay` or a `DayFailure`; an asset hands the lake each day as a `DayTable` (to be
written), a `DayFailure`, or the `DayRecord` of a day that an earlier attempt of the same run has written already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa

from weather_backfill.model import expectation
from weather_backfill.model.expectation import Lack
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import REJECTS


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's result for one day; serialisable, so that a resumed run can report it again."""

    check: str
    passed: bool
    error: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds between the samples of a complete day: the grid on which coverage is counted.

    `by_station` gives a station's own where stations differ, in seconds by metric; that of "" holds for its other ones.
    `sporadic` metrics come when there is something to tell (gusts), so that their absence is no gap.
    """

    seconds: int
    by_metric: Mapping[str, int] = field(default_factory=dict)
    by_station: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sporadic: frozenset[str] = frozenset()

    def of(self, metric: str, station: str | None = None) -> int:
        """The cadence of a metric, in seconds; a station's own where it has one."""
        own = self.by_station.get(station, {}) if station is not None else {}
        if metric in own:
            return own[metric]
        return self.by_metric.get(metric, own.get("", self.seconds))


@dataclass(frozen=True, slots=True)
class RawDay:
    """One UTC day as read: observations, rejects, and the facts about how it was read.

    `expected_stations` names stations that should report, so that one that is silent all day is noticed, and
    `expected_metrics` those metrics of a station that should be there whether or not a row came. `lacks` is what the
    source could not bring, with the cause: the others' rows are written, and the day is incomplete.

    `table` has the columns of `schemas.RAW` (optionally `source_quality` at the end), sorted by station,
    metric and time, unique by those, with `quality` as the service judged (`PASS` where it does not; the
    caller flags). `facts` become materialization metadata; `lineage` follows from the data alone and goes into the
    file's footer.
    """

    date: date
    table: pa.Table
    cadence: Cadence
    rejects: pa.Table = field(default_factory=REJECTS.empty_table)
    facts: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[Lack, ...] = ()
    expected_stations: tuple[str, ...] = ()
    expected_metrics: Mapping[str, frozenset[str]] = field(default_factory=dict)
    based_on: str | None = None
    """The ETag of the lake's object whose rows the day holds too; only that one may be replaced."""

    @property
    def incomplete(self) -> str | None:
        """The sentence that names what the source could not bring; None where it brought everything."""
        return expectation.words(self.lacks)


@dataclass(frozen=True, slots=True)
class DayFailure:
    """A day that could not be read or made, with its error. Sources know no tenants: `of` adds the tenant."""

    date: date
    error: BaseException
    tenant: str = ""

    def of(self, tenant: str) -> DayFailure:
        """Return this failure as that of a tenant's day."""
        return replace(self, tenant=tenant)

    @property
    def key(self) -> PartitionKey:
        """The failed partition."""
        return PartitionKey(self.date, self.tenant)


@dataclass(frozen=True, slots=True)
class DayInventory:
    """Objects, bytes and requests that reading a day takes, counted without reading it: the input of a plan."""

    objects: int
    bytes: int
    requests: int = 0


@dataclass(frozen=True, slots=True)
class DayTable:
    """A day to write: `table` into the asset's dataset, `rejects` into the service's rejects.

    `lineage` goes into the file's footer, `facts` into the materialization's metadata. `incomplete`: why the day is not
    whole, if it is not.
    """

    key: PartitionKey
    table: pa.Table
    lineage: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[CheckResult] = ()
    rejects: pa.Table | None = None
    incomplete: str | None = None
    based_on: str | None = None  # ETag of the object that may be replaced, where the day was made from it
    accept_loss: bool = False  # write the day even where it has fewer rows than the lake


@dataclass(frozen=True, slots=True)
class DayRecord:
    """A day written to the lake: the key of its object, and its materialization's metadata."""

    key: PartitionKey
    object_key: str
    metadata: Mapping[str, Any]
    checks: Sequence[CheckResult] = ()
    rejects: int = 0
    reported_rejects: bool = False
    written: Sequence[Mapping[str, Any]] = ()  # provenance entries


Day = DayTable | DayFailure | DayRecord


@dataclass(slots=True)
class DayStream:
    """The days an asset hands to the IO manager, which fills `records` and `failures` while it writes them."""

    days: Iterator[Day]
    records: list[DayRecord] = field(default_factory=list)
    failures: list[DayFailure] = field(default_factory=list)

    def __iter__(self) -> Iterator[Day]:
        return self.days
