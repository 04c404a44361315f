"""The real dagster-daemon with a quicker tick, so that a test does not spend its time waiting for it.

Dagster hard-codes the backfill daemon's 30 seconds and the scheduler's minute; everything else here is Dagster's own
`dagster-daemon run`.
"""

from __future__ import annotations

import dagster._daemon.controller as controller
import dagster._scheduler.scheduler as scheduler
from dagster._daemon.cli import main

TICK_SECONDS = 5

if __name__ == "__main__":
    assert controller.DEFAULT_DAEMON_INTERVAL_SECONDS == 30, "Dagster has moved its tick: follow it here"
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = TICK_SECONDS
    assert scheduler._get_next_scheduler_iteration_time(61) == 120, "Dagster has moved its minute: follow it here"
    scheduler._get_next_scheduler_iteration_time = lambda start: start + TICK_SECONDS
    main()
