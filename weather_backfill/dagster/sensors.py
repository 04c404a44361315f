"""Sensors: onboarding, daily loads, gaps, alerts. Each tick reconciles the desired state with the actual one.

They are sensors and not declarative conditions on the assets, because they decide on facts that no condition can see.
A condition knows Dagster's records of an asset's partitions. But the days that should exist follow from the tenant
files; the days that are missing, from the lake's objects (a restored lake, or a day that was deleted, has the same
records as before) and from the upstream's listing; the days that may be loaded, from the backfills that people have
paused and cancelled. And a condition launches runs by partition, where we launch few, large, named backfills that
share one cap between tenants. Refined follows raw without a condition: a backfill holds both assets of its days, and
Dagster starts refined for each day whose raw succeeded. A day without refined (its step failed, or somebody ran raw
alone on a new day) counts as missing, and the gap filler launches it.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime

import dagster as dg

from weather_backfill.alerts.reconcile import reconcile_alerts
from weather_backfill.backfill.audit import asking_as
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import fill_gaps, load_daily
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.settings import Settings

Reconcile = Callable[[BackfillContext, date], list[str]]


def build_sensors(settings: Settings, definitions: Callable[[], dg.Definitions]) -> list[dg.SensorDefinition]:
    """The platform's sensors; `definitions` returns the asset graph when a tick needs it."""
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
            "Compares the days in the lake with those expected and launches the missing ones, once a night.",
        ),
        _reconciler(
            "alerts", lambda context, _: reconcile_alerts(context), settings, definitions, settings.alert_seconds, 0,
            "Sends each incident and its end once: failed chunks, long or incomplete backfills, open circuit breakers, "
            "broken tenant files.",
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
