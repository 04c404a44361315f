"""The Tempest archive: `year=YYYY/month=MM/day=DD/hour=HH/*.json[.gz]` in a folder or bucket.

Folders are named by the hour in which a message arrived, so a day's last messages can lie in the next day's
first hour: the hours on both sides are read too, for the rows that belong to this day. A row in a day's own
folder that belongs to another day is a reject (`outside_day`).

Of reports of the same station and time the last received wins: objects are ordered by the store's time of
writing (S3 knows whole seconds), then by name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import time
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby, islice, pairwise
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from weather_backfill.model.days import Cadence, DayFailure, DayInventory, RawDay
from weather_backfill.model.errors import UnreadableObjectError, WeatherError
from weather_backfill.model.partitions import days_between
from weather_backfill.model.schemas import RAW
from weather_backfill.sources.base import ClosingSource
from weather_backfill.sources.table import Reject, Tags, latest_rows, raw_batch, reject_table
from weather_backfill.sources.tempest.messages import FIELDS, UDP_LENGTH, Observations, decode, misplaced
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.util.day_stream import each_day

CADENCE = Cadence(60)
_FEW = 2000  # objects of a month: two pages of S3, where its days would be thirty requests
_DECODE_BATCH = 4096
MOST_BYTES = 128 << 20  # of one object, unpacked: a day of hundreds of stations
_BATCH_BYTES = 128 << 20
_DAY_US = 86_400_000_000
_SORTED_FIELDS = np.argsort(FIELDS)


@dataclass(frozen=True, slots=True)
class TempestSource(ClosingSource):
    """One tenant's archive, opened."""

    archive: ObjectStore
    expected_stations: tuple[str, ...] = ()

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """Days with objects between start and end (both included): their objects and bytes, from listings.

        A month of few objects is listed at once, and the days of a crowded one beside each other.
        """
        found: dict[date, DayInventory] = {}
        crowded: list[date] = []
        wanted = {month: list(days) for month, days in groupby(days_between(start, end), month_folder)}
        months = self._months(wanted)
        listings = self.archive.each(lambda month: self.archive.list_if_few(month, _FEW), months)
        for month, listing in zip(months, listings, strict=True):
            if listing is None:
                folders = {f"{month}/{name}" for name in self.archive.folders(month)}
                crowded += [day for day in wanted[month] if day_folder(day) in folders]
                continue
            by_folder = groupby(_messages_only(listing), lambda stored: "/".join(stored.key.split("/")[:3]))
            held = {folder: _inventory(objects) for folder, objects in by_folder}
            found |= {day: held[folder] for day in wanted[month] if (folder := day_folder(day)) in held}
        looked = self.archive.each(lambda day: _inventory(_messages_only(self.archive.list(day_folder(day)))), crowded)
        return found | {day: held for day, held in zip(crowded, looked, strict=True) if held.objects}

    def _months(self, wanted: Collection[str]) -> list[str]:
        """The folders of the months wanted that are there: a few listings tell, where an archive holds little."""
        years = {month.split("/")[0] for month in wanted}
        there = [year for year in self.archive.folders() if year in years]
        months = [f"{year}/{month}" for year in there for month in self.archive.folders(year)]
        return [month for month in months if month in wanted]

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Read days in order, one ahead of the consumer."""
        return each_day(dates, self.read_day)

    def read_day(self, day: date) -> RawDay:
        """One UTC day; raises `UnreadableObjectError` naming the objects whose rows cannot be known."""
        started = time.monotonic()
        own = _messages_only(self.archive.list(day_folder(day)))
        edges = [
            stored
            for folder in (
                f"{day_folder(day - timedelta(days=1))}/hour=23",
                f"{day_folder(day + timedelta(days=1))}/hour=00",
            )
            for stored in _messages_only(self.archive.list(folder))
        ]
        start_us = int(np.datetime64(day, "us").astype("i8"))
        parts, rejects, counts = self._decode(own, edges, start_us)
        kept, duplicates = latest_only(parts)
        facts: dict[str, Any] = {
            "source_objects": len(own),
            "source_bytes": sum(o.size for o in own),
            "reports_kept": len(kept.epoch_us),
            "duplicates": duplicates,
            **{name: counts[name] for name in ("messages", "empty_messages", "other_messages", "edge_reports")},
        }
        table = long_table(kept)
        facts["seconds"] = round(time.monotonic() - started, 3)
        return RawDay(
            date=day,
            table=table,
            cadence=CADENCE,
            rejects=reject_table(rejects, attrgetter("source_object", "reason", "raw_text")),
            facts=facts,
            expected_stations=self.expected_stations,
            lineage={"source": self.archive.url, "source_objects_sha256": _fingerprint(own)},
        )

    def _decode(
        self, own: list[StoredObject], edges: list[StoredObject], start_us: int
    ) -> tuple[list[Observations], list[Reject], Counter[str]]:
        ours = {o.key for o in own}
        parts: list[Observations] = []
        rejects: list[Reject] = []
        counts: Counter[str] = Counter()
        for batch in self._bodies(sorted([*own, *edges], key=lambda o: (o.last_modified, o.key))):
            part = decode(batch)
            own_rows = np.array([key in ours for key, _ in batch], dtype=bool)[part.source]
            inside = (part.epoch_us >= start_us) & (part.epoch_us < start_us + _DAY_US)
            # What else lies in a neighbour's folder is the neighbour's to report.
            rejects += [r for r in part.rejects if r.source_object in ours]
            rejects += misplaced(part, [key for key, _ in batch], own_rows & ~inside)
            counts.update(part.counts)
            counts["edge_reports"] += int((inside & ~own_rows).sum())
            parts.append(_select(part, inside))
        return parts, rejects, counts

    def _bodies(self, objects: list[StoredObject]) -> Iterator[list[tuple[str, bytes]]]:
        """Batches of decompressed bodies in the order received; raises if any object cannot be read."""
        damaged = [f"{self.archive.uri(o.key)} ({o.size} bytes)" for o in objects if o.size > MOST_BYTES]
        if damaged:
            raise UnreadableObjectError(
                f"objects larger than {MOST_BYTES} bytes are not read: {', '.join(damaged[:5])}. Expected objects of "
                "some messages: split them, then retry the day."
            )
        contents = self.archive.read_many(o.key for o in objects)
        while batch := list(islice(contents, _DECODE_BATCH)):
            bodies, size = [], 0
            for key, content in batch:
                if isinstance(content, WeatherError):
                    raise content
                try:
                    bodies.append((key, unpack(content) if key.endswith(".gz") else content))
                except UnreadableObjectError as error:
                    damaged.append(f"{self.archive.uri(key)} ({error})")
                    continue
                size += len(bodies[-1][1])
                if size > _BATCH_BYTES:
                    yield bodies
                    bodies, size = [], 0
            if bodies:
                yield bodies
        if damaged:
            more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
            raise UnreadableObjectError(
                f"{len(damaged)} of {len(objects)} objects cannot be unpacked: {', '.join(damaged[:5])}{more}. "
                "Expected whole gzip files: upload them again, or move them out of the archive, then retry the day."
            )


def unpack(packed: bytes) -> bytes:
    """The bytes of a gzip file; raises `UnreadableObjectError` if it is damaged or a bomb."""
    try:
        stream = zlib.decompressobj(wbits=31)
        found = stream.decompress(packed, MOST_BYTES + 1)
        if not stream.eof or stream.unused_data:  # cut, too large, or of several members
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
                found = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableObjectError(str(error)) from error
    if len(found) > MOST_BYTES:
        raise UnreadableObjectError(f"unpacks to more than {MOST_BYTES} bytes")
    return found


def month_folder(day: date) -> str:
    """The folder of a day's month in the archive."""
    return f"year={day.year:04}/month={day.month:02}"


def day_folder(day: date) -> str:
    """The folder of a day in the archive."""
    return f"{month_folder(day)}/day={day.day:02}"


def _messages_only(objects: list[StoredObject]) -> list[StoredObject]:
    return [o for o in objects if o.key.endswith((".json", ".json.gz"))]


def _inventory(objects: Iterable[StoredObject]) -> DayInventory:
    sizes = [stored.size for stored in objects]
    return DayInventory(len(sizes), sum(sizes))


def _fingerprint(objects: list[StoredObject]) -> str:
    """One hash over names and sizes: which objects a day was made from, in 64 characters."""
    digest = hashlib.sha256()
    for stored in objects:
        digest.update(f"{stored.key}\0{stored.size}\n".encode())
    return digest.hexdigest()


def _select(part: Observations, mask: np.ndarray) -> Observations:
    if mask.all():
        return part
    return Observations(
        [part.stations[i] for i in np.flatnonzero(mask)],
        part.epoch_us[mask],
        part.values[mask],
        part.length[mask],
        part.source[mask],
    )


def latest_only(parts: list[Observations]) -> tuple[Observations, int]:
    """Join the parts, given in the order received: sorted by station and time, of equal ones the last received kept.

    Returns them and how many reports were replaced by a later one.
    """
    if not parts:
        return Observations(), 0
    stations = Tags.of([station for part in parts for station in part.stations])
    rows = latest_rows(stations.codes, np.concatenate([part.epoch_us for part in parts]))
    names = stations.names.to_pylist()
    kept = Observations(
        [names[code] for code in rows.series],
        rows.times,
        np.concatenate([part.values for part in parts])[rows.order],
        np.concatenate([part.length for part in parts])[rows.order],
    )
    return kept, len(rows.replaced)


def long_table(kept: Observations) -> pa.Table:
    """Reports sorted by station and time as rows of `schemas.RAW`, sorted by station, metric and time."""
    if not kept.stations:
        return RAW.empty_table()
    stations = Tags.of(kept.stations)
    bounds = np.searchsorted(stations.codes, np.arange(len(stations.names) + 1))
    metric_codes = np.arange(len(FIELDS), dtype=np.int32)[:, None]
    times, metrics, values, rows = [], [], [], []
    for begin, end in pairwise(bounds):
        # An 18-element report says nothing of the last fields: no rows, which is not the same as null.
        present = (_SORTED_FIELDS[:, None] + 1 < kept.length[begin:end]) | (_SORTED_FIELDS[:, None] + 1 < UDP_LENGTH)
        times.append(np.broadcast_to(kept.epoch_us[begin:end], present.shape)[present])
        metrics.append(np.broadcast_to(metric_codes, present.shape)[present])
        values.append(kept.values[begin:end, _SORTED_FIELDS].T[present])
        rows.append(len(values[-1]))
    batch = raw_batch(
        np.concatenate(times),
        Tags(np.repeat(np.arange(len(rows), dtype=np.int32), rows), stations.names),
        Tags(np.concatenate(metrics), pa.array([FIELDS[field] for field in _SORTED_FIELDS], pa.string())),
        np.concatenate(values),
    )
    return pa.Table.from_batches([batch])
