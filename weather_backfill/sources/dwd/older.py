"""What the rows of an older release stand for: the day's cadence tells the resolution, the metric the product.

The connection as it is now says neither: it may have had other products, or another resolution, when they were read.
Where two products of a resolution hold a metric, they say the same of it (a test holds that).
"""

from __future__ import annotations

from weather_backfill.sources.dwd.meanings import SKY, SKY_METHOD
from weather_backfill.sources.dwd.products import PRODUCTS

HOUR = 3600


def interval_of(metric: str, cadence_seconds: int) -> tuple[int, int]:
    """Length and end of the interval of a metric's values at a cadence.

    A metric that no product has today, under an older name, is as the others of its resolution: the time up to the
    stamp, or of hourly ones a reading ten minutes before it.
    """
    name = SKY if metric == SKY_METHOD else metric  # the method is made from the cover where there is no column of it
    for product in PRODUCTS.values():
        if product.cadence == cadence_seconds and name in {column.metric for column in product.columns.values()}:
            return product.interval.seconds, product.interval.end_offset
    return (cadence_seconds, 0) if cadence_seconds < HOUR else (0, -600)
