"""How often a station reports, from the year of data that was asked for.

Hourly, half-hourly, 3-hourly: the time between routine reports in which the station passes most of its time. Reports
that come because something changed say nothing of it, and neither does an outage.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from weather_backfill.sources.ghcnh.decode import METRIC_CODES, Decoded
from weather_backfill.sources.ghcnh.elements import HOUR, SPORADIC

GRIDS = np.array([60, 300, 600, 900, 1200, 1800, 3600, 10_800, 21_600, 43_200, 86_400])
_LONGEST = 1.5 * 86_400
"""Seconds: a longer silence is an outage."""


def grid_of(times: npt.NDArray[np.int64]) -> int | None:
    """The seconds between stamps (UTC microseconds, rising), to the nearest of `GRIDS`; None of fewer than two."""
    gaps = np.diff(times) // 1_000_000
    gaps = gaps[(gaps > 0) & (gaps <= _LONGEST)]
    if not len(gaps):
        return None
    edges = np.sqrt(GRIDS[1:] * GRIDS[:-1])
    nearest = np.searchsorted(edges, gaps)
    return int(GRIDS[np.bincount(nearest, weights=gaps, minlength=len(GRIDS)).argmax()])


def cadence_of(decoded: Decoded) -> Mapping[str, int]:
    """A station's seconds by metric, that of "" for all that are not named: `Cadence.by_station`."""
    own = grid_of(decoded.routine) or HOUR
    cadence = {"": own}
    rows = decoded.rows
    for metric, code in METRIC_CODES.items():
        if metric in SPORADIC:
            continue
        grid = grid_of(np.sort(rows.times[rows.metrics == code], kind="stable"))
        if grid is not None and grid > own:
            cadence[metric] = grid
    return cadence
