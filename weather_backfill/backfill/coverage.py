"""Coverage of the lake by day, judged from the files' footers, and the coverage calendar as a picture."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from weather_backfill.lake import layout, ownership, parquet
from weather_backfill.lake.carried import CARRIED, PENDING
from weather_backfill.lake.expectation import asked_in, lacks_in
from weather_backfill.lake.listing import day_objects
from weather_backfill.model import schemas
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.expectation import Asked, Lack
from weather_backfill.model.partitions import days_between
from weather_backfill.storage.object_store import ObjectStore, StoredObject


@dataclass(frozen=True, slots=True)
class HeldDay:
    """A raw day (UTC) in the lake: `completeness` 0 to 1; `incomplete` says what a partial or damaged day lacks.

    `lacks` is the same in parts, empty for a damaged file; `asked` is what was asked for when it was written, None in
    files of older releases.
    `outdated`: its file has an older schema version than today's, or is upgraded only in part: `pending` says why.
    `carried`: it holds rows of the day before, which had not been written by today's schema when it was
    (`lake/carried.py`).
    """

    date: date
    rows: int
    rejects: int
    completeness: float
    bytes: int
    incomplete: str | None = None
    rows_hash: str | None = field(default=None, compare=False)
    modified: datetime | None = field(default=None, compare=False)
    outdated: bool = False
    carried: bool = False
    cadence: str | None = field(default=None, compare=False)
    pending: str | None = None
    lacks: tuple[Lack, ...] = ()
    asked: Asked | None = field(default=None, compare=False)

    def lacking(self, asked: Asked) -> tuple[Lack, ...]:
        """What the day lacks, by its file and by what is asked for now."""
        return (*self.lacks, *(asked.beyond(self.asked) if self.asked is not None else ()))


def held_days(
    store: ObjectStore, service: str, tenant: str, only: Collection[date] | None = None
) -> dict[date, HeldDay]:
    """Read a tenant's raw days in the lake (or `only` some of them) from listings and footers.

    A damaged object counts as an incomplete day: it stops neither the other days nor its own repair.
    """
    by_day = day_objects(store, layout.RAW_OBSERVATIONS, service, tenant)
    objects = [stored for day, stored in by_day.items() if only is None or day in only]
    return {day.date: day for day in store.each(lambda stored: held_day(store, stored), objects)}


def file_metadata(store: ObjectStore, stored: StoredObject) -> pq.FileMetaData:
    """Read a day's Parquet metadata from its file's last bytes.

    Raises `UnreadableObjectError` if it is damaged, or by its footer another tenant's or day's.
    """
    metadata = parquet.stored_metadata(store, stored)
    if metadata is None:
        raise UnreadableObjectError(
            f"{store.uri(stored.key)} is not a Parquet file: it was damaged after it was written. "
            "Materialize the day again."
        )
    ownership.check_owner(parquet.footer_of(metadata), stored.key)
    return metadata


def held_day(store: ObjectStore, stored: StoredObject) -> HeldDay:
    """Read a raw day's footer; a damaged object is an incomplete day."""
    day = layout.date_of(stored.key)
    try:
        metadata = file_metadata(store, stored)
        footer = parquet.footer_of(metadata)
        rejects, completeness = int(footer.get("rejects", 0)), float(footer.get("completeness", 0))
        lacks, asked = lacks_in(footer), _asked(footer.get("asked"))
    except (UnreadableObjectError, ValueError) as error:
        return HeldDay(day, 0, 0, 0.0, stored.size, f"unreadable: {error}", None, stored.last_modified)
    return HeldDay(
        day, metadata.num_rows, rejects, completeness, stored.size, footer.get("incomplete"), footer.get("rows"),
        stored.last_modified, schemas.is_older(footer.get("schema_version")) or PENDING in footer, CARRIED in footer,
        _cadence(footer), footer.get(PENDING), lacks, asked,
    )  # fmt: skip


def refined_dates(store: ObjectStore, service: str, tenant: str) -> set[date]:
    """The days of a tenant that have a refined object."""
    return set(day_objects(store, layout.REFINED_15M, service, tenant))


@dataclass(frozen=True, slots=True)
class RefinedDay:
    """A refined day (UTC) in the lake, by its footer; `problem` says what is wrong with its file.

    `raw_rows` is the `rows_hash` of the raw day that it was made from, and `cadence` that day's; None in older files.
    `outdated`: its file has an older schema version than today's.
    """

    date: date
    raw_rows: str | None = None
    cadence: str | None = None
    problem: str | None = None
    outdated: bool = False


def refined_day(store: ObjectStore, stored: StoredObject) -> RefinedDay:
    """Read a refined day's footer; a file that is cut, empty, no Parquet or of somebody else has a `problem`."""
    day = layout.date_of(stored.key)
    try:
        metadata = file_metadata(store, stored)
    except UnreadableObjectError as error:
        return RefinedDay(day, problem=f"unreadable: {error}")
    footer = parquet.footer_of(metadata)
    if "schema_version" not in footer or metadata.schema.names[:1] != schemas.REFINED.names[:1]:
        return RefinedDay(day, problem=f"foreign: {store.uri(stored.key)} is not a refined file of ours.")
    outdated = schemas.is_older(footer["schema_version"])
    return RefinedDay(day, footer.get("raw_rows"), _cadence(footer), outdated=outdated)


@lru_cache(maxsize=256)
def _asked(text: str | None) -> Asked | None:
    """What was asked for, one object for all days that share it."""
    return asked_in({"asked": text}) if text else None


def _cadence(footer: Mapping[str, str]) -> str | None:
    """The cadence of a footer, one object for all days that share it."""
    return sys.intern(cadence) if (cadence := footer.get("cadence")) else None


def unrefined(refined: Mapping[date, RefinedDay], held: Mapping[date, HeldDay]) -> dict[date, str]:
    """The days whose refined file cannot be used, with the reason: damaged, made from other raw than the lake has, or
    of an older schema where raw is of today's: what its windows mean has changed.

    The footers alone decide: the times say nothing, as copying a lake changes them and a slow writer's refined of old
    raw is younger than the new raw. Files of older releases that do not say what they were made from count as good.
    """
    reasons = {}
    for day, made in refined.items():
        if made.problem:
            reasons[day] = made.problem
        elif (raw := held.get(day)) and _differs(made.raw_rows, raw.rows_hash):
            reasons[day] = "made from other rows than raw has now"
        elif raw and made.outdated and not raw.outdated:
            reasons[day] = "of an older schema version than raw has now"
        elif raw and made.raw_rows and _differs(made.cadence, raw.cadence):
            reasons[day] = "made with another cadence than raw has now"
    return reasons


def _differs(made_from: str | None, now: str | None) -> bool:
    return bool(made_from and now and made_from != now)


def draw_calendar(
    rows: Mapping[str, Mapping[date, HeldDay]],
    failed: Mapping[str, Iterable[date]],
    start: date,
    end: date,
    path: Path,
) -> Path:
    """Draw tenants by days, coloured by completeness, failed days in red and absent ones in grey; returns the path."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    days = days_between(start, end)
    names = sorted(rows)
    grid = _grid(rows, days, names)
    marks = [(days.index(day), row) for row, name in enumerate(names) for day in failed.get(name, ()) if day in days]
    width, height = max(6.0, min(0.28 * len(days) + 3, 30)), 0.42 * len(names) + 2.2
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set_facecolor("#d9d9d9")
    image = axes.pcolormesh(np.ma.masked_invalid(grid), cmap="viridis", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    if marks:
        red = np.full(grid.shape, np.nan)
        for column, row in marks:
            red[row, column] = 1
        axes.pcolormesh(np.ma.masked_invalid(red), cmap=ListedColormap(["#c62828"]), edgecolors="white", linewidth=1)
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    step = max(1, len(days) // 12)
    axes.set_xticks(
        np.arange(0, len(days), step) + 0.5, [f"{d:%d %b %Y}" for d in days[::step]], rotation=35, ha="right"
    )
    axes.invert_yaxis()
    axes.set_title(f"Coverage, {start} to {end}")
    figure.colorbar(image, ax=axes, label="completeness", shrink=0.9)
    axes.legend(
        handles=[Patch(color="#c62828", label="failed"), Patch(color="#d9d9d9", label="not in the lake")],
        loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=2, frameon=False,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _grid(rows: Mapping[str, Mapping[date, HeldDay]], days: Sequence[date], names: Sequence[str]) -> np.ndarray:
    grid = np.full((len(names), len(days)), np.nan)
    for row, name in enumerate(names):
        for column, day in enumerate(days):
            if held := rows[name].get(day):
                grid[row, column] = held.completeness
    return grid
