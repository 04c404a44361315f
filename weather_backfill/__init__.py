"""Backfill weather observations into clean 15-minute Parquet with Dagster's own partition backfills."""

import warnings

from dagster import BetaWarning, PreviewWarning

__version__ = "0.1.0"

# Backfill policies are beta and partitions of checks preview in Dagster 1.13; both are what we stand on, and
# a page of warnings at every command hides the ones that matter. The version range in pyproject.toml guards us.
for _category in (BetaWarning, PreviewWarning):
    warnings.filterwarnings("ignore", category=_category)
