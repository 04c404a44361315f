"""Tags of runs, backfills and assets, as people and `dagster.yaml` name them."""

from __future__ import annotations

TENANT_TAG = "weather/tenant"
SERVICE_TAG = "weather/service"
DATASET_TAG = "weather/dataset"
DOMAIN_TAG = "domain"
"""Of assets: the field of knowledge they belong to, by Dagster's convention, beside other teams' assets."""
FILL_TAG = "weather/fill"
"""With the value `true`, a run reads only what days of the lake lack, where the source can (`tenants/filling.py`)."""
ACCEPT_LOSS_TAG = "weather/accept_loss"
"""With the value `true`, a run may replace days by ones with fewer rows (`lake/row_diff.py`)."""
