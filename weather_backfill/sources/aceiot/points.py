"""The points of a site that are wanted, and the metric that each becomes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate

import pyarrow as pa

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.aceiot.connection import AceiotConnection


@dataclass(frozen=True, slots=True)
class PointSet:
    """A site's wanted points; `names[i]` becomes `metrics[i]`, and `metrics` is sorted.

    A point's place is its code: codes in the order of the metrics make sorting by metric a sort of integers.
    """

    site: str
    configured: int
    names: pa.Array
    metrics: tuple[str, ...]


def choose_points(site: str, configured: list[str], connection: AceiotConnection) -> PointSet:
    """The wanted ones of a site's configured points.

    Raises `ConfigurationError` if no point is wanted, or if two points would become one metric.
    """
    wanted = sorted(set(configured))
    if connection.points is not None:
        keep = [re.compile(translate(p)) for p in connection.points]
        wanted = [name for name in wanted if any(k.match(name) for k in keep)]
    if not wanted:
        raise ConfigurationError(
            f"site {site!r}: none of its {len(configured)} configured points is wanted. Check the patterns "
            "in points, or configure points for the site."
        )
    rules = [(re.compile(translate(p)), metric) for p, metric in connection.metrics.items()]
    by_metric: dict[str, str] = {}
    for name in wanted:
        metric = next((m for rule, m in rules if rule.match(name)), name)
        if metric in by_metric:
            raise ConfigurationError(
                f"site {site!r}: points {by_metric[metric]!r} and {name!r} would both become {metric!r}, and "
                "one would overwrite the other. Make the patterns in metrics match one point of a site each."
            )
        by_metric[metric] = name
    metrics = tuple(sorted(by_metric))
    return PointSet(site, len(configured), pa.array([by_metric[m] for m in metrics], pa.string()), metrics)
