"""`<service>/coverage`: what the lake holds, drawn as a calendar; its picture is the materialization's metadata."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from pydantic import Field

from weather_backfill.backfill.report import markdown
from weather_backfill.backfill.summary import summarize_tenants
from weather_backfill.lake import layout
from weather_backfill.settings import Settings


class CoverageWindow(dg.Config):
    """How far back to look."""

    days: int = Field(default=90, ge=1, le=3650, description="Days up to yesterday")


def build_coverage(service: str, settings: Settings) -> dg.AssetsDefinition:
    """The asset `<service>/coverage`, unpartitioned; run it when you want to look."""

    @dg.asset(
        key=dg.AssetKey([service, "coverage"]),
        deps=[dg.AssetKey([service, layout.REFINED_15M])],
        group_name=service,
        description="Coverage calendar of all tenants over the last days, as a picture in the metadata.",
    )
    def coverage(context: dg.AssetExecutionContext, config: CoverageWindow) -> dg.MaterializeResult:
        end = datetime.now(UTC).date() - timedelta(days=1)
        start = end - timedelta(days=config.days - 1)
        with tempfile.TemporaryDirectory() as folder:
            rows, picture = summarize_tenants(
                context.instance, settings, service, None, start, end, Path(folder) / "coverage.png"
            )
            return dg.MaterializeResult(metadata={"coverage": dg.MetadataValue.md(markdown(rows, picture))})

    return coverage
