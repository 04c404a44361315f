"""The Tempest archive: `year=YYYY/month=MM/day=DD/hour=HH/*` in a folder or bucket.

Read are objects that end in `.json`, `.jsonl`, `.ndjson` or in nothing (as Firehose names them), packed by gzip with
`.gz` after that or without saying so. What else lies in a day's folder is counted and named among its facts. A day that
has objects none of which can be read fails: nothing is known of it, which is not the same as nothing there.

Folders are named by the hour in which a message arrived, so a day's last messages can lie in the next day's
first hour: the hours on both sides are read too, for the rows that belong to this day. A row in a day's own
folder that belongs to another day is a reject (`outside_day`).

A report stands for the time up to its stamp (`messages.Observations.seconds`) and belongs to the day that holds the
middle of that time. So a day's last report may be stamped in the next day's first hour, in whose folder it is nobody's
reject; only where the archive has nothing of the day that it belongs to, it is one (`before_first_day`).

Where wind is sampled more rarely than it is reported (element 5: every 300 s on a low battery), its values stand for
the time since the sample before: `interval_seconds` of such a row is the sampling interval. Its nulls between are kept
as sent, stand for their own minute and take nothing from the time that the values cover: such wind is whole with
every fifth report, and completeness needs no cadence by metric.

Of reports of the same station, time and length the last received wins, element by element: what it does not say (null,
or beyond its end) an earlier one may have said. Objects are ordered by the store's time of writing (S3 knows whole
seconds), then by name. Of reports of different lengths the finer ones win, see `copies.drop_covered`.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby, islice, pairwise
from operator import attrgetter
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from weather_backfill.model.days import Cadence, DayFailure, DayInventory, RawDay
from weather_backfill.model.errors import UnreadableObjectError, WeatherError, some
from weather_backfill.model.intervals import DAY_US, in_day, shift_to_middle
from weather_backfill.model.partitions import days_between
from weather_backfill.model.schemas import RAW
from weather_backfill.sources.base import ClosingSource
from weather_backfill.sources.table import (
    BEFORE_FIRST_DAY,
    UNKNOWN,
    Interval,
    Reject,
    Tags,
    estimate,
    raw_batch,
    reject_table,
)
from weather_backfill.sources.tempest.copies import drop_covered, latest_only
from weather_backfill.sources.tempest.layouts import FIELDS, speaks_of
from weather_backfill.sources.tempest.messages import Observations, decode, rejected
from weather_backfill.sources.tempest.objects import MOST_BYTES, is_marker, left_out, messages_only, unpacked
from weather_backfill.storage.object_store import ObjectStore, StoredObject
from weather_backfill.storage.read_ahead import batches
from weather_backfill.util.day_stream import each_day

CADENCE = Cadence(60)
_NAMED = 5  # objects that a day's facts name
_PASSED = " messages"  # in the counts of messages that are passed over, by type
_USUAL_BYTES = 240  # of a message with one report, where a day has none to go by
_COUNTS = (
    "messages", "empty_messages", "other_messages", "edge_reports", "reports_of_assumed_length", "nearcast_not_run",
)  # fmt: skip
_FEW = 2000  # objects of a month that is listed at once: two pages of S3, instead of thirty requests for its days
_DECODE_BATCH = 4096
_BATCH_BYTES = 16 << 20  # of bodies as listed, and unpacked, held at once; one alone may be larger
_SORTED_FIELDS = np.argsort(FIELDS)
_IN_ORDER = [FIELDS[field] for field in _SORTED_FIELDS]
WIND = ("wind_speed", "wind_speed_lull", "wind_speed_of_gust", "wind_from_direction")
_WIND = np.isin(_IN_ORDER, WIND)
_SAMPLING = _IN_ORDER.index("wind_sample_interval")
_LONGEST_SAMPLING = 3600  # seconds; a longer one is damage


@dataclass(frozen=True, slots=True)
class TempestSource(ClosingSource):
    """A `Source` over one tenant's archive; `expected_stations` names stations that must not be silent for a day."""

    archive: ObjectStore
    expected_stations: tuple[str, ...] = ()

    def inventory(self, start: date, end: date) -> dict[date, DayInventory]:
        """Count objects and stored bytes of the UTC days from start to end (both included) that have any, by listing.

        A month of few objects is listed in one request, the days of a crowded month side by side.
        """
        inventory: dict[date, DayInventory] = {}
        crowded_days: list[date] = []
        days_of_month = {month: list(days) for month, days in groupby(days_between(start, end), month_folder)}
        months = self._existing_months(days_of_month)
        listings = self.archive.each(lambda month: self.archive.list_if_few(month, _FEW), months)
        for month, listing in zip(months, listings, strict=True):
            if listing is None:
                folders = {f"{month}/{name}" for name in self.archive.folders(month)}
                crowded_days += [day for day in days_of_month[month] if day_folder(day) in folders]
                continue
            by_folder = groupby(messages_only(listing), lambda stored: "/".join(stored.key.split("/")[:3]))
            stored = {folder: _inventory(objects) for folder, objects in by_folder}
            days = days_of_month[month]
            inventory |= {day: stored[folder] for day in days if (folder := day_folder(day)) in stored}
        counted = self.archive.each(self._inventory_of_day, crowded_days)
        return inventory | {day: counts for day, counts in zip(crowded_days, counted, strict=True) if counts.objects}

    def _inventory_of_day(self, day: date) -> DayInventory:
        return _inventory(messages_only(self.archive.list(day_folder(day))))

    def _existing_months(self, months: Collection[str]) -> list[str]:
        """The given month folders that exist: one listing for the years and one a year, not one a month."""
        years = {month.split("/")[0] for month in months}
        existing_years = [year for year in self.archive.folders() if year in years]
        existing = [f"{year}/{month}" for year in existing_years for month in self.archive.folders(year)]
        return [month for month in existing if month in months]

    def days(self, dates: Sequence[date]) -> Iterator[RawDay | DayFailure]:
        """Read UTC days in the order given, one ahead of the consumer."""
        return each_day(dates, self.read_day)

    def read_day(self, day: date) -> RawDay:
        """Read one UTC day: its own folder, and the hours on both sides for reports that arrived early or late.

        Raises `UnreadableObjectError` naming the objects that are damaged: their rows cannot be known.
        """
        started = time.monotonic()
        listed = self.archive.list(day_folder(day))
        own = messages_only(listed)
        not_read = left_out(listed)
        if not own and (strangers := [key for key in not_read if not is_marker(key)]):
            self._refuse(day, strangers, "their names end in nothing that is read")
        edges = [
            stored
            for folder in (
                f"{day_folder(day - timedelta(days=1))}/hour=23",
                f"{day_folder(day + timedelta(days=1))}/hour=00",
            )
            for stored in messages_only(self.archive.list(folder))
        ]
        start_us = int(np.datetime64(day, "us").astype("i8"))
        parts, rejects, counts = self._decode(own, edges, start_us)
        unread_bytes = sum(reject.raw_bytes for reject in rejects if reject.stands_for == UNKNOWN)
        estimate(rejects, counts["own_reports"], max(counts["own_bytes"] - unread_bytes, 1), _USUAL_BYTES)
        if own and counts["unread"] == len(own):
            self._refuse(day, [stored.key for stored in own], _seen(rejects))
        whole, replaced, completed = latest_only(parts)
        partly = drop_covered(whole)
        inside = in_day(_middles(whole), start_us)
        kept = _select(whole, inside)
        facts: dict[str, Any] = {
            "source_objects": len(own),
            "source_bytes": sum(o.size for o in own),
            "reports_kept": len(kept.epoch_us) - _wholly_covered(kept),
            "duplicates": int(in_day(replaced, start_us).sum()),
            "values_from_earlier_copies": int(in_day(completed, start_us).sum()),
            "covered_by_finer": 0 if kept.covered is None else int(kept.covered.sum()),
            "partly_covered_by_finer": int(partly[inside].sum()),
            "objects_not_read": len(not_read),
            **{name: counts[name] for name in _COUNTS},
        }
        if not_read:
            facts["not_read"] = some(not_read, _NAMED)
        if passed := sorted(name for name in counts if name.endswith(_PASSED)):
            facts["other_message_types"] = ", ".join(f"{n.removesuffix(_PASSED)} {counts[n]}" for n in passed)
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
        """The reports of the day that starts at `start_us`, in the order received, its rejects, and message counts."""
        own_keys = {stored.key for stored in own}
        first_hour = {key for key in own_keys if "/hour=00/" in key}
        parts: list[Observations] = []
        rejects: list[Reject] = []
        counts: Counter[str] = Counter()
        for batch in self._bodies(sorted([*own, *edges], key=lambda stored: (stored.last_modified, stored.key))):
            part = decode(batch)
            own_rows = np.array([key in own_keys for key, _ in batch], dtype=bool)[part.source]
            middle = _middles(part)
            inside = in_day(middle, start_us)
            stamped = in_day(part.epoch_us, start_us)
            # The first minute's report belongs to the day before, which finds it in this day's first hour.
            found = np.array([key in first_hour for key, _ in batch], dtype=bool)[part.source]
            early = own_rows & stamped & (middle < start_us)
            # Rejects of a neighbouring day's folder are reported with that day.
            rejects += [reject for reject in part.rejects if reject.source_object in own_keys]
            keys = [key for key, _ in batch]
            rejects += rejected(part, keys, own_rows & ~inside & ~(early & found), "outside_day")
            if (early & found).any() and not self._has_day_before(start_us, edges):
                rejects += rejected(part, keys, early & found, BEFORE_FIRST_DAY)
            counts.update(part.counts)
            counts["unread"] += sum(keys[number] in own_keys for number in part.unread)
            counts["own_reports"] += int(own_rows.sum())
            counts["own_bytes"] += sum(len(body) for key, body in batch if key in own_keys)
            counts["edge_reports"] += int((inside & ~own_rows).sum())
            # What lies beside the day tells whether a bucket at its edge is covered by finer reports.
            parts.append(_select(part, np.abs(middle - start_us) < 2 * DAY_US))
        return parts, rejects, counts

    def _refuse(self, day: date, keys: list[str], seen: str) -> NoReturn:
        raise UnreadableObjectError(
            f"{self.archive.uri(day_folder(day))}: none of {len(keys)} objects can be read ({some(keys, 3)}): {seen}. "
            "Expected messages of Tempest, Air or Sky devices as JSON: mend the objects or move them out of the "
            "archive, then retry the day."
        )

    def _has_day_before(self, start_us: int, edges: list[StoredObject]) -> bool:
        """Return whether the archive has anything of the day before the one that starts at `start_us`."""
        day = np.datetime64(start_us, "us").astype("datetime64[D]").astype(date) - timedelta(days=1)
        if any(stored.key.startswith(f"{day_folder(day)}/") for stored in edges):
            return True  # mostly: its last hour is being read
        return day_folder(day) in {f"{month_folder(day)}/{name}" for name in self.archive.folders(month_folder(day))}

    def _bodies(self, objects: list[StoredObject]) -> Iterator[list[tuple[str, bytes]]]:
        """Yield batches of (key, decompressed body) in the order given, as large as their bytes allow.

        Raises `UnreadableObjectError` naming all damaged objects once every object has been read, and the store's own
        error at the first that cannot be fetched.
        """
        damaged = [f"{self.archive.uri(o.key)} ({o.size} bytes)" for o in objects if o.size > MOST_BYTES]
        if damaged:
            raise UnreadableObjectError(
                f"objects larger than {MOST_BYTES} bytes are not read: {', '.join(damaged[:5])}. Expected objects of "
                "a few messages each: split them, then retry the day."
            )
        contents = self.archive.read_many(objects)
        for keys, _ in batches(objects, _DECODE_BATCH, _BATCH_BYTES):
            bodies: list[tuple[str, bytes]] = []
            size = 0
            for key, content in list(islice(contents, len(keys))):  # reading and unpacking by turns is slower
                if isinstance(content, WeatherError):
                    raise content
                try:
                    body = unpacked(content, said_packed=key.lower().endswith(".gz"))
                except UnreadableObjectError as error:
                    damaged.append(f"{self.archive.uri(key)} ({error})")
                    continue
                if bodies and size + len(body) > _BATCH_BYTES:
                    yield bodies
                    bodies, size = [], 0
                bodies.append((key, body))
                size += len(body)
            if bodies:
                yield bodies
        if damaged:
            more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
            raise UnreadableObjectError(
                f"{len(damaged)} of {len(objects)} objects cannot be unpacked: {', '.join(damaged[:5])}{more}. "
                "Expected whole gzip files: upload them again, or move them out of the archive, then retry the day."
            )


def month_folder(day: date) -> str:
    """The key prefix of a UTC day's month in the archive, `year=YYYY/month=MM`."""
    return f"year={day.year:04}/month={day.month:02}"


def day_folder(day: date) -> str:
    """The key prefix of a UTC day in the archive, `year=YYYY/month=MM/day=DD`."""
    return f"{month_folder(day)}/day={day.day:02}"


def _seen(rejects: list[Reject]) -> str:
    """What the objects of a day held instead of messages."""
    first = min(rejects, key=attrgetter("source_object", "reason"))
    reasons = Counter(reject.reason for reject in rejects)
    held = ", ".join(f"{reason} {times}" for reason, times in sorted(reasons.items()))
    return (
        f"rejects {held}, which may stand for {sum(reject.stands_for for reject in rejects)} reports; the first is "
        f"{str(first.raw_text)[:100]!r} of {first.source_object}"
    )


def _inventory(objects: Iterable[StoredObject]) -> DayInventory:
    sizes = [stored.size for stored in objects]
    return DayInventory(len(sizes), sum(sizes))


def _fingerprint(objects: list[StoredObject]) -> str:
    """SHA-256 (hex) over names and sizes: identifies the objects that a day was made from."""
    digest = hashlib.sha256()
    for stored in objects:
        digest.update(f"{stored.key}\0{stored.size}\n".encode())
    return digest.hexdigest()


def _middles(part: Observations) -> np.ndarray:
    return np.asarray(part.epoch_us + shift_to_middle(part.seconds, 0))


def _wholly_covered(kept: Observations) -> int:
    """How many reports say nothing that finer ones do not cover."""
    if kept.covered is None:
        return 0
    return int((kept.covered.sum(axis=1) == speaks_of(kept.said).sum(axis=1)).sum())


def _select(part: Observations, mask: np.ndarray) -> Observations:
    """The marked rows, without rejects and counts."""
    if mask.all():
        return part
    return Observations(
        [part.stations[i] for i in np.flatnonzero(mask)],
        part.epoch_us[mask],
        part.values[mask],
        part.said[mask],
        part.source[mask] if len(part.source) else part.source,
        part.seconds[mask],
        None if part.covered is None else part.covered[mask],
    )


def stand_for(seconds: np.ndarray, sampling: np.ndarray, is_wind: np.ndarray) -> np.ndarray:
    """The seconds that values stand for: those of their reports, or of their wind, of which `is_wind` marks the values.

    A wind value stands for the time since the one before where the station samples it more rarely than it reports.
    """
    sampling = np.nan_to_num(sampling)
    rarer = is_wind & (sampling > seconds) & (sampling <= _LONGEST_SAMPLING)
    return np.where(rarer, sampling, seconds).astype("i4")


def long_table(kept: Observations) -> pa.Table:
    """Reports sorted by station and time as rows of `schemas.RAW`, sorted by station, metric and time."""
    if not kept.stations:
        return RAW.empty_table()
    stations = Tags.of(kept.stations)
    bounds = np.searchsorted(stations.codes, np.arange(len(stations.names) + 1))
    metric_codes = np.arange(len(FIELDS), dtype=np.int32)[:, None]
    times, metrics, values, lengths, rows = [], [], [], [], []
    for begin, end in pairwise(bounds):
        # What a report does not speak of has no row, which is not the same as null.
        said = kept.said[begin:end]
        alike = said[:1] if (said == said[0]).all() else said  # of one layout for all: broadcast
        present = np.broadcast_to(speaks_of(alike)[:, _SORTED_FIELDS].T, (len(FIELDS), len(said)))
        if kept.covered is not None:
            present = present & ~kept.covered[begin:end, _SORTED_FIELDS].T
        times.append(np.broadcast_to(kept.epoch_us[begin:end], present.shape)[present])
        metrics.append(np.broadcast_to(metric_codes, present.shape)[present])
        ordered = kept.values[begin:end, _SORTED_FIELDS].T
        values.append(ordered[present])
        is_wind = _WIND[:, None] & ~np.isnan(ordered)
        lengths.append(stand_for(kept.seconds[begin:end], ordered[_SAMPLING], is_wind)[present])
        rows.append(len(values[-1]))
    batch = raw_batch(
        np.concatenate(times),
        Tags(np.repeat(np.arange(len(rows), dtype=np.int32), rows), stations.names),
        Tags(np.concatenate(metrics), pa.array(_IN_ORDER, pa.string())),
        np.concatenate(values),
        interval=Interval(np.concatenate(lengths)),
    )
    return pa.Table.from_batches([batch])
