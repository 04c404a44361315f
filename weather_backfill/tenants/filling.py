"""Reads only what days of the lake lack, and merges it into them: a day filled so is the day that a fresh load makes.

A day that the lake holds in part says in its footer what it lacks (`lake/expectation.py`). Where its connection can be
narrowed to that (`Connection.narrowed`), the rest is taken from the lake; any other day is read whole. Rows and rejects
of what is read anew replace those that the day has of it.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import layout, ownership, parquet
from weather_backfill.lake.carried import CARRIED, PENDING
from weather_backfill.lake.expectation import asked_in, lacks_in
from weather_backfill.model import schemas
from weather_backfill.model.days import Cadence, DayFailure, RawDay
from weather_backfill.model.errors import NotFoundError, UnreadableObjectError
from weather_backfill.model.expectation import Lack
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import MISSING, PASS, REJECTS
from weather_backfill.refine import coverage
from weather_backfill.sources.base import Source
from weather_backfill.sources.connection import Connection, Narrowed
from weather_backfill.storage.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class _Held:
    """A day as the lake holds it."""

    table: pa.Table
    footer: dict[str, str]
    covered: coverage.Coverage
    etag: str | None


def filled_days(
    store: ObjectStore, service: str, tenant: str, connection: Connection, days: Sequence[date],
    opened: Callable[[Connection], Source],
) -> Iterator[RawDay | DayFailure]:  # fmt: skip
    """Yield days in order, each read only for what the lake's days lack where that can be; else whole.

    `opened` opens a source of a connection. The days that are filled are read together, for all that any of them lacks.
    """
    lacks, etags = set[Lack](), dict[date, str | None]()
    for day in sorted(set(days)):
        key = layout.day_key(layout.RAW_OBSERVATIONS, service, PartitionKey(day, tenant))
        etag, of_day = _lacks(store, key, connection)
        if of_day:
            etags[day] = etag
            lacks.update(of_day)
    part = connection.narrowed(lacks) if lacks else None
    filled = sorted(etags) if part else []
    whole = sorted(set(days) - set(filled))

    def fill(part: Narrowed) -> Iterator[RawDay | DayFailure]:
        with opened(part.connection) as source:
            for read in source.days(filled):
                key = PartitionKey(read.date, tenant)
                if isinstance(read, DayFailure):
                    yield read
                elif (held := _held(store, service, key)) is None or held.etag != etags[read.date]:
                    yield from _read(read.date)  # replaced since
                else:
                    yield _merged(held, read, part, _rejects(store, service, key))

    def _read(*dates: date) -> Iterator[RawDay | DayFailure]:
        with opened(connection) as source:
            yield from source.days(dates)

    streams = ([fill(part)] if part and filled else []) + ([_read(*whole)] if whole else [])
    yield from heapq.merge(*streams, key=lambda day: day.date)


def _lacks(store: ObjectStore, key: str, connection: Connection) -> tuple[str | None, tuple[Lack, ...]]:
    """The ETag of a day's object and what it lacks, where the rest can be taken from it."""
    try:
        stored = store.head(key)
    except NotFoundError:
        return None, ()
    metadata = parquet.stored_metadata(store, stored)
    footer = parquet.footer_of(metadata) if metadata else {}
    if schemas.is_older(footer.get("schema_version")) or CARRIED in footer or PENDING in footer:
        return None, ()
    try:
        ownership.check_owner(footer, key)
        before, lacks = asked_in(footer), lacks_in(footer)
        if before is None or not coverage.decoded(footer.get("coverage", ""))[1]:
            return None, ()
    except UnreadableObjectError:
        return None, ()
    return stored.etag, (*lacks, *connection.asked().beyond(before))


def _held(store: ObjectStore, service: str, key: PartitionKey) -> _Held | None:
    """The day as the lake holds it; None where its file has gone or is damaged."""
    object_key = layout.day_key(layout.RAW_OBSERVATIONS, service, key)
    seen = store.look(object_key)
    if seen is None:
        return None
    try:
        table = ownership.decode(seen.data, object_key)
        footer = parquet.our_pairs(table.schema.metadata)
        covered, _ = coverage.decoded(footer["coverage"])
    except (UnreadableObjectError, KeyError):
        return None
    return _Held(table.replace_schema_metadata(None), footer, covered, seen.etag)


def _rejects(store: ObjectStore, service: str, key: PartitionKey) -> pa.Table:
    object_key = layout.day_key(layout.REJECTED_OBSERVATIONS, service, key)
    seen = store.look(object_key)
    if seen is None:
        return REJECTS.empty_table()
    held = schemas.conformed(ownership.decode(seen.data, object_key), REJECTS, layout.REJECTED_OBSERVATIONS)
    return held.replace_schema_metadata(None).cast(REJECTS)


def _merged(held: _Held, read: RawDay, part: Narrowed, rejects: pa.Table) -> RawDay:
    """The day with the rows of the part as read, and all others as the lake has them."""
    kept = held.table.filter(pa.array(~_within(held.table, part)))
    table = pa.concat_tables([_as_read(kept, read.table.schema), read.table]).unify_dictionaries()
    told = set(read.rejects["source_object"].to_pylist())
    others = rejects.filter(pa.array([name not in told for name in rejects["source_object"].to_pylist()], pa.bool_()))
    return replace(
        read,
        table=parquet.in_order(table),
        cadence=_joined_cadence(parquet.cadence_of(held.footer), read.cadence),
        rejects=pa.concat_tables([others, read.rejects]).sort_by([(name, "ascending") for name in _REJECTS_ORDER]),
        facts={**read.facts, "filled": _words(part)},
        lineage={**read.lineage, **_joined_lineage(held.footer, read.lineage)},
        expected_stations=tuple(sorted({*read.expected_stations, *_silent(held, part)})),
        expected_metrics=_absent(held, read, part),
        based_on=held.etag,
    )


_REJECTS_ORDER = ("source_object", "observed_at", "reason", "raw_text")


def _within(table: pa.Table, part: Narrowed) -> np.ndarray:
    """Which rows are of the part's stations and metrics."""
    inside = np.ones(table.num_rows, dtype=bool)
    for column, names in (("station_id", part.stations), ("metric", part.metrics)):
        if names is not None:
            chosen = pc.is_in(table[column].cast(pa.string()), pa.array(sorted(names), pa.string()))
            inside &= np.asarray(chosen)
    return inside


def _as_read(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The lake's rows as their source gave them: without the flags of our tests."""
    flags = np.where(np.asarray(table["value"].is_valid()), np.int8(PASS), np.int8(MISSING))
    position = table.schema.get_field_index("quality")
    return schemas.conformed(
        table.set_column(position, table.schema.field("quality"), pa.array(flags)), schema, "raw"
    ).cast(schema)  # fmt: skip


def _joined_cadence(held: Cadence, read: Cadence) -> Cadence:
    return Cadence(
        max(held.seconds, read.seconds), {**held.by_metric, **read.by_metric}, {**held.by_station, **read.by_station},
        held.sporadic | read.sporadic,
    )  # fmt: skip


def _joined_lineage(held: dict[str, str], read: Mapping[str, str]) -> dict[str, str]:
    """What the day is made of: the objects of both, by name; names after a prefix that both have, in order."""
    joined = {}
    for name, text in read.items():
        before = held.get(name, text)
        if text.startswith("{") and before.startswith("{"):
            joined[name] = json.dumps({**json.loads(before), **json.loads(text)}, sort_keys=True)
        elif (prefix := text.partition(":")[0]) == before.partition(":")[0]:
            names = {*before.partition(":")[2].split(","), *text.partition(":")[2].split(",")}
            joined[name] = f"{prefix}:{','.join(sorted(names))}"
    return joined


def _silent(held: _Held, part: Narrowed) -> set[str]:
    """The stations that the lake's day expected, without those that are read anew."""
    expected = {station for station, metric, _ in held.covered.series() if not metric}
    return expected - (part.stations if part.stations is not None else expected)


def _absent(held: _Held, read: RawDay, part: Narrowed) -> dict[str, frozenset[str]]:
    """The metrics that were expected of stations and did not come, as the lake's day and the part as read know."""
    expected = {station: set(metrics) for station, metrics in read.expected_metrics.items()}
    for station, metric, share in held.covered.series():
        anew = (part.stations is None or station in part.stations) and (part.metrics is None or metric in part.metrics)
        if metric and share == 0 and not anew:
            expected.setdefault(station, set()).add(metric)
    return {station: frozenset(metrics) for station, metrics in expected.items()}


def _words(part: Narrowed) -> str:
    stations = "all stations" if part.stations is None else ", ".join(sorted(part.stations)[:20])
    metrics = "all metrics" if part.metrics is None else ", ".join(sorted(part.metrics)[:20])
    return f"{stations}: {metrics}"
