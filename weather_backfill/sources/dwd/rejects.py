"""Rows that were read and could not be kept: collected here, filed under their day by the source."""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np
import pyarrow as pa

from weather_backfill.model.errors import SchemaError
from weather_backfill.model.schemas import TIMESTAMP
from weather_backfill.sources.table import Reject, cut_text, cut_texts, reject_columns, reject_table

_STAMP = re.compile(r"^\s*(\d{1,5})\s*;\s*(\d{4})(\d{2})(\d{2})(\d{2})?")


LIMIT = 50_000
"""More rejects than this in one file mean that the format is not understood, not that rows are bad."""


class Rejects:
    """Collects rejected rows of one source object."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rows: list[Reject] = []
        self._count = 0
        self._expected: list[pa.Table] = []

    def add_expected(self, reason: str, texts: list[str], station: str, days: np.ndarray) -> None:
        """Many rows that are rejected for what the file's metadata says of them; they never refuse the file.

        `days` are the midnights of their stamps' days, by which they are filed (UTC microseconds).
        """
        at = pa.array(np.asarray(days, dtype=np.int64)).view(TIMESTAMP)
        self._expected.append(
            reject_columns(reason, self._source, station, at, cut_texts(pa.array(texts, pa.string())))
        )

    def add(self, reason: str, text: str, station: str | None = None, at: int | None = None) -> None:
        """One row: why, its text (cut at 1 kB), and its station and time (UTC microseconds) where known."""
        self._count += 1
        if self._count > LIMIT:
            return  # `require_few` refuses the file
        guessed_station, guessed_day = _guess(text)
        observed_at = at if at is not None else guessed_day
        self._rows.append(Reject(reason, self._source, cut_text(text), station or guessed_station, observed_at))

    def clear(self) -> None:
        """Forget all rows: the file is read once more."""
        self._rows.clear()
        self._expected.clear()
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
        row = self._rows[0]
        raise SchemaError(
            f"{self._source}: {self._count} rows cannot be read, the first because "
            f"{row.reason}: {row.raw_text[:200]!r}. Expected rows as the header says; "
            "the format has changed."
        )

    def table(self) -> pa.Table:
        """The rejects as a table of `schemas.REJECTS`, in an order that does not depend on threads."""
        rows = reject_table(self._rows, lambda row: (row.observed_at or 0, row.reason, row.raw_text))
        return pa.concat_tables([rows, *self._expected]) if self._expected else rows


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
