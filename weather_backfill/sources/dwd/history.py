"""The history of stations as a type-2 table: one row for each span in which nothing about a station changed.

Spans are days `[valid_from, valid_to)`; a null `valid_to` with `is_current` means "still so". DWD writes both
ends included, so `valid_to` is the day after its `Bis_Datum`. Instruments have no open end in the files:
their last day is the day the file was made, and counts as open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, Protocol

import pyarrow as pa

from weather_backfill.model.schemas import STATION_HISTORY
from weather_backfill.sources.dwd.metadata import NamedEntry, StationMetadata

_ONE_DAY = timedelta(days=1)


class _Span(Protocol):
    @property
    def start(self) -> date | None: ...
    @property
    def end(self) -> date | None: ...


def station_history(found: Iterable[tuple[str, StationMetadata]]) -> pa.Table:
    """The table `STATION_HISTORY`, sorted by station and time; a station may be given once a product."""
    by_station: dict[str, list[StationMetadata]] = {}
    for station, metadata in found:
        by_station.setdefault(station, []).append(metadata)
    rows = [row for station in sorted(by_station) for row in _rows(station, by_station[station])]
    return pa.Table.from_pylist(rows, STATION_HISTORY)


def _rows(station: str, parts: Sequence[StationMetadata]) -> list[dict[str, Any]]:
    places = [p for part in parts for p in part.places]
    names = [n for part in parts for n in part.names]
    operators = [o for part in parts for o in part.operators]
    instruments = [i for part in parts for i in _open_ended(part)]
    frame: list[_Span] = [*(places or names)]  # where the station stood says when there was one
    spans = _spans([*places, *names, *operators, *instruments], frame)
    rows: list[dict[str, Any]] = []
    for start, end in spans:
        place = _last(places, start)
        name = _last(names, start)
        operator = _last(operators, start)
        row = {
            "station_id": station,
            "valid_from": start,
            "valid_to": end,
            "is_current": end is None,
            "name": name.text if name else (place.name or None if place else None),
            "latitude": place.latitude if place else None,
            "longitude": place.longitude if place else None,
            "height": place.height if place else None,
            "instruments": sorted({f"{i.subject}: {i.text}" for i in instruments if _holds(i, start)}),
            "operator": operator.text if operator else None,
        }
        if rows and _alike(rows[-1], row):
            rows[-1] |= {"valid_to": end, "is_current": end is None}
        else:
            rows.append(row)
    return rows


def _open_ended(metadata: StationMetadata) -> list[NamedEntry]:
    """Instruments, the last day of all taken for an open end."""
    last = max((i.end for i in metadata.instruments if i.end), default=None)
    return [NamedEntry(i.text, i.start, None if i.end == last else i.end, i.subject) for i in metadata.instruments]


def _spans(every: Sequence[_Span], frame: Sequence[_Span]) -> list[tuple[date, date | None]]:
    """The stretches between the days on which anything changed, as far as the frame reaches."""
    edges = {e.start for e in every if e.start} | {e.end + _ONE_DAY for e in every if e.end}
    covered = sorted(edge for edge in edges if any(_holds(f, edge) for f in frame))
    following = sorted(edges)
    spans: list[tuple[date, date | None]] = []
    for start in covered:
        later = [edge for edge in following if edge > start]
        spans.append((start, later[0] if later else None))
    return spans


def _holds(entry: _Span, day: date) -> bool:
    return (entry.start or date.min) <= day <= (entry.end or date.max)


def _last(entries: Sequence[Any], day: date) -> Any:
    """The entry that holds on a day; where two overlap, the one that starts later."""
    holding = [e for e in entries if _holds(e, day)]
    return max(holding, key=lambda e: e.start or date.min) if holding else None


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    own = ("valid_from", "valid_to", "is_current")
    touching = one["valid_to"] == other["valid_from"]
    return touching and all(one[k] == other[k] for k in one if k not in own)
