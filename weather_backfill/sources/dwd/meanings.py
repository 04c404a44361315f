"""What some numbers of a product mean beyond their size: codes within values, and columns that nobody measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weather_backfill.sources.dwd.products import Product

Values = dict[str, npt.NDArray[np.float64]]
Levels = npt.NDArray[np.int8]

SKY = "cloud_area_fraction"
SKY_METHOD = "cloud_observation_method"
_UNCHECKED = 1  # the quality level at which an indicator tells of the gauge's heating
_FEWEST_OF_A_CONSTANT = 48  # values: two days of hours, in which no tenth of a hectopascal changed


def settle_meanings(values: Values, levels: Levels, product: Product) -> tuple[str, ...]:
    """Bring columns to what their metrics mean, in place; returns what was left out, in words."""
    _sky_not_visible(values, product)
    _heated_gauge(values, levels, product)
    return _nothing_measured(values, product)


def _sky_not_visible(values: Values, product: Product) -> None:
    """Cloud cover -1 is no amount but "sky not visible": null cover, and -1 as how it was observed."""
    by_metric = {product.columns[name].metric: name for name in values}
    cover = by_metric.get(SKY)
    if cover is None:
        return
    hidden = values[cover] == -1
    values[cover] = np.where(hidden, np.nan, values[cover])
    method = by_metric.get(SKY_METHOD, SKY_METHOD)
    if method in values:
        values[method] = np.where(hidden, -1.0, values[method])
    elif hidden.any():
        values[method] = np.where(hidden, -1.0, np.nan)


def _heated_gauge(values: Values, levels: Levels, product: Product) -> None:
    """Indicators 2 and 3 of level 1 are 0 and 1, observed with the heating on; elsewhere they mean nothing we know."""
    for name in values.keys() & product.columns.keys():
        if product.columns[name].indicator:
            column = values[name]
            heated = (levels == _UNCHECKED) & ((column == 2) | (column == 3))
            values[name] = np.where(heated, column - 2, column)


def _nothing_measured(values: Values, product: Product) -> tuple[str, ...]:
    """Drop columns of a sensor that hold one constant from the first row to the last."""
    found = []
    for name in sorted(values.keys() & product.columns.keys()):
        measured = values[name][~np.isnan(values[name])] if product.columns[name].sensor else values[name][:0]
        if len(measured) >= _FEWEST_OF_A_CONSTANT and (measured == measured[0]).all():
            del values[name]
            found.append(f"{name} (always {measured[0]:g}: not measured)")
    return tuple(found)
