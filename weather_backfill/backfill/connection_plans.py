"""Plans of a connection as automation makes them: with short deadlines, without days that are taken or held."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.desired_state import WantedConnection
from weather_backfill.backfill.plan import BackfillPlan, Reason, build_plan
from weather_backfill.backfill.taken_days import busy_days, held_back
from weather_backfill.tenants.access import open_source


def plan_of(context: BackfillContext, wanted: WantedConnection, begin: date, end: date, **how: Any) -> BackfillPlan:
    """Plan a range with short upstream deadlines, without days that are taken or held."""
    settings = context.settings
    source = partial(
        open_source, wanted.tenant, wanted.service, context.store, settings.s3, settings, hurry=True
    )  # fmt: skip
    plan = build_plan(
        context.instance, settings, wanted.tenant, wanted.service, begin, end, opened=source, **how
    )  # fmt: skip
    return _free_days(context, wanted, plan)


def _free_days(context: BackfillContext, wanted: WantedConnection, plan: BackfillPlan) -> BackfillPlan:
    """The plan without days that active backfills have taken, and without unfinished days that a person holds."""
    busy, held = _busy(context, wanted), held_back(context, wanted.service, wanted.tenant.id)
    deferred = {day for day in held if plan.reasons.get(day) not in (Reason.DONE, Reason.OUTDATED, Reason.INCOMPLETE)}
    return replace(plan, reasons={day: why for day, why in plan.reasons.items() if day not in busy | deferred})


def _busy(context: BackfillContext, wanted: WantedConnection) -> set[date]:
    """The days that active backfills of the connection have taken."""
    return set().union(*busy_days(context, wanted.service, wanted.tenant.id).values())
