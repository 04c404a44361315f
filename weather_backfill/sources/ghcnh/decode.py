"""A file's columns to rows: one a value, with the flag that its source gave and what it stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.model.schemas import NOT_EVALUATED, PASS, SUSPECT
from weather_backfill.sources.ghcnh.elements import (
    ELEMENTS,
    MEASUREMENT,
    METRICS,
    MISSING_VALUES,
    QUALITY,
    RAIN,
    REPORT,
    RUNNING,
    SOURCE,
    SPECIAL,
    TRACE,
    WITH_REPORTS,
    Element,
    accumulated_hours,
    flag_of,
    is_doubtful,
    is_open,
    is_trace,
    level_of,
    removed_beside_calm,
)
from weather_backfill.sources.ghcnh.psv import NO_TIME, Coded, Psv
from weather_backfill.sources.ghcnh.rain import routine_minute
from weather_backfill.sources.table import Reject

METRIC_CODES = {metric: code for code, metric in enumerate(METRICS)}
NO_LEVEL = -1
_CALM_OR_VARIABLE = 999.0
IN_FUTURE = "stamped in the future"
NO_STAMP = "no time"
NO_NUMBER = "not a number"
WRONG_LENGTH = "wrong number of fields"
OTHER_STATION = "row of another station"
UNKNOWN_PERIOD = "total of unknown hours"


@dataclass(slots=True)
class Rows:
    """Values: times (UTC microseconds), metrics by code, values (NaN: missing), flags of the source, levels
    (`NO_LEVEL`: none), seconds that they stand for, sources by number, and, where a value is a running total of an
    hour, the minute at which that ends (else 0).
    """

    times: npt.NDArray[np.int64]
    metrics: npt.NDArray[np.int8]
    values: npt.NDArray[np.float64]
    flags: npt.NDArray[np.int8]
    levels: npt.NDArray[np.int8]
    seconds: npt.NDArray[np.int32]
    sources: npt.NDArray[np.int16]
    running: npt.NDArray[np.int8]

    def take(self, which: npt.NDArray[np.generic]) -> Rows:
        """Some of the rows, by position or mask."""
        return Rows(*(getattr(self, name)[which] for name in self.__slots__))


def joined(parts: list[Rows]) -> Rows:
    """All rows below one another."""
    empty = Rows(*(np.zeros(0, kind) for kind in ("i8", "i1", "f8", "i1", "i1", "i4", "i2", "i1")))
    return Rows(*(np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in Rows.__slots__))


@dataclass(slots=True)
class Decoded:
    """A file's rows and rejects, the stamps of its good rows in its order, those of routine reports, and counts."""

    rows: Rows
    rejects: list[Reject]
    stamps: npt.NDArray[np.int64]
    routine: npt.NDArray[np.int64]
    facts: Counter[str] = field(default_factory=Counter)
    unknown_columns: tuple[str, ...] = ()


def decode(psv: Psv, station: str, path: str, now: int, *, restricted: bool = True) -> Decoded:
    """Decode the rows of a station's file that are not stamped after `now` (UTC microseconds).

    Without `restricted`, values of sources that are not known to be open are left out, and counted.
    """
    usable, rejects = _usable(psv, station, path, now)
    made = _Maker(psv, usable, path, station, restricted)
    for element in ELEMENTS:
        made.element(element)
    stamps = psv.times[usable]
    return Decoded(joined(made.parts), rejects + made.rejects, stamps, made.routine, made.facts, psv.unknown_columns)


def _usable(psv: Psv, station: str, path: str, now: int) -> tuple[npt.NDArray[np.int64], list[Reject]]:
    """The rows that can be kept, and the others as rejects; also lines and cells that are none."""
    rejects = [Reject(WRONG_LENGTH, path, line, station) for line in psv.bad_lines]
    own = np.array([name == station for name in psv.stations.names], dtype=bool)[psv.stations.codes]
    timeless, later = psv.times == NO_TIME, psv.times > now
    for reason, rows in ((OTHER_STATION, ~own), (NO_STAMP, own & timeless), (IN_FUTURE, own & ~timeless & later)):
        for row in map(int, np.flatnonzero(rows)):
            at = None if timeless[row] else int(psv.times[row])
            rejects.append(Reject(reason, path, _row_text(psv, row), station, at))
    for row, element, text in psv.bad_cells:
        if own[row] and not timeless[row] and not later[row]:
            rejects.append(Reject(NO_NUMBER, path, f"{element}={text}", station, int(psv.times[row])))
    return np.flatnonzero(own & ~timeless & ~later), rejects


def _row_text(psv: Psv, row: int) -> str:
    """What of a row was read: its station, time and cells that are not empty."""
    cells = {name: psv.table[name][row].as_py() for name in psv.table.column_names}
    texts = [f"{name}={cell}" for name, cell in cells.items() if cell is not None]
    stamp = "?" if psv.times[row] == NO_TIME else str(np.datetime64(int(psv.times[row]), "us").astype("M8[s]"))
    return "|".join([psv.stations.names[psv.stations.codes[row]], stamp, *texts])


class _Maker:
    """Makes the rows of one element after the other."""

    def __init__(self, psv: Psv, usable: npt.NDArray[np.int64], path: str, station: str, restricted: bool) -> None:
        self._psv, self._usable, self._path, self._station = psv, usable, path, station
        self._restricted = restricted
        self.parts: list[Rows] = []
        self.rejects: list[Reject] = []
        self.facts: Counter[str] = Counter()
        self.routine = self._routine_stamps()
        self._minute = routine_minute(self.routine)

    def _routine_stamps(self) -> npt.NDArray[np.int64]:
        """The stamps of rows whose temperature (else wind) is of a routine report, in order."""
        for element in WITH_REPORTS:
            values = self._psv.values(element)
            if values is not None:
                reports = self._psv.codes(element + REPORT)
                special = np.array([_report(name) in SPECIAL for name in reports.names], dtype=bool)[reports.codes]
                routine = self._usable[~np.isnan(values[self._usable]) & ~special[self._usable]]
                return np.sort(self._psv.times[routine], kind="stable")
        return np.zeros(0, np.int64)

    def element(self, element: Element) -> None:
        """Add an element's values."""
        values = self._psv.values(element.name)
        if values is None:
            return
        whole = len(self._usable) == len(values)
        values = values if whole else values[self._usable]
        there = ~np.isnan(values)
        if element.name in MISSING_VALUES:
            there &= values != MISSING_VALUES[element.name]
        if not there.all() or not whole:
            rows = np.flatnonzero(there)
            values = values[rows]
            rows = rows if whole else self._usable[rows]
        else:
            rows = np.arange(len(values))
        codes = _Codes(self._psv, element.name, rows)
        if not self._restricted:
            kept = codes.of_source(is_open)
            self.facts["left_out_by_licence"] += int((~kept).sum())
            values, rows, codes = values[kept], rows[kept], codes.take(kept)
        if len(rows):
            self._add(element, rows, values, codes)

    def _add(
        self, element: Element, rows: npt.NDArray[np.int64], values: npt.NDArray[np.float64], codes: _Codes
    ) -> None:
        flags, unknown = codes.flags(element)
        if unknown:
            self.facts["unknown_quality_codes"] += unknown
        levels = codes.levels()
        seconds = np.full(len(rows), element.seconds, np.int32)
        running = np.zeros(len(rows), np.int8)
        times = self._psv.times[rows]
        if element.name == "wind_direction":
            values, flags = self._direction(values, flags, codes)
        elif element.metric == RAIN:
            doubtful = codes.pairs(lambda source, code: is_doubtful(element, source, code))
            flags = np.where(doubtful, np.maximum(flags, SUSPECT), flags).astype(np.int8)
            traces = codes.pairs(lambda source, code: is_trace(element, source, code))
            if element.name == "precipitation":
                seconds = self._accumulated(seconds, codes)
                metar = codes.of_report(RUNNING) & (seconds == element.seconds)
                running = np.where(metar, self._minute, 0).astype(np.int8)
            self.facts["traces"] += int(traces.sum())
        made = Rows(
            times, np.full(len(rows), METRIC_CODES[element.metric], np.int8), _scaled(values, element.factor), flags,
            levels, seconds, codes.source_numbers(), running,
        )  # fmt: skip
        if element.metric == RAIN:
            self._rain(made, traces)
        else:
            self.parts.append(made)

    def _direction(
        self, values: npt.NDArray[np.float64], flags: npt.NDArray[np.int8], codes: _Codes
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
        """Directions with calms as 0 and varying ones missing; what a code says of the 999 says nothing of them."""
        calm = codes.pairs(lambda _, code: code == "C")
        none = values == _CALM_OR_VARIABLE
        self.facts["variable_directions"] += int((none & ~calm).sum())
        values = np.where(calm & (none | (values == 0)), 0.0, np.where(none, np.nan, values))
        excused = calm & none & codes.quality_pairs(removed_beside_calm)
        return values, np.where(excused, PASS, flags).astype(np.int8)

    def _accumulated(self, seconds: npt.NDArray[np.int32], codes: _Codes) -> npt.NDArray[np.int32]:
        """The seconds of totals, those of source 382 that stand for longer than an hour theirs; 0: not known."""
        hours = codes.triples(accumulated_hours)
        return np.where(hours >= 0, hours * 3600, seconds).astype(np.int32)

    def _rain(self, made: Rows, traces: npt.NDArray[np.bool_]) -> None:
        unknown = made.seconds == 0
        for row in map(int, np.flatnonzero(unknown)):
            text = f"precipitation={made.values[row]:g}, of several hours that its measurement code does not say"
            self.rejects.append(Reject(UNKNOWN_PERIOD, self._path, text, self._station, int(made.times[row])))
        if unknown.any():
            made, traces = made.take(~unknown), traces[~unknown]
        self.parts.append(made)
        if traces.any():
            fallen = made.take(traces)
            fallen.metrics = np.full(len(fallen.times), METRIC_CODES[TRACE], np.int8)
            fallen.values = np.ones(len(fallen.times))
            self.parts.append(fallen)


class _Codes:
    """The codes of an element's values. Rules are asked once a combination of codes, not once a value."""

    def __init__(self, psv: Psv, element: str, rows: npt.NDArray[np.int64]) -> None:
        found = (psv.codes(element + end) for end in (MEASUREMENT, QUALITY, REPORT, SOURCE))
        parts = [Coded(part.codes[rows], part.names) for part in found]
        self._measurement, self._quality, self._report, self._source = parts
        self._measurement.names = [_short(name) for name in self._measurement.names]

    def take(self, kept: npt.NDArray[np.bool_]) -> _Codes:
        """The codes of some values."""
        taken = object.__new__(_Codes)
        for name in ("_measurement", "_quality", "_report", "_source"):
            part: Coded = getattr(self, name)
            setattr(taken, name, Coded(part.codes[kept], part.names))
        return taken

    def of_source(self, rule: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
        """Whether a rule holds for the source of each value."""
        return np.array([rule(name) for name in self._source.names], dtype=bool)[self._source.codes]

    def of_report(self, types: frozenset[str]) -> npt.NDArray[np.bool_]:
        """Whether each value comes from a report of these types."""
        return np.array([_report(name) in types for name in self._report.names], dtype=bool)[self._report.codes]

    def pairs(self, rule: Callable[[str, str], bool]) -> npt.NDArray[np.bool_]:
        """Whether a rule holds for the source and measurement code of each value."""
        table = [[rule(source, code) for code in self._measurement.names] for source in self._source.names]
        return np.array(table, dtype=bool)[self._source.codes, self._measurement.codes]

    def quality_pairs(self, rule: Callable[[str, str], bool]) -> npt.NDArray[np.bool_]:
        """Whether a rule holds for the source and quality code of each value."""
        table = [[rule(source, code) for code in self._quality.names] for source in self._source.names]
        return np.array(table, dtype=bool)[self._source.codes, self._quality.codes]

    def triples(self, rule: Callable[[str, str, str], int | None]) -> npt.NDArray[np.int64]:
        """What a rule says of the source, quality and measurement code of each value; -1 where it says nothing."""
        table = [
            [[-1 if (told := rule(s, q, m)) is None else told for m in self._measurement.names]
             for q in self._quality.names] for s in self._source.names
        ]  # fmt: skip
        return np.array(table, dtype=np.int64)[self._source.codes, self._quality.codes, self._measurement.codes]

    def flags(self, element: Element) -> tuple[npt.NDArray[np.int8], int]:
        """Our flag of each value by its source and quality code, and how many codes are not known."""
        told = [[flag_of(element, source, code) for code in self._quality.names] for source in self._source.names]
        unknown = np.array([[flag is None for flag in row] for row in told], dtype=bool)
        table = np.array([[NOT_EVALUATED if flag is None else flag for flag in row] for row in told], dtype=np.int8)
        at = (self._source.codes, self._quality.codes)
        return table[at], int(unknown[at].sum()) if unknown.any() else 0

    def levels(self) -> npt.NDArray[np.int8]:
        """The quality codes as `source_quality` keeps them; `NO_LEVEL` for none."""
        told = [level_of(code) for code in self._quality.names]
        return np.array([NO_LEVEL if level is None else level for level in told], dtype=np.int8)[self._quality.codes]

    def source_numbers(self) -> npt.NDArray[np.int16]:
        """The sources by number, 0 for one that is none."""
        numbers = [int(name) if name.isdigit() and len(name) < 5 else 0 for name in self._source.names]
        return np.array(numbers, dtype=np.int16)[self._source.codes]


def _short(code: str) -> str:
    """A measurement code as version 1.1.0 writes it: `C` for `C-Calm`, nothing for `9-Missing`."""
    short = code.partition("-")[0].strip()
    return "" if short == "9" else short


def _report(name: str) -> str:
    """A report type as version 1.1.0 writes it: `FM15` for `FM15-METAR` and `FM-15`."""
    if name.startswith("FM-"):
        name = "FM" + name[3:]
    return name.partition("-")[0]


def _scaled(values: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float64]:
    """Values in the stored unit, without the digits that binary fractions add."""
    return values if factor == 1 else np.round(values * factor, 6)


def table_of(rows: Rows) -> pa.Table:
    """Rows as columns, for tests and looks: time, metric, value, flag, level, seconds, source."""
    metric = pa.DictionaryArray.from_arrays(pa.array(rows.metrics.astype(np.int32)), pa.array(METRICS))
    return pa.table({
        "time": pa.array(rows.times.astype("M8[us]")), "metric": metric, "value": rows.values, "flag": rows.flags,
        "level": rows.levels, "seconds": rows.seconds, "source": rows.sources,
    })  # fmt: skip
