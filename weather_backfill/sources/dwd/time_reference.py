"""Which clock a stamp was written by: DWD's files change between MEZ (UTC+1, no daylight saving) and UTC.

Rules, from the data set descriptions and the files themselves:

* `recent` and `now` of sub-hourly products are UTC.
* Sub-hourly history is MEZ before 2000-01-01 and UTC from then, and a file whose name lies on one side of
  that day is written by one clock to its last row. The stamps alone would not do: files of 1999 can run on
  into 2000-01-01 00:50 MEZ, and files of 2000 can begin at 1999-12-31 23:00 UTC. Taking the one for UTC or
  the other for MEZ loses six intervals and doubles six others. Only a file that spans the day, or whose name
  gives no days, is told by its stamps.
* Hourly products say it per parameter and period in `Metadaten_Parameter*`, column `Zusatz-Info`: "in UTC",
  "in MEZ", "in MEZ (MD)" (the eastern archive; the same clock). Without metadata hourly stamps are UTC, which
  holds for all of `recent`.
* "in WOZ" is true solar time: old hourly sunshine has it, to 2001. It differs from UTC by the longitude and by up to a
  quarter of an hour more over the year: sums of its hours are no sums of hours of UTC. Their rows are rejects of
  their own kind, and say nothing against the rest of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt

from weather_backfill.sources.dwd.metadata import ParameterEntry
from weather_backfill.sources.dwd.products import Period, ProductFile

Micros = npt.NDArray[np.int64]
"""Microseconds since 1970-01-01, as written in the file or in UTC."""

HOUR = 3_600_000_000
UNKNOWN_ZONE = np.int64(np.iinfo(np.int64).min)
"""The offset of stamps whose clock we do not know: such rows are rejected, never guessed."""

TRUE_SOLAR = UNKNOWN_ZONE + np.int64(1)
"""The offset of stamps in true solar time (WOZ): rejects of their own kind. All real offsets are greater."""

_EARLIEST = date(1700, 1, 1)
_UTC_SINCE = date(2000, 1, 1)
_MILLENNIUM = int(np.datetime64(_UTC_SINCE, "us").astype(np.int64))
_DAY = timedelta(days=1)
_ZONES = {"UTC": 0, "MEZ": HOUR}


class Clock(Protocol):
    """Knows the offset from UTC of every stamp of a column."""

    def offsets(self, stamps: Micros, column: str) -> Micros | int:
        """Microseconds to subtract from each stamp to get UTC; one number if all are alike."""
        ...


@dataclass(frozen=True, slots=True)
class UtcClock:
    """Every stamp is UTC."""

    def offsets(self, stamps: Micros, column: str) -> Micros | int:
        """Always 0."""
        return 0


@dataclass(frozen=True, slots=True)
class SubHourlyHistoryClock:
    """MEZ before 2000-01-01, UTC from then; `ends_in_mez` for a file that lies wholly before the change."""

    ends_in_mez: bool = False

    def offsets(self, stamps: Micros, column: str) -> Micros | int:
        """One hour for stamps of the old clock, 0 for the new."""
        if len(stamps) == 0:
            return 0
        if self.ends_in_mez and stamps.max() < _MILLENNIUM + HOUR:
            return HOUR
        return np.where(stamps < _MILLENNIUM + self._repeated_hour(stamps), HOUR, 0)

    @staticmethod
    def _repeated_hour(stamps: Micros) -> Micros:
        """Where the hour after midnight stands twice in one file, its first pass is still MEZ."""
        allowance = np.zeros(len(stamps), dtype=np.int64)
        back = np.flatnonzero((np.diff(stamps) < 0) & (stamps[1:] >= _MILLENNIUM))
        if len(back) == 1 and stamps[back[0]] < _MILLENNIUM + HOUR:
            allowance[: back[0] + 1] = HOUR
        return allowance


@dataclass(frozen=True, slots=True)
class HourlyClock:
    """By the entries of `Metadaten_Parameter*`; where two overlap, the one that starts later holds."""

    entries: Sequence[ParameterEntry]

    def offsets(self, stamps: Micros, column: str) -> Micros | int:
        """Offsets by the entry that covers a stamp's day, else by the last one before it, else the first."""
        named = [e for e in self.entries if e.parameter == column] or list(self.entries)
        if not named:
            return 0
        ordered = sorted(named, key=lambda e: (e.start or date.min, e.end or date.max))
        if len({zone_offset(e.time_reference) for e in ordered}) == 1:
            return zone_offset(ordered[0].time_reference)
        edges = sorted(
            {e.start or _EARLIEST for e in ordered} | {e.end + _DAY for e in ordered if e.end and e.end < date.max}
        )
        offsets = [zone_offset(_entry_on(edge, ordered).time_reference) for edge in edges]
        starts = np.array([_micros(edge) for edge in edges])
        at = np.maximum(np.searchsorted(starts, stamps, side="right") - 1, 0)
        return np.array(offsets, dtype=np.int64)[at]


def _entry_on(day: date, ordered: Sequence[ParameterEntry]) -> ParameterEntry:
    """Of the entries (sorted by start) that cover a day the last; without one, the last that began before."""
    begun = [e for e in ordered if (e.start or _EARLIEST) <= day]
    covering = [e for e in begun if e.end is None or e.end >= day]
    return (covering or begun or list(ordered))[-1]


def zone_offset(reference: str) -> int:
    """Microseconds ahead of UTC of a `Zusatz-Info` text; UTC if it says nothing.

    `TRUE_SOLAR` for WOZ alone ("in UTC und WOZ", as solar has it, is UTC: the other clock has its own column), and
    `UNKNOWN_ZONE` for other clocks.
    """
    words = reference.replace("(", " ").replace(")", " ").split()
    zones = [w for w in words if w in _ZONES]
    if zones:
        return _ZONES[zones[-1]]
    if "WOZ" in words:
        return int(TRUE_SOLAR)
    unknown = {"MOZ", "GZ", "MESZ"}.intersection(words)
    return int(UNKNOWN_ZONE) if unknown else 0


def clock_for(resolution: str, file: ProductFile, entries: Sequence[ParameterEntry]) -> Clock:
    """The clock of one file of a product."""
    if resolution == "hourly":
        return HourlyClock(entries)
    began_in_utc = file.start is not None and file.start >= _UTC_SINCE
    if file.period is Period.HISTORICAL and not began_in_utc:
        return SubHourlyHistoryClock(ends_in_mez=file.end is not None and file.end < _UTC_SINCE)
    return UtcClock()


def _micros(day: date) -> int:
    return int(np.datetime64(day, "us").astype(np.int64))
