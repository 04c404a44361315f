"""One station's files of all products and periods, downloaded, parsed and merged into one series a metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weather_backfill.model.errors import SchemaError, WeatherError
from weather_backfill.sources.dwd.day_store import DayIndex
from weather_backfill.sources.dwd.file_index import StationFile, covered_by_history
from weather_backfill.sources.dwd.product_parser import ParsedProduct, Series, parse_product
from weather_backfill.sources.dwd.products import range_in_member_name
from weather_backfill.sources.dwd.rejects import Rejects
from weather_backfill.sources.dwd.time_reference import clock_for
from weather_backfill.sources.dwd.timestamps import DAY
from weather_backfill.sources.dwd.zip_file import ProductZip, open_archive, product_member
from weather_backfill.sources.file_cache import Download
from weather_backfill.sources.table import BEFORE_FIRST_DAY

Bodies = Sequence[Download | Exception]


@dataclass(slots=True)
class Contribution:
    """A file that gave rows to some of the wanted days (`days`: one flag a day)."""

    name: str
    digest: str
    size: int
    days: npt.NDArray[np.bool_]


_Read = tuple[StationFile, ParsedProduct, Contribution]


@dataclass(frozen=True, slots=True)
class FileFailure:
    """A file of a product that could not be read, and the wanted days whose rows are unknown because of it."""

    name: str
    product: str
    error: Exception
    days: npt.NDArray[np.bool_]


@dataclass(slots=True)
class StationLoad:
    """Everything a station's files say about the wanted days."""

    station: str
    series: list[Series] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)
    failures: list[FileFailure] = field(default_factory=list)
    rejects: list[tuple[int, pa.Table]] = field(default_factory=list)
    unknown_columns: set[str] = field(default_factory=set)
    span: tuple[int, int] | None = None
    """The first and last time (UTC microseconds) that any of the files holds, wanted or not."""


def load_station(station: str, files: Sequence[StationFile], bodies: Bodies, index: DayIndex) -> StationLoad:
    """Parse and merge a station's files, given in order of finality; a bad file costs only its own days."""
    load = StationLoad(station)
    read: list[_Read] = []
    broken: list[tuple[StationFile, Download | Exception, Exception]] = []
    for item, body in zip(files, bodies, strict=True):
        try:
            if isinstance(body, Exception):
                raise body
            parsed = _parse(item, body)
        except Exception as error:  # a fault of ours must cost a station's days, not everybody's
            broken.append((item, body, error))
            continue
        contribution = Contribution(item.file.name, body.digest, len(body.body), index.no_days())
        read.append((item, parsed, contribution))
        load.unknown_columns.update(parsed.unknown_columns)
        load.rejects += _filed_rejects(parsed, index)
    read = [_without_day_before(entry, read, load, index) for entry in read]
    ends = [int(s.times[at]) for _, parsed, _ in read for s in parsed.series if len(s.times) for at in (0, -1)]
    load.span = (min(ends), max(ends)) if ends else None
    for item, broken_body, problem in broken:
        sound = [i for i, _, _ in read if i.product is item.product]
        load.failures.append(
            FileFailure(item.file.name, item.product.name, problem, _lost_days(item, broken_body, sound, index))
        )
    load.series = _merge(read, index)
    load.contributions = [c for _, _, c in read if c.days.any()]
    return load


def _parse(item: StationFile, body: Download) -> ParsedProduct:
    archive: ProductZip = open_archive(body.body, item.path)
    clock = clock_for(item.product.resolution, item.file, archive.metadata.parameters)
    parsed = parse_product(archive.product, item.product, clock, f"{item.path}/{archive.product_name}")
    if parsed.station not in (None, item.file.station):
        raise SchemaError(
            f"{item.path} holds rows of station {parsed.station}: expected {item.file.station}, as its name "
            "says. The file is packed wrongly upstream; its rows are not taken."
        )
    return parsed


def _lost_days(
    item: StationFile, body: Download | Exception, sound: list[StationFile], index: DayIndex
) -> npt.NDArray[np.bool_]:
    """The wanted days a broken file may have held and no sound historical file holds more finally."""
    span = (item.file.start, item.file.end)
    if span[0] is None and not isinstance(body, Exception):
        span = range_in_member_name(product_member(body.body, item.path) or "") or (None, None)
    lost = index.all_days()
    first = span[0] - timedelta(days=1) if span[0] else date.min
    for at, day in enumerate(index.dates):
        inside = first <= day <= (span[1] or date.max)
        lost[at] = inside and not covered_by_history(sound, day)
    return lost


def _merge(read: Sequence[_Read], index: DayIndex) -> list[Series]:
    """One series a metric: of rows for the same instant the one of the more final file is taken."""
    by_metric: dict[str, list[tuple[Series, Contribution]]] = {}
    for _, parsed, contribution in read:
        for series in parsed.series:
            wanted = index.wanted(series)
            if len(wanted.times):
                by_metric.setdefault(series.metric, []).append((wanted, contribution))
    merged: list[Series] = []
    for metric in sorted(by_metric):
        (whole, contribution), *others = by_metric[metric]
        contribution.days[index.positions(whole.times, whole.shift)] = True
        for series, contribution in others:
            fresh = ~_contained(series.times, whole.times)
            if fresh.any():
                contribution.days[index.positions(series.times[fresh], series.shift)] = True
                whole = _joined(whole, series, fresh)
        merged.append(whole)
    return merged


def _without_day_before(entry: _Read, read: Sequence[_Read], load: StationLoad, index: DayIndex) -> _Read:
    """Drop a file's first rows where their intervals belong to the day before its first stamp, which nobody else holds.

    A history that begins with the stamp 00:00 has the last minutes of the day before and nothing else of it: such rows
    are rejects of the day of their stamp (`before_first_day`). Names tell which other files have that day, and rows do
    where a name says no days; so a day comes out the same whatever range it is read in.
    """
    item, parsed, contribution = entry
    filled = [s for s in parsed.series if len(s.times)]
    if not filled:
        return entry
    begin = min(int(s.times[0]) for s in filled) // DAY * DAY
    cuts = {s.metric: int(np.searchsorted(s.times, begin - s.shift)) for s in filled}
    before = np.datetime64(begin - DAY, "us").astype("datetime64[D]").astype(date)
    if not any(cuts.values()) or any(first <= before <= last for first, last in item.beside):
        return entry
    for other, rows, _ in read:
        spans = [(s.times[0], s.times[-1]) for s in rows.series if len(s.times)]
        if other is not item and other.rank == item.rank and any(a < begin and b >= begin - DAY for a, b in spans):
            return entry
    early: dict[int, list[str]] = {}
    for s in filled:
        for time, value in zip(s.times[: cuts[s.metric]].tolist(), s.values[: cuts[s.metric]].tolist(), strict=True):
            early.setdefault(time, []).append(f"{s.metric}={value:g}")
    rejects = Rejects(item.path)
    for time, texts in early.items():
        rejects.add(BEFORE_FIRST_DAY, ";".join(texts), item.file.station, time)
    table = rejects.table()
    at = index.lookup(table["observed_at"].cast(pa.int64()).to_numpy())
    load.rejects += [(int(day), table.filter(pa.array(at == day))) for day in np.unique(at[at >= 0])]
    series = [_from(s, cuts.get(s.metric, 0)) for s in parsed.series]
    return item, replace(parsed, series=series), contribution


def _from(series: Series, row: int) -> Series:
    return replace(series, times=series.times[row:], values=series.values[row:], levels=series.levels[row:])


def _contained(times: npt.NDArray[np.int64], among: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    at = np.minimum(np.searchsorted(among, times), len(among) - 1)
    return np.asarray(among[at] == times)


def _joined(whole: Series, other: Series, rows: npt.NDArray[np.bool_]) -> Series:
    times = np.concatenate([whole.times, other.times[rows]])
    order = np.argsort(times, kind="stable")
    values = np.concatenate([whole.values, other.values[rows]])
    levels = np.concatenate([whole.levels, other.levels[rows]])
    return replace(whole, times=times[order], values=values[order], levels=levels[order])


def _filed_rejects(parsed: ParsedProduct, index: DayIndex) -> list[tuple[int, pa.Table]]:
    """Rejects by wanted day: that of their stamp, or of the file's last row where the stamp is unreadable.

    Filing by the file, not by the run, gives a day the same rejects whatever range it is read in; and the last day of a
    `recent` file is one that somebody reads.
    """
    if parsed.rejects.num_rows == 0:
        return []
    times = parsed.rejects["observed_at"].cast(pa.int64()).fill_null(_last_time(parsed)).to_numpy()
    at = index.lookup(times)
    wanted = np.flatnonzero(at >= 0)
    order = wanted[np.argsort(at[wanted], kind="stable")]
    days, starts, counts = (part.tolist() for part in np.unique(at[order], return_index=True, return_counts=True))
    filed = parsed.rejects.take(pa.array(order))
    return [(day, filed.slice(start, count)) for day, start, count in zip(days, starts, counts, strict=True)]


def _last_time(parsed: ParsedProduct) -> int:
    """The middle of the last row's interval, by which its day goes."""
    return int(max((s.times[-1] + s.shift for s in parsed.series if len(s.times)), default=0))


def bodies_of(files: Sequence[StationFile], fetch: Callable[[StationFile], Download]) -> list[Download | Exception]:
    """Each file's download, or the error it met."""
    found: list[Download | Exception] = []
    for item in files:
        try:
            found.append(fetch(item))
        except WeatherError as error:
            found.append(error)
    return found
