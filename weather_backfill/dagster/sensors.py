"""Sensors: onboarding, daily loads, gaps, alerts. Each tick reconciles what should be with what is.

Sensors, and not declarative conditions on the assets, for what these decide on lies where no condition can see it.
A condition knows Dagster's records of an asset's partitions. What should exist follows from the tenant files; which
days are lacking, from the lake's objects (a restored lake, or a day that was deleted, has the same records as
before) and from the upstream's listing; which days are free, from what people have paused and cancelled. And
a condition launches runs by partition, where we launch few, large, named backfills that share one cap between tenants.
Refined follows raw without one: a backfill holds both assets of its days, and Dagster starts refined of each
day whose raw succeeded. What lacks refined (its step failed, or somebody ran raw alone on a new day) counts as
missing, and the gap filler takes it.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime

import dagster as dg

from weather_backfill.alerts.reconcile import reconcile_alerts
from weather_backfill.backfill.audit import asking_as
from weather_backfill.backfill.commands import BackfillContext
from weather_backfill.backfill.reconciler import fill_gaps, load_daily, onboard
from weather_backfill.settings import Settings

Reconcile = Callable[[BackfillContext, date], list[str]]


def build_sensors(settings: Settings, definitions: Callable[[], dg.Definitions]) -> list[dg.SensorDefinition]:
    """The platform's sensors; `definitions` gives the asset graph when a tick needs it."""
    return [
        _reconciler(
            "new_connections", onboard, settings, definitions, settings.sensor_seconds, 0,
            "Launches the onboarding backfill of every connection that lacks one, newest days first, a few at a time.",
        ),
        _reconciler(
            "daily_loads", load_daily, settings, definitions, 300, settings.daily_hour,
            f"Loads yesterday, and the {settings.late_days} days before it again, for every onboarded connection.",
        ),
        _reconciler(
            "gap_filler", fill_gaps, settings, definitions, 600, settings.gaps_hour,
            "Compares what the lake holds with what should be there and launches the missing days, once a night.",
        ),
        _reconciler(
            "alerts", lambda desk, _: reconcile_alerts(desk), settings, definitions, settings.alert_seconds, 0,
            "Tells each incident and its end once: failed chunks, long or incomplete backfills, breakers, tenant files",
        ),
    ]  # fmt: skip


def _reconciler(
    name: str,
    reconcile: Reconcile,
    settings: Settings,
    definitions: Callable[[], dg.Definitions],
    seconds: int,
    from_hour: int,
    description: str,
) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED,
        description=description,
    )
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = datetime.now(UTC)
        if now.hour < from_hour:
            return dg.SkipReason(f"starts at {from_hour}:00 UTC")
        with asking_as(f"sensor {name}"):
            notes = reconcile(BackfillContext(context.instance, definitions(), settings), now.date())
        for note in notes:
            context.log.info(note)
        return dg.SkipReason("; ".join(notes)[:2000] or "nothing to do")

    return evaluate
