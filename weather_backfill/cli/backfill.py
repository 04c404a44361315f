"""The operator's commands of `weather-backfill`: plan, start, status, cancel, pause, resume, retry, gaps, log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weather_backfill.cli.output import Day, Json, desk, err, friendly, out, print_rows
from weather_backfill.cli.status import print_status, status
from weather_backfill.model.errors import ConfigurationError, ForeignLakeError, UnreadableObjectError, WeatherError
from weather_backfill.sources.registry import any_of

if TYPE_CHECKING:
    from weather_backfill.backfill.context import BackfillContext
    from weather_backfill.backfill.plan import BackfillPlan

Tenant = Annotated[str | None, typer.Option(help="Tenant id")]
Service = Annotated[str | None, typer.Option(help=any_of())]
MaybeDay = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC day, YYYY-MM-DD")]
ReprocessOption = Annotated[str, typer.Option("--reprocess", help="missing, failed, incomplete or all")]
OrderOption = Annotated[str, typer.Option("--order", help="newest or oldest first")]
ChunkDays = Annotated[int | None, typer.Option(min=1, help="Days a run takes, at most the service's own chunk")]
MaxDays = Annotated[int | None, typer.Option(min=1, help="Refuse longer ranges (default 30, WEATHER_MAX_DAYS)")]
Id = Annotated[str, typer.Argument(help="Backfill id, as `status` lists it")]


_LISTED = 50


@contextmanager
def _audited(at: BackfillContext, action: str, parameters: Mapping[str, Any], **facts: Any) -> Iterator[None]:
    """Write a request that is refused into the audit, with what was asked; what is accepted has its own event."""
    from weather_backfill.backfill.audit import audit

    try:
        yield
    except ForeignLakeError:  # another installation's lake has no audit of this one
        raise
    except WeatherError as error:
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        audit(at.store, action, **{"dry_run": False, **facts}, parameters=given, outcome=f"refused: {error}")
        raise


def _make_plan(
    at: BackfillContext, tenant: str | None, service: str | None, start: datetime | None, end: datetime | None,
    reprocess: str, order: str, chunk_days: int | None, max_days: int | None,
) -> BackfillPlan:  # fmt: skip
    from weather_backfill.backfill.commands import validate_range
    from weather_backfill.backfill.plan import Order, Reprocess, build_plan
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.files import TenantRegistry

    if not (tenant and service and start and end):
        raise ConfigurationError("--tenant, --service, --start and --end are needed (or --plan with a plan's file).")
    try:
        which, first = Reprocess(reprocess), Order(order)
    except ValueError as error:
        raise ConfigurationError(
            f"{error}: --reprocess takes {', '.join(Reprocess)}; --order takes {', '.join(Order)}."
        ) from error
    validate_range(start.date(), end.date(), max_days or at.settings.max_days)
    found = TenantRegistry(open_tenant_files(at.settings)).get(tenant)
    return build_plan(
        at.instance, at.settings, found, service, start.date(), end.date(),
        reprocess=which, order=first, chunk_days=chunk_days,
    )  # fmt: skip


def _show_plan(plan: BackfillPlan, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(plan.to_json(), indent=2) + "\n")
        return
    figures = {name: f"{value:,}" if isinstance(value, int) else value for name, value in plan.summary().items()}
    print_rows([{"what": name.replace("_", " "), "plan": value} for name, value in figures.items()], "Plan", False)
    if plan.covered:
        short = {day: f"values cover {share:.0%} of the day" for day, share in plan.covered.items()} | dict(
            plan.lacking
        )
        lines = [{"day": str(day), "reason": plan.reasons[day], "lacks": what} for day, what in sorted(short.items())]
        print_rows(lines[:_LISTED], f"Incomplete days: {len(lines)}", False)
    if plan.unusable:
        rows = [{"day": str(day), "why": why} for day, why in sorted(plan.unusable.items())]
        print_rows(rows, "Refined files that count as missing", False)


@friendly
def plan(
    tenant: Tenant = None, service: Service = None, start: MaybeDay = None, end: MaybeDay = None,
    reprocess: ReprocessOption = "missing", order: OrderOption = "newest", chunk_days: ChunkDays = None,
    max_days: MaxDays = None,
    to: Annotated[Path | None, typer.Option("--out", help="Write the plan to a file for `start --plan`")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show what a backfill would do; launches nothing.

    Example: weather-backfill plan --tenant acme --service tempest --start 2024-01-01 --end 2024-01-30
    """
    from weather_backfill.backfill.audit import audit
    from weather_backfill.backfill.context import is_foreign

    at = desk()
    asked = {"tenant": tenant, "service": service, "start_date": start, "end_date": end, "reprocess": reprocess}
    with _audited(at, "plan", asked, dry_run=True):
        made = _make_plan(at, tenant, service, start, end, reprocess, order, chunk_days, max_days)
    if not is_foreign(at):
        audit(at.store, "plan", dry_run=True, parameters=made.summary(), outcome="planned")
    if to:
        to.write_text(json.dumps(made.to_json(), indent=2))
    _show_plan(made, as_json)


@friendly
def start(
    tenant: Tenant = None, service: Service = None, start: MaybeDay = None, end: MaybeDay = None,
    reprocess: ReprocessOption = "missing", order: OrderOption = "newest", chunk_days: ChunkDays = None,
    max_days: MaxDays = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="A plan that `plan --out` wrote")] = None,
    force_restart: Annotated[
        bool, typer.Option(help="Cancel an active backfill over the same days first, with all its other days")
    ] = False,
    accept_loss: Annotated[bool, typer.Option(help="Replace days that the upstream has fewer rows of")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Launch a native backfill: shows the plan, asks, launches.

    Example: weather-backfill start --tenant acme --service tempest --start 2024-01-01 --end 2024-01-30 --yes
    """
    from weather_backfill.backfill import commands
    from weather_backfill.backfill.taken_days import given_up

    at = desk()
    asked = {"tenant": tenant, "service": service, "start_date": start, "end_date": end, "reprocess": reprocess,
             "plan": plan_file, "force_restart": force_restart, "accept_loss": accept_loss}  # fmt: skip
    with _audited(at, "start", asked):
        made = (
            _replan(at, plan_file, max_days)
            if plan_file
            else _make_plan(at, tenant, service, start, end, reprocess, order, chunk_days, max_days)
        )
        cancels = given_up(at, made) if force_restart else {}
        if not as_json:
            _show_plan(made, False)
        for other, days in cancels.items():
            err.print(_cancelled(other, days), highlight=False, soft_wrap=True)
        if not yes:
            _confirm(made)
        name = commands.start(at, made, force_restart=force_restart, accept_loss=accept_loss)
    if as_json:
        sys.stdout.write(json.dumps({"backfill_id": name, **made.summary(), "cancels": cancels}) + "\n")
    else:
        out.print(f"Launched [bold]{name}[/bold]. Watch it: weather-backfill status {name} --watch")


def _confirm(plan: BackfillPlan) -> None:
    """Ask on the terminal; raises `ConfigurationError` unless the answer is yes."""
    if not sys.stdin.isatty():
        raise ConfigurationError("nothing was launched: without a terminal to ask on, say --yes.")
    if not typer.confirm(f"Launch {len(plan.days)} days?"):
        raise ConfigurationError("nothing was launched.")


def _cancelled(name: str, days: int) -> str:
    if not days:
        return f"cancels {name}"
    return (
        f"cancels {name}: {days} other days of it are left, which nothing takes by itself. When this one has ended: "
        f"weather-backfill resume {name}"
    )


def _replan(at: BackfillContext, file: Path, max_days: int | None) -> BackfillPlan:
    """The plan of a file, if the lake is still as it was then; otherwise the new plan is shown and refused."""
    from weather_backfill.backfill.plan import BackfillPlan

    try:
        old = BackfillPlan.from_json_text(file.read_text(errors="replace"))
    except (OSError, UnreadableObjectError) as error:
        raise ConfigurationError(f"cannot read the plan {file}: {error}") from error
    midnight = datetime.min.time()
    new = _make_plan(
        at, old.tenant, old.service, datetime.combine(old.start, midnight), datetime.combine(old.end, midnight),
        str(old.reprocess), str(old.order), old.chunk_days, max_days,
    )  # fmt: skip
    if new.fingerprint != old.fingerprint:
        _show_plan(new, False)
        raise ConfigurationError(
            f"the plan {file} no longer fits the lake: above is what it would be now. Write it anew with --out."
        )
    return new


@friendly
def cancel(backfill_id: Id, as_json: Json = False) -> None:
    """Cancel: the day in hand is finished or dropped whole, finished days stay.

    Example: weather-backfill cancel tempest-acme-20240101-20240130-1
    """
    _verb("cancel", backfill_id, as_json)


@friendly
def pause(backfill_id: Id, as_json: Json = False) -> None:
    """Stop for now; `resume` goes on where it stopped.

    Example: weather-backfill pause tempest-acme-20240101-20240130-1
    """
    _verb("pause", backfill_id, as_json)


@friendly
def resume(backfill_id: Id, as_json: Json = False) -> None:
    """Go on with the days that are not done.

    Example: weather-backfill resume tempest-acme-20240101-20240130-1
    """
    _verb("resume", backfill_id, as_json)


@friendly
def retry(backfill_id: Id, as_json: Json = False) -> None:
    """Launch the failed days again, raw and refined.

    Example: weather-backfill retry tempest-acme-20240101-20240130-1
    """
    _verb("retry", backfill_id, as_json)


def _verb(name: str, backfill_id: str, as_json: bool) -> None:
    from weather_backfill.backfill import commands

    at = desk()
    with _audited(at, name, {}, backfill_id=backfill_id):
        found = getattr(commands, name)(at, backfill_id)
    print_status(found.to_json(), as_json)


@friendly
def gaps(
    tenant: Annotated[str, typer.Option(help="Tenant id")],
    service: Annotated[str, typer.Option(help=any_of())],
    start: Day,
    end: Day,
    as_json: Json = False,
) -> None:
    """List the days the lake lacks, or holds in part, with what is short; exits with 1 unless all are accepted.

    Example: weather-backfill gaps --tenant acme --service tempest --start 2024-01-01 --end 2024-01-30
    """
    from weather_backfill.backfill.plan import Reason, Reprocess, build_plan
    from weather_backfill.storage.places import open_tenant_files
    from weather_backfill.tenants.files import TenantRegistry

    at = desk()
    found = TenantRegistry(open_tenant_files(at.settings)).get(tenant)
    made = build_plan(
        at.instance, at.settings, found, service, start.date(), end.date(), reprocess=Reprocess.INCOMPLETE
    )
    taken = {day for day in made.days if made.reasons[day] is not Reason.OUTDATED}  # those hold all there is
    accepted = {day for day, reason in made.reasons.items() if reason is Reason.ACCEPTED}
    why = {day: f"values cover {share:.0%} of the day" for day, share in made.covered.items()}
    why |= {**made.lacking, **made.unusable}  # unusable: refined files that count as missing
    rows = [{"day": str(day), "reason": str(made.reasons[day])} for day in sorted(taken | accepted)]
    if why:
        rows = [{**row, "why": why.get(day, "")} for day, row in zip(sorted(taken | accepted), rows, strict=True)]
    print_rows(rows, f"Gaps of {tenant} in {service}", as_json)
    if taken:
        raise typer.Exit(1)


@friendly
def log(limit: Annotated[int, typer.Option(min=1, help="Events to show")] = 50, as_json: Json = False) -> None:
    """Show the audit: who asked for what, when, with what outcome; newest first.

    Example: weather-backfill log --limit 10
    """
    from weather_backfill.backfill.audit import audit_events
    from weather_backfill.settings import load_settings
    from weather_backfill.storage.places import open_lake

    events = audit_events(open_lake(load_settings()), limit)
    if as_json:
        print_rows(events, "Audit", True)
        return
    columns = ("at", "action", "requested_by", "backfill_id", "dry_run", "outcome", "rows")
    print_rows([{name: event.get(name) for name in columns} for event in events], "Audit", False)


COMMANDS = (plan, start, status, cancel, pause, resume, retry, gaps, log)
