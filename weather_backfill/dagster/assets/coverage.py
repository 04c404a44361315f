"""The asset `<service>/coverage`: a calendar of the days in the lake, a picture in the materialization's metadata."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
from pydantic import Field

from weather_backfill.backfill.report import markdown
from weather_backfill.backfill.summary import summarize_tenants
from weather_backfill.dagster.asset_attributes import REQUIRED, asset_attributes
from weather_backfill.dagster.backfill_form import parse_day
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.settings import Settings
from weather_backfill.util.scratch import Scratch


class CoverageWindow(dg.Config):
    """The UTC days to draw."""

    days: int = Field(default=90, ge=1, le=3650, description="Days to draw, the last of them end_date")
    end_date: str = Field(default="", description="Last UTC day, YYYY-MM-DD; empty for yesterday")

    def last_day(self) -> date:
        """The last UTC day of the calendar; raises `ConfigurationError` if `end_date` is no date."""
        if self.end_date:
            return parse_day(self.end_date, "end_date")
        return datetime.now(UTC).date() - timedelta(days=1)


COVERAGE_TABLE = dg.TableSchema(
    columns=[
        dg.TableColumn("tenant", "string", "Tenant id", constraints=REQUIRED),
        dg.TableColumn("days", "int64", "UTC days that were asked for", constraints=REQUIRED),
        dg.TableColumn("raw", "int64", "Days with raw observations in the lake", constraints=REQUIRED),
        dg.TableColumn("refined", "int64", "Days with refined windows in the lake", constraints=REQUIRED),
        dg.TableColumn("rows", "int64", "Raw observations of these days", constraints=REQUIRED),
        dg.TableColumn("rejects", "int64", "Rows that were read and could not be kept", constraints=REQUIRED),
        dg.TableColumn("complete", "double", "Mean completeness of all days asked for, 0 to 1", constraints=REQUIRED),
        dg.TableColumn("MB", "double", "Size of the raw objects, in millions of bytes", constraints=REQUIRED),
        dg.TableColumn("failed", "string", "Days whose last attempt failed; empty: none", constraints=REQUIRED),
    ],
    constraints=dg.TableConstraints(other=["unique by tenant"]),
)


def build_coverage(service: str, settings: Settings) -> dg.AssetsDefinition:
    """The asset `<service>/coverage`: unpartitioned, materialized by hand when somebody wants to see it."""

    @dg.asset(
        key=dg.AssetKey([service, "coverage"]),
        deps=[dg.AssetKey([service, layout.REFINED_15M])],
        group_name=service,
        kinds={"matplotlib"},
        **asset_attributes("coverage", settings, COVERAGE_TABLE, service=service),
        description="Coverage calendar of all tenants, as a picture in the metadata. The last 90 days; for others, "
        "*Open launchpad* beside *Materialize*.",
    )
    def coverage(context: dg.AssetExecutionContext, config: CoverageWindow) -> dg.MaterializeResult:
        try:
            end = config.last_day()
        except ConfigurationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        start = end - timedelta(days=config.days - 1)
        with Scratch("coverage") as folder:
            rows, picture = summarize_tenants(
                context.instance, settings, service, None, start, end, folder / "coverage.png"
            )
            return dg.MaterializeResult(
                metadata={"coverage": dg.MetadataValue.md(markdown(rows, picture)), "dagster/row_count": len(rows)}
            )

    return coverage
