"""What DWD's rows of schema 1 stand for: the resolution follows from the cadence, the product from the metric.

Where two products of a resolution hold a metric, they say the same of it (a test holds that).
"""

from __future__ import annotations

import pyarrow as pa

from weather_backfill.sources.declared import Declared, by_metric
from weather_backfill.sources.dwd.products import PRODUCTS

_SKY_METHOD = "cloud_observation_method"  # made from cloud cover where a file has no column of it


def declares(connection: object, table: pa.Table, cadence_seconds: int) -> Declared:
    """The intervals of the products that hold the rows' metrics at the resolution of this cadence."""
    found = intervals_by_metric(cadence_seconds)
    preceding = (cadence_seconds, 0) if cadence_seconds < 3600 else None  # so it is with all minute products
    return by_metric(table, lambda metric: found.get(metric, preceding))


def intervals_by_metric(cadence_seconds: int) -> dict[str, tuple[int, int]]:
    """Length and end of the interval by metric, for products of this cadence."""
    found: dict[str, tuple[int, int]] = {}
    for product in PRODUCTS.values():
        if product.cadence == cadence_seconds:
            interval = (product.interval.seconds, product.interval.end_offset)
            names = [column.metric for column in product.columns.values()]
            found |= {name: interval for name in names if name not in found}
    if "cloud_area_fraction" in found:
        found.setdefault(_SKY_METHOD, found["cloud_area_fraction"])
    return found
