"""Tags of runs and backfills, as people and `dagster.yaml` name them."""

from __future__ import annotations

TENANT_TAG = "weather/tenant"


SERVICE_TAG = "weather/service"


ACCEPT_LOSS_TAG = "weather/accept_loss"
"""With the value `true`, a run may replace days by ones with fewer rows (`lake/row_diff.py`)."""
