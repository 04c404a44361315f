"""Rain of an hour: which of the running totals that a station sends within an hour is the hour's.

NOAA's documentation, section IX: METARs carry the total since the last routine report, which comes at or after minute
45 ("the most common minute closest to the end of the hour"); of several within an hour "the last report should be
used". A station that reports every 20 minutes keeps one running total of an hour all the same. Other reports (SYNOP,
networks of rain gauges) give the hour that ends at their stamp.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MINUTE_US = 60_000_000
_HOUR_US = 60 * MINUTE_US
_LATE_MINUTES = 45


class HourTotals(NamedTuple):
    """Which rows are the total of their hour, and the seconds that each row's total stands for."""

    last: npt.NDArray[np.bool_]
    seconds: npt.NDArray[np.int32]


def routine_minute(times: npt.NDArray[np.int64]) -> int:
    """The minute (1 to 60) at which a station's hour ends, by the stamps of its routine reports.

    The most common of minutes 45 to 60, the later of two alike; without any of those the most common of all.
    """
    if not len(times):
        return 60
    minutes = (times // MINUTE_US) % 60
    counts = np.bincount(np.where(minutes == 0, 60, minutes), minlength=61)
    late = counts[_LATE_MINUTES:]
    if late.any():
        return _LATE_MINUTES + int(len(late) - 1 - np.argmax(late[::-1]))
    return int(len(counts) - 1 - np.argmax(counts[::-1]))


def hour_totals(times: npt.NDArray[np.int64], minute: npt.NDArray[np.int64] | int) -> HourTotals:
    """Tell running totals, in order of time, from those that close their hour, which ends at `minute`
    (of each where it is not one for all).

    A total at the routine minute stands for the hour before it. Where the routine report is missing the last one before
    it stands for the time since the hour began.
    """
    shift = minute * MINUTE_US
    hours = -((shift - times) // _HOUR_US)  # the hour (end - shift) // hour that a stamp lies in, its end included
    last = np.ones(len(times), dtype=bool)
    last[:-1] = hours[1:] != hours[:-1]
    begins = (hours - 1) * _HOUR_US + shift
    return HourTotals(last, ((times - begins) // 1_000_000).astype(np.int32))
