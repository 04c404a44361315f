"""`managed_backfill`: the form in Dagster's launchpad. A dry run shows the plan, otherwise it launches natively."""

from collections.abc import Callable
from datetime import date

import dagster as dg
from pydantic import Field

from weather_backfill.backfill.launch import native_id
from weather_backfill.backfill.operations import Desk, start, validate_range
from weather_backfill.backfill.plan import Order, Plan, Reprocess, build_plan
from weather_backfill.backfill.records import audit
from weather_backfill.errors import ConfigurationError, WeatherError
from weather_backfill.resources import TenantsResource
from weather_backfill.run_coordinator import ACCEPT_LOSS_TAG
from weather_backfill.settings import Settings


class BackfillRequest(dg.Config):
    """What to backfill. Dates are UTC days, YYYY-MM-DD, both included."""

    service: str = Field(description="tempest, dwd or aceiot")
    tenant: str = Field(description="Tenant id")
    start_date: str = Field(description="First UTC day, YYYY-MM-DD")
    end_date: str = Field(description="Last UTC day, YYYY-MM-DD")
    dry_run: bool = Field(default=True, description="Show the plan and launch nothing")
    chunk_days: int = Field(default=7, ge=1, description="Days a run takes, at most the service's own chunk")
    reprocess: Reprocess = Field(default=Reprocess.MISSING, description="missing, failed, incomplete or all")
    max_days: int = Field(default=30, ge=1, description="Refuse longer ranges")
    accept_loss: bool = Field(
        default=False, description="Let days go that the upstream has fewer rows of than the lake"
    )


def build_managed_backfill(settings: Settings, definitions: Callable[[], dg.Definitions]) -> dg.JobDefinition:
    """The job `managed_backfill`."""

    @dg.op(description="Plans a backfill, and launches it unless dry_run says otherwise.")
    def plan_and_launch(context: dg.OpExecutionContext, config: BackfillRequest, tenants: TenantsResource) -> None:
        desk = Desk(context.instance, definitions(), settings)
        try:
            plan = _plan(desk, config, tenants)
            labels = {ACCEPT_LOSS_TAG: "true"} if config.accept_loss else {}
            backfill_id = None if config.dry_run else start(desk, plan, labels=labels)
        except WeatherError as error:
            audit(
                desk.store, "form", parameters=config.model_dump(), dry_run=config.dry_run, outcome=f"refused: {error}"
            )
            raise dg.Failure(str(error), allow_retries=False) from error
        if config.dry_run:
            audit(desk.store, "plan", parameters=plan.summary(), dry_run=True, outcome="planned")
        metadata: dict[str, dg.MetadataValue] = {"plan": dg.MetadataValue.md(plan_markdown(plan))}
        if backfill_id:
            metadata["backfill"] = dg.MetadataValue.url(f"/runs/b/{native_id(backfill_id)}")
        context.log_event(dg.AssetObservation(dg.AssetKey([plan.service, "backfills"]), metadata=metadata))
        context.add_output_metadata(metadata)

    @dg.job(name="managed_backfill", description="Plan a backfill, and launch it as a native one.")
    def managed_backfill() -> None:
        plan_and_launch()

    return managed_backfill


def _plan(desk: Desk, config: BackfillRequest, tenants: TenantsResource) -> Plan:
    begin, end = parse_day(config.start_date, "start_date"), parse_day(config.end_date, "end_date")
    validate_range(begin, end, config.max_days)
    return build_plan(
        desk.instance, desk.settings, tenants.registry.get(config.tenant), config.service, begin, end,
        reprocess=config.reprocess, order=Order.NEWEST, chunk_days=config.chunk_days,
    )  # fmt: skip


def parse_day(text: str, name: str) -> date:
    """A UTC day from YYYY-MM-DD; raises `ConfigurationError` naming the field."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{name} {text[:40]!r} is no date: expected YYYY-MM-DD, for example 2024-01-31."
        ) from error


def plan_markdown(plan: Plan) -> str:
    """The plan's figures as a Markdown table."""
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in plan.summary().items())
    return f"| | |\n|---|---|\n{rows}"
