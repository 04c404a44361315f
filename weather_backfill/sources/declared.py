"""What rows of schema 1 stand for: older releases kept no intervals, and a service can tell them from the rows alone.

A function of a service (`Service.declares`) takes the tenant's connection, the rows and the seconds between the samples
of the day (the footer's cadence), and gives both columns of an interval; null where nothing is known of a metric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa


class Declared(NamedTuple):
    """The columns `interval_seconds` and `interval_end_offset_seconds`, a row each."""

    seconds: pa.Array
    end_offset: pa.Array


Declares = Callable[[Any, pa.Table, int], Declared]


def by_metric(table: pa.Table, interval_of: Callable[[str], tuple[int, int] | None]) -> Declared:
    """The interval of each row where it follows from the row's metric; null for a metric with None."""
    metric = pa.table({"metric": table["metric"]}).unify_dictionaries()["metric"]
    if not table.num_rows:
        return Declared(pa.array([], pa.int32()), pa.array([], pa.int32()))
    names = metric.chunk(0).dictionary.to_pylist()
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in metric.chunks if len(chunk)])
    known = [interval_of(name) for name in names]
    parts = (pa.array([interval and interval[part] for interval in known], pa.int32()) for part in (0, 1))
    return Declared(*(part.take(pa.array(codes)) for part in parts))
