"""The job `managed_backfill`, a form in Dagster's launchpad: shows the plan of a backfill, or launches it."""

from collections.abc import Callable, Sequence
from datetime import date
from enum import StrEnum
from typing import Any

import dagster as dg
from pydantic import Field

from weather_backfill.backfill.audit import audit
from weather_backfill.backfill.commands import start, validate_range
from weather_backfill.backfill.context import BackfillContext, is_foreign
from weather_backfill.backfill.plan import BackfillPlan, Order, Reprocess, build_plan
from weather_backfill.backfill.status import natives_of
from weather_backfill.dagster.resources import TenantsResource
from weather_backfill.model.errors import ConfigurationError, ForeignLakeError, WeatherError
from weather_backfill.settings import Settings
from weather_backfill.sources.registry import any_of

# Dagster's forms offer the names of an enum's members, not their values: here the names are the values of the CLI.
_Words = StrEnum("Reprocess", [word.value for word in Reprocess])  # type: ignore[misc]


class BackfillRequest(dg.Config):
    """The days to backfill of one tenant's service: UTC days, YYYY-MM-DD, first and last included."""

    service: str = Field(description=any_of())
    tenant: str = Field(description="Tenant id")
    start_date: str = Field(description="First UTC day, YYYY-MM-DD")
    end_date: str = Field(description="Last UTC day, YYYY-MM-DD")
    dry_run: bool = Field(default=True, description="Show the plan and launch nothing")
    chunk_days: int = Field(default=7, ge=1, description="Days of one run, at most the service's own chunk")
    reprocess: _Words = Field(default=_Words("missing"), description="missing, failed, incomplete or all")
    max_days: int = Field(default=30, ge=1, description="Refuse longer ranges")
    accept_loss: bool = Field(
        default=False, description="Overwrite a day even if the upstream now has fewer rows than the lake"
    )


def build_managed_backfill(settings: Settings, definitions: Callable[[], dg.Definitions]) -> dg.JobDefinition:
    """The job `managed_backfill`; `definitions` returns the asset graph when a run needs it."""

    @dg.op(description="Plan a backfill, and launch it unless dry_run is set")
    def plan_and_launch(context: dg.OpExecutionContext, config: BackfillRequest, tenants: TenantsResource) -> None:
        backfill_context = BackfillContext(context.instance, definitions(), settings)
        try:
            plan = _plan(backfill_context, config, tenants)
            backfill_id = None if config.dry_run else start(backfill_context, plan, accept_loss=config.accept_loss)
        except ForeignLakeError as error:  # another installation's lake has no audit of this one
            raise dg.Failure(str(error), allow_retries=False) from error
        except WeatherError as error:
            audit(
                backfill_context.store,
                "form",
                parameters=config.model_dump(),
                dry_run=config.dry_run,
                outcome=f"refused: {error}",
            )
            raise dg.Failure(str(error), allow_retries=False) from error
        if config.dry_run and not is_foreign(backfill_context):
            audit(backfill_context.store, "plan", parameters=plan.summary(), dry_run=True, outcome="planned")
        natives = natives_of(context.instance, backfill_id) if backfill_id else []
        message = outcome(plan, backfill_id, len(natives))
        context.log.info(message)
        metadata: dict[str, dg.MetadataValue] = {
            "plan": dg.MetadataValue.md(f"**{message}**\n\n{plan_markdown(plan)}"),
            **links([native.backfill_id for native in natives]),
        }
        context.log_event(dg.AssetObservation(dg.AssetKey([plan.service, "backfills"]), metadata=metadata))
        context.add_output_metadata(metadata)

    @dg.job(name="managed_backfill", description="Plan a backfill, and launch it as one of Dagster's own")
    def managed_backfill() -> None:
        plan_and_launch()

    return managed_backfill


def _plan(backfill_context: BackfillContext, config: BackfillRequest, tenants: TenantsResource) -> BackfillPlan:
    begin, end = parse_day(config.start_date, "start_date"), parse_day(config.end_date, "end_date")
    validate_range(begin, end, config.max_days)
    return build_plan(
        backfill_context.instance, backfill_context.settings,
        tenants.registry.get(config.tenant), config.service, begin, end,
        reprocess=Reprocess(config.reprocess.value), order=Order.NEWEST, chunk_days=config.chunk_days,
    )  # fmt: skip


def parse_day(text: str, name: str) -> date:
    """A UTC day from YYYY-MM-DD; raises `ConfigurationError` naming the field."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{name} {text[:40]!r} is no date: expected YYYY-MM-DD, for example 2024-01-31."
        ) from error


def outcome(plan: BackfillPlan, backfill_id: str | None, launched: int = 0) -> str:
    """The result of a request in a sentence or two; `launched` is its number of native backfills so far."""
    days = f"{len(plan.days)} of {len(plan.reasons)} days in {len(plan.chunks)} chunks"
    if backfill_id is None:
        return f"Dry run, nothing was launched: {days} would be. Set dry_run to false to launch them."
    if not launched:
        return f"{backfill_id} waits until fewer backfills are active: {days}."
    return f"Launched {backfill_id}: {days}."


def links(native_ids: Sequence[str]) -> dict[str, dg.MetadataValue]:
    """Links to the pages of the native backfills, as metadata: a managed backfill can consist of several."""
    pages = [dg.MetadataValue.url(f"/runs/b/{native_id}") for native_id in native_ids]
    return {"backfill" if n == 1 else f"backfill {n}": page for n, page in enumerate(pages, 1)}


def plan_markdown(plan: BackfillPlan) -> str:
    """The plan's figures as a Markdown table."""
    rows = "\n".join(f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in plan.summary().items())
    return f"| | |\n|---|---|\n{rows}"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
