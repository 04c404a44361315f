"""Rows of one instant in one file: which of them is the observation.

Seen in DWD's files: a stamp twice, once with `-999` and once with a value; and the last hour of 1999 written twice,
where one of the rows repeats the values of the hour beside it (station 03086 has 1,002 such stamps in 1999). So a value
wins over a missing one, column by column; of two values that of the row which copies no neighbour hour; else the later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weather_backfill.sources.dwd.timestamps import HOUR

Positions = npt.NDArray[np.int64]
Values = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Rows by time, one an instant: their `times`, their positions in the file (`order`), and the others' (`lost`).

    `rivals` are the rows that share their instant, the worthiest of each last, and `at` the places of their instants in
    `times`.
    """

    times: npt.NDArray[np.int64]
    order: Positions
    lost: Positions
    rivals: Positions
    at: Positions

    def rows_of(self, values: npt.NDArray[np.float64]) -> Positions:
        """The rows to take of one column: `order`, but for instants of which another row alone has a value."""
        if not len(self.rivals):
            return self.order
        present = ~np.isnan(values[self.rivals])
        by = np.lexsort((present, self.at))  # equal ones keep their order, which is that of worth
        best = by[_lasts(self.at[by])]
        rows = self.order.copy()
        rows[self.at[best]] = self.rivals[best]
        return rows


def distinct(times: npt.NDArray[np.int64], rows: Positions, values: Values) -> Distinct:
    """Sort `rows` (positions in the file, of which `times` holds all) and settle which one stands for each instant."""
    by_time = rows[np.argsort(times[rows], kind="stable")]
    rising = times[by_time]
    lasts = _lasts(rising)
    order = by_time[lasts]
    if len(order) == len(by_time):
        return Distinct(rising, order, order[:0], order[:0], order[:0])
    instants = np.cumsum(np.append(0, lasts[:-1]))
    shared = np.bincount(instants)[instants] > 1
    rivals, at = by_time[shared], instants[shared]
    worth = np.lexsort((~_copies(times, by_time, rising, rivals, values), at))  # stable: later is worthier
    rivals = rivals[worth]
    order[at[_lasts(at)]] = rivals[_lasts(at)]
    return Distinct(rising[lasts], order, np.sort(rivals[~_lasts(at)]), rivals, at)


def _lasts(sorted_keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Marks the last of each run of equal keys."""
    last = np.ones(len(sorted_keys), dtype=bool)
    np.not_equal(sorted_keys[1:], sorted_keys[:-1], out=last[:-1])
    return last


def _copies(
    times: npt.NDArray[np.int64], by_time: Positions, rising: npt.NDArray[np.int64], rivals: Positions, values: Values
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """Which rivals hold the very values of a row an hour before or after them."""
    found = np.zeros(len(rivals), dtype=bool)
    for distance in (-HOUR, HOUR):
        wanted = times[rivals] + distance
        for side, step in (("left", 0), ("right", -1)):  # a neighbour can stand twice as well
            near = np.clip(np.searchsorted(rising, wanted, side=side) + step, 0, len(rising) - 1)  # type: ignore[call-overload]
            same = rising[near] == wanted
            for column in values.values():
                own, other = column[rivals], column[by_time[near]]
                same &= (own == other) | (np.isnan(own) & np.isnan(other))
            found |= same
    return found
