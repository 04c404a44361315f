"""Whether two sides made the same thing: a comparison of different work says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def assert_same(ours: Path, theirs: Path, keys: Sequence[str], values: Sequence[str]) -> None:
    """Raises unless both files hold the same rows by `keys`, in order, with equal `values` (to one in 10^7)."""
    a, b = (pq.read_table(path, columns=[*keys, *values]) for path in (ours, theirs))
    if a.num_rows != b.num_rows:
        raise AssertionError(f"{ours} has {a.num_rows} rows, {theirs} {b.num_rows}")
    for key in keys:
        if _keys(a[key]) != _keys(b[key]):
            raise AssertionError(f"{key} of {ours} and {theirs} differ")
    for value in values:
        left, right = (np.asarray(table[value].to_numpy(), dtype="f8") for table in (a, b))
        if not np.allclose(left, right, rtol=1e-7, atol=1e-7, equal_nan=True):
            raise AssertionError(f"{value} of {ours} and {theirs} differ")


def _keys(column: pa.ChunkedArray) -> pa.Array:
    plain = column.cast(pa.timestamp("us", "UTC") if pa.types.is_timestamp(column.type) else pa.string())
    return plain.combine_chunks()
