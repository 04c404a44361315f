"""The daily loads and the nightly gap filler, for every onboarded connection. Keeps no state but its looks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from weather_backfill.backfill.commands import KIND_TAG, start
from weather_backfill.backfill.connection_plans import plan_of
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.desired_state import WantedConnection, connections, where
from weather_backfill.backfill.file_looks import FileLooks
from weather_backfill.backfill.footer_cache import remembered_refined
from weather_backfill.backfill.manifests import load_manifest
from weather_backfill.backfill.onboardings import last_of_window, onboarding_id
from weather_backfill.backfill.plan import BackfillPlan, Order, Reprocess
from weather_backfill.backfill.polling import PollOutcome, Polls
from weather_backfill.backfill.short_days import ShortDays
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.partitions import days_between


def load_daily(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """Load yesterday and the late days before it (UTC) for every onboarded connection; returns notes for the tick.

    Days of an active backfill are left to it: nothing is loaded twice, and no day is left out.
    """
    late = timedelta(days=context.settings.late_days)

    def plan(wanted: WantedConnection) -> BackfillPlan:
        # However short its look-back, data of the days before may come late, but none from before `first_day`.
        end = today - timedelta(days=1)
        begin = max(end - late, wanted.connection.first_day or date.min, context.settings.first_day_of(wanted.service))
        return plan_of(context, wanted, begin, end, reprocess=Reprocess.ALL, order=Order.OLDEST)

    return _once_a_day(context, today, now, "daily", plan, PollOutcome.NOTHING)  # yesterday's data may be late


def fill_gaps(context: BackfillContext, today: date, now: datetime | None = None) -> list[str]:
    """Load the days that the lake lacks of every onboarded connection; returns notes for the tick.

    Incomplete days are looked at again after 1, 2, 4 and at most 30 days, or when what is listed of them has changed
    (`short_days.py`); only what they lack is read. Days that a person has paused or cancelled stay as they are. A
    connection that lacks nothing is not polled again that night.
    """

    def plan(wanted: WantedConnection) -> BackfillPlan:
        begin, end = wanted.window(today, context.settings.first_day_of(wanted.service))
        first = _first_lacking(context, wanted, begin)
        found = plan_of(context, wanted, first, end, reprocess=Reprocess.INCOMPLETE)
        return ShortDays(context.store, wanted.name).due(found, today)

    def launched(wanted: WantedConnection, plan: BackfillPlan) -> None:
        ShortDays(context.store, wanted.name).looked(plan, today)

    return _once_a_day(context, today, now, "gaps", plan, PollOutcome.DONE, launched)


def _first_lacking(context: BackfillContext, wanted: WantedConnection, begin: date) -> date:
    """The first missing day before `begin`, back to where the look-back began at the onboarding; else `begin`.

    The look-back moves on by a day each day: a day that failed, or for which nothing ran, would drop out unnoticed.
    """
    onboarding = last_of_window(context, wanted)
    if onboarding is None:
        return begin
    onboarded = onboarding.plan.end + timedelta(days=1)
    since, _ = wanted.window(onboarded, context.settings.first_day_of(wanted.service))
    if since >= begin:
        return begin
    refined = day_objects(context.store, layout.REFINED_15M, wanted.service, wanted.tenant.id)
    earlier = days_between(since, begin)
    made = remembered_refined(context.store, {day: refined[day] for day in earlier if day in refined})
    return next((day for day in earlier if day not in made or made[day].problem), begin)


def _once_a_day(
    context: BackfillContext,
    today: date,
    now: datetime | None,
    kind: str,
    plan_of: Callable[[WantedConnection], BackfillPlan],
    nothing: PollOutcome,
    launched: Callable[[WantedConnection, BackfillPlan], None] = lambda wanted, plan: None,
) -> list[str]:
    context.claim()
    notes: list[str] = []
    now = now or datetime.now(UTC)

    def name_of(wanted: WantedConnection) -> str:
        return f"{kind}-{wanted.name}-{today - timedelta(days=1)}"

    def is_open(wanted: WantedConnection) -> bool:
        onboarded = load_manifest(context.store, onboarding_id(wanted.name)) is not None
        return onboarded and load_manifest(context.store, name_of(wanted)) is None

    def poll(wanted: WantedConnection) -> tuple[PollOutcome, str | None]:
        plan = plan_of(wanted)
        if not plan.days:
            return nothing, None
        # Outside of the connection's hours only the manifest is written: `new_connections` launches it later.
        launch = wanted.may_launch(datetime.now(UTC))
        start(context, plan, backfill_id=name_of(wanted), labels={KIND_TAG: kind}, launch=launch)
        launched(wanted, plan)
        return PollOutcome.FOUND, f"{name_of(wanted)}: {len(plan.days)} days"

    polls = Polls(context.store, kind, now, str(today))
    files = connections(context, notes, looks=FileLooks(context.store, kind))
    polls.each(where(polls.due(files), is_open, notes), poll, notes)
    return notes
