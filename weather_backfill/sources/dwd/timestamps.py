"""Stamps as numbers: `YYYYMMDDHH`, `YYYYMMDDHHMM` or `YYYYMMDDHH:MM` to microseconds, a column at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

DAY = 86_400_000_000
HOUR = 3_600_000_000
MINUTE = 60_000_000


def parse_stamps(column: pa.ChunkedArray, resolution: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Microseconds since 1970-01-01 by the file's own clock, and which rows hold a real time.

    Hours run from 0 to 23. Hourly stamps have ten digits, all others twelve; `YYYYMMDDHH:MM` (hourly solar)
    has twelve once the colon is gone.
    """
    minutes = resolution != "hourly"
    if pa.types.is_string(column.type):
        digits = pc.replace_substring(pc.utf8_trim_whitespace(column), ":", "")
        plain = pc.match_substring_regex(digits, r"^\d{12}$")
        column = pc.if_else(plain, digits, pa.scalar("0")).cast(pa.int64())
        minutes = True
    stamps = np.asarray(pc.fill_null(column, 0).to_numpy(), dtype=np.int64)
    minute = stamps % 100 if minutes else np.zeros(len(stamps), dtype=np.int64)
    hours = stamps // 100 if minutes else stamps
    days, hour = hours // 100, hours % 100
    midnight, valid = _midnights(days)
    valid &= (hour < 24) & (minute < 60)
    return midnight + hour * HOUR + minute * MINUTE, valid


def _midnights(days: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """`YYYYMMDD` numbers to microseconds. Runs of one day are long, so each run is converted once."""
    if len(days) == 0:
        return days, np.zeros(0, dtype=bool)
    starts = np.flatnonzero(np.concatenate([[True], days[1:] != days[:-1]]))
    runs = days[starts]
    year, month, day = runs // 10_000, runs // 100 % 100, runs % 100
    ok = (year >= 1700) & (year <= 2261) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(ok, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    length = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    ok &= day <= length
    micros = (first.astype(np.int64) + np.where(ok, day - 1, 0)) * DAY
    counts = np.diff(np.append(starts, len(days)))
    return np.repeat(micros, counts), np.repeat(ok, counts)


def expand_ranges(
    begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], cadence: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows that stand for a range of intervals, both ends included: source row and stamp of each interval.

    One-minute history writes a dry spell as one row from its first to its last minute.
    """
    step = cadence * 1_000_000
    counts = (ends - begins) // step + 1
    rows = np.repeat(np.arange(len(begins)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return rows, begins[rows] + (np.arange(len(rows)) - first) * step
