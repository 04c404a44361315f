"""Fails runs at once that waited outside Dagster for a host and whose place in that queue is lost, to be retried.

Dagster's run monitoring asks a launcher about runs that have started only. A job that Ray (or ECS, or Kubernetes)
gave up before its run began would stay `STARTING` until `start_timeout_seconds`, which is long wherever
runs may wait for a free host. A Ray node that dies takes with it all jobs that it had in its queue.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of sensors.

import dagster as dg

from weather_backfill.dagster.private import WorkerStatus


def fail_lost_starts(instance: dg.DagsterInstance) -> list[str]:
    """Fail the `STARTING` runs whose worker the launcher reports as failed; returns a line for each.

    Dagster then retries them by `run_retries`. A launcher that cannot be asked adds a line, too, and fails nothing.
    """
    launcher = instance.run_launcher
    # A process of this machine waits in no queue: the default launcher's start time-out is short.
    if isinstance(launcher, dg.DefaultRunLauncher) or not launcher.supports_check_run_worker_health:
        return []
    notes = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
        try:
            health = launcher.check_run_worker_health(run)
        except Exception as error:  # whatever a launcher's client raises; the next tick asks again
            notes.append(f"run {run.run_id}: the launcher could not be asked ({type(error).__name__})")
            continue
        if health.status != WorkerStatus.FAILED:
            continue
        now = instance.get_run_by_id(run.run_id)
        if now and now.status == dg.DagsterRunStatus.STARTING:  # else it began, or ended, while we asked
            instance.report_run_failed(now, f"The run's worker was lost before the run began. {health.msg or ''}")
            notes.append(f"run {run.run_id}: its worker was lost before it began")
    return notes


def build_lost_starts() -> dg.SensorDefinition:
    """The sensor `lost_starts`. It runs also where `automation` is off, as it launches nothing of its own."""

    @dg.sensor(
        name="lost_starts",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails runs whose place in the queue of hosts was lost (a dead Ray node), so that they are retried",
    )
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        notes = fail_lost_starts(context.instance)
        for note in notes:
            context.log.info(note)
        return dg.SkipReason("; ".join(notes)[:2000] or "nothing to do")

    return evaluate
