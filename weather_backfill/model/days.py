"""The day: the unit that flows from a source into the lake.

A source yields each UTC day as a `RawDay` or a `DayFailure`; an asset hands the lake each day as a `DayTable` (to be
written), a `DayFailure`, or the `DayRecord` of a day that an earlier try of the same run has written already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa

from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import REJECTS


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's verdict on one day; serialisable, so that a resumed run can report it again."""

    check: str
    passed: bool
    error: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds between the samples a complete day holds: the grid that coverage is counted on."""

    seconds: int
    by_metric: Mapping[str, int] = field(default_factory=dict)

    def of(self, metric: str) -> int:
        """The cadence of a metric."""
        return self.by_metric.get(metric, self.seconds)


@dataclass(frozen=True, slots=True)
class RawDay:
    """One day as read: observations, rejects, and the facts about how it was read.

    `expected_stations` names stations that should be there, so that one that is silent all day is noticed.
    `incomplete` says why the day is not whole: its good rows are written and the day itself fails, so that one
    damaged station file never costs the others.

    `table` has the columns of `schemas.RAW` (optionally `source_quality` at the end), sorted by station,
    metric and time, unique by those, with `quality` still to be judged (the caller flags). `facts` become
    materialization metadata; `lineage` follows from the data alone and goes into the file's footer.
    """

    date: date
    table: pa.Table
    cadence: Cadence
    rejects: pa.Table = field(default_factory=REJECTS.empty_table)
    facts: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    incomplete: str | None = None
    expected_stations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DayFailure:
    """One day that could not be made, and why. A source knows no tenants: `of` adds whose day it is."""

    date: date
    error: BaseException
    tenant: str = ""

    def of(self, tenant: str) -> DayFailure:
        """The failure of a tenant's day."""
        return replace(self, tenant=tenant)

    @property
    def key(self) -> PartitionKey:
        """The partition that failed."""
        return PartitionKey(self.date, self.tenant)


@dataclass(frozen=True, slots=True)
class DayInventory:
    """The upstream's holdings of a day, learned without reading them: what a plan counts with."""

    objects: int
    bytes: int
    requests: int = 0


@dataclass(frozen=True, slots=True)
class DayTable:
    """A day to be written: `table` into the asset's dataset, `rejects` into the service's rejects."""

    key: PartitionKey
    table: pa.Table
    lineage: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[CheckResult] = ()
    rejects: pa.Table | None = None
    incomplete: str | None = None
    accept_loss: bool = False  # whether rows that the lake holds may go


@dataclass(frozen=True, slots=True)
class DayRecord:
    """A day that lies in the lake: the object, and its materialization's metadata."""

    key: PartitionKey
    object_key: str
    metadata: Mapping[str, Any]
    checks: Sequence[CheckResult] = ()
    rejects: int = 0
    reported_rejects: bool = False
    written: Sequence[Mapping[str, Any]] = ()  # entries of the provenance


Day = DayTable | DayFailure | DayRecord


@dataclass(slots=True)
class DayStream:
    """The days an asset hands to the IO manager; `records` and `failures` fill as they are written."""

    days: Iterator[Day]
    records: list[DayRecord] = field(default_factory=list)
    failures: list[DayFailure] = field(default_factory=list)

    def __iter__(self) -> Iterator[Day]:
        return self.days
