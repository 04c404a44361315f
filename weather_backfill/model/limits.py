"""The limits that a day is judged by: those of the settings, with a tenant's own on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares from 0 to 1. `targets`, `failed` and `suspect` are by metric, where a metric has its own.

    `required` are the metrics of which a station that reports them at all must have a value in a day.
    """

    completeness_target: float = 0.75
    rejects_limit: float = 0.01
    failed_limit: float = 0.05
    suspect_limit: float = 0.5
    targets: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, float] = field(default_factory=dict)
    suspect: Mapping[str, float] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
