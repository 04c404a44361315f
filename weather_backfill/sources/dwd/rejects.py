"""Rows that were read and could not be kept: collected here, filed under their day by the source."""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.model.errors import SchemaError
from weather_backfill.model.schemas import TIMESTAMP
from weather_backfill.sources.table import Reject, reject_columns, reject_table

_STAMP = re.compile(r"^\s*(\d{1,5})\s*;\s*(\d{4})(\d{2})(\d{2})(\d{2})?")


LIMIT = 50_000
"""More rejects than this in one file mean that the format is not understood, not that rows are bad."""

TRUE_SOLAR_TIME = "true_solar_time"
"""The reason of rows stamped by the sun ("in WOZ": hourly sunshine of old, in 528 of 636 stations' files)."""


class Rejects:
    """Collects rejected rows of one source object."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rows: list[Reject] = []
        self._blocks: list[pa.Table] = []
        self._count = 0
        self._first = ("", "")  # reason and text of the first that is counted

    def add(self, reason: str, text: str, station: str | None = None, at: int | None = None) -> None:
        """One row: why, its text (cut at 1 kB), and its station and time (UTC microseconds) where known."""
        self._first = self._first if self._count else (reason, text)
        self._count += 1
        if self._count > LIMIT:
            return  # `require_few` refuses the file
        guessed_station, guessed_day = _guess(text)
        observed_at = at if at is not None else guessed_day
        self._rows.append(Reject(reason, self._source, text, station or guessed_station, observed_at))

    def add_rows(
        self, reason: str, texts: pa.Array, station: str, times: npt.NDArray[np.int64], understood: bool = False
    ) -> None:
        """Rows of one station that were read well and have no place in the lake, with their times (UTC microseconds).

        Those whose format is `understood` say nothing against the file, however many they are.
        """
        if not len(texts):
            return
        if not understood:
            self._first = self._first if self._count else (reason, texts[0].as_py())
            self._count += len(texts)
        at = pa.array(times).view(TIMESTAMP)
        self._blocks.append(reject_columns(reason, self._source, station, at, texts))

    def clear(self) -> None:
        """Forget all rows: the file is read once more."""
        self._rows.clear()
        self._blocks.clear()
        self._count = 0

    def require_few(self) -> None:
        """Raise `SchemaError` if so many rows were rejected that the file as a whole is not understood."""
        if self._count > LIMIT:
            self._refuse()

    def require_none(self) -> None:
        """Raise `SchemaError` if a row was rejected of a file that has no other rows: it is not understood either."""
        if self._count:
            self._refuse()

    def _refuse(self) -> NoReturn:
        reason, text = self._first
        raise SchemaError(
            f"{self._source}: {self._count} rows cannot be read, the first because "
            f"{reason}: {text[:200]!r}. Expected rows as the header says; "
            "the format has changed."
        )

    def table(self) -> pa.Table:
        """The rejects as a table of `schemas.REJECTS`, in an order that does not depend on threads."""
        singly = reject_table(self._rows, lambda row: (row.observed_at or 0, row.reason, row.raw_text))
        if not self._blocks:
            return singly
        table = pa.concat_tables([singly, *self._blocks])
        times = pc.fill_null(table["observed_at"].cast(pa.int64()), 0)
        keys = pa.table({"at": times, "reason": table["reason"], "text": table["raw_text"]})
        return table.take(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]))


def _guess(text: str) -> tuple[str | None, int | None]:
    """Station and day as far as the text still shows them; the day as midnight of its stamp."""
    match = _STAMP.match(text)
    if match is None:
        return None, None
    station, year, month, day, _ = match.groups()
    try:
        stamp = np.datetime64(f"{year}-{month}-{day}", "us")
    except ValueError:
        return f"{int(station):05d}", None
    return f"{int(station):05d}", int(stamp.astype(np.int64))
