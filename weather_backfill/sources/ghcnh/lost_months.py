"""A year's file that loses a month: refused for it, with the month named.

NOAA rewrites the running year's file every day, and on 2026-08-19 withdrew a month that it had had the day before. So
the rows of each month are kept beside the cached file, as they were at their most. A month that keeps less than
`KEPT_SHARE` of them is lost: its days come out incomplete, so that the lake keeps its rows of them
(`lake/writer.write_day`), until the month is back, or `accept_lost_months` names it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from weather_backfill.lake.row_diff import KEPT_SHARE

_NOTE = "rows_by_month"


def rows_by_month(stamps: npt.NDArray[np.int64]) -> dict[str, int]:
    """The rows of each month (`2026-07`) by their stamps, in UTC microseconds."""
    months, counts = np.unique(stamps.astype("M8[us]").astype("M8[M]"), return_counts=True)
    return {str(month): int(count) for month, count in zip(months, counts, strict=True)}


def lost_months(
    name: str, note: Mapping[str, Any], stamps: npt.NDArray[np.int64], accepted: Collection[str]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Why the file is refused for a month, by month; and the note to keep of it."""
    before = {str(month): int(rows) for month, rows in note.get(_NOTE, {}).items()}
    now = rows_by_month(stamps)
    lost: dict[str, str] = {}
    for month, rows in before.items():
        if now.get(month, 0) < KEPT_SHARE * rows and month not in accepted:
            lost[month] = (
                f"{name} has lost the month {month}: {now.get(month, 0):,} rows of it, expected {rows:,} as before. "
                "It is refused for that month: the lake keeps its rows. Read the month's days again when NOAA has it "
                "back; if it is gone for good, name it in the connection's accept_lost_months."
            )
    kept = {month: rows if month in lost else now.get(month, 0) for month, rows in before.items()}
    return lost, {_NOTE: {**now, **kept}}
