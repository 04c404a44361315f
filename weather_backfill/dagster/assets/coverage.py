"""`<service>/coverage`: what the lake holds, drawn as a calendar; its picture is the materialization's metadata."""

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
from pydantic import Field

from weather_backfill.backfill.report import markdown
from weather_backfill.backfill.summary import summarize_tenants
from weather_backfill.dagster.backfill_form import parse_day
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.settings import Settings


class CoverageWindow(dg.Config):
    """Which UTC days to draw."""

    days: int = Field(default=90, ge=1, le=3650, description="Days to draw, the last of them end_date")
    end_date: str = Field(default="", description="Last UTC day, YYYY-MM-DD; empty for yesterday")

    def last_day(self) -> date:
        """The UTC day the calendar ends with; raises `ConfigurationError` if `end_date` is none."""
        if self.end_date:
            return parse_day(self.end_date, "end_date")
        return datetime.now(UTC).date() - timedelta(days=1)


def build_coverage(service: str, settings: Settings) -> dg.AssetsDefinition:
    """The asset `<service>/coverage`, unpartitioned; run it when you want to look."""

    @dg.asset(
        key=dg.AssetKey([service, "coverage"]),
        deps=[dg.AssetKey([service, layout.REFINED_15M])],
        group_name=service,
        description="Coverage calendar of all tenants, as a picture in the metadata. The last 90 days; for others, "
        "*Open launchpad* beside *Materialize*.",
    )
    def coverage(context: dg.AssetExecutionContext, config: CoverageWindow) -> dg.MaterializeResult:
        try:
            end = config.last_day()
        except ConfigurationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        start = end - timedelta(days=config.days - 1)
        with tempfile.TemporaryDirectory() as folder:
            rows, picture = summarize_tenants(
                context.instance, settings, service, None, start, end, Path(folder) / "coverage.png"
            )
            return dg.MaterializeResult(metadata={"coverage": dg.MetadataValue.md(markdown(rows, picture))})

    return coverage
