"""Rules of single product columns that their numbers alone do not tell, from DWD's data set descriptions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Values = dict[str, npt.NDArray[np.float64]]

_FEWEST_PRESSURES = 48  # two days of hours in which no tenth of a hectopascal changed
_SKY = "cloud_area_fraction"
_SKY_METHOD = "cloud_observation_method"


def apply_column_rules(values: Values, levels: npt.NDArray[np.int8], metrics: Mapping[str, str]) -> None:
    """Apply all rules to the columns of a file, in place; `metrics` names the metric of each."""
    _sky_not_visible(values, metrics)
    _heated_gauge(values, levels)
    _constant_pressure(values)


def _sky_not_visible(values: Values, metrics: Mapping[str, str]) -> None:
    """Cloud cover -1 is no amount but "sky not visible": null cover, and -1 as how it was observed."""
    by_metric = {metric: name for name, metric in metrics.items()}
    cover = by_metric.get(_SKY)
    if cover is None:
        return
    hidden = values[cover] == -1
    values[cover] = np.where(hidden, np.nan, values[cover])
    method = by_metric.get(_SKY_METHOD, _SKY_METHOD)
    if method in values:
        values[method] = np.where(hidden, -1.0, values[method])
    elif hidden.any():
        values[method] = np.where(hidden, -1.0, np.nan)


def _heated_gauge(values: Values, levels: npt.NDArray[np.int8]) -> None:
    """Fold the indicator of ten-minute rain into 0 dry and 1 wet.

    Unchecked (QN 1), 2 and 3 say the same with the gauge's heating on; checked, it is 0 or 1 (DWD's description of
    ten-minute precipitation, RWS_IND_10).
    """
    indicator = values.get("RWS_IND_10")
    if indicator is not None:
        heated = (levels == 1) & ((indicator == 2) | (indicator == 3))
        values["RWS_IND_10"] = np.where(heated, indicator - 2, indicator)


def _constant_pressure(values: Values) -> None:
    """Leave out the pressure of hourly moisture where it is one constant: in 761 of 1,314 files nothing measured it."""
    pressure = values.get("P_STD")
    if pressure is not None:
        measured = pressure[~np.isnan(pressure)]
        if len(measured) >= _FEWEST_PRESSURES and (measured == measured[0]).all():
            del values["P_STD"]
