"""Days of operation on an accelerated clock: real daemon, real code server, real S3 server.

    python -m weather_backfill_tests.soak [--days 24] [--minutes 55] [--to .soak] [--folder DIR]

Each simulated day the upstreams get a day, the clock jumps to the morning, and nothing is touched until all
that should follow has followed; where the platform only waits for a sensor's next look, the clock jumps five minutes
at a time. Then it jumps to the hour of the housekeeping, and a sample is taken. Exits with 1 if anything of what
`verify.py` and `samples.py` promise is not so.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from weather_backfill.backfill.manifests import load_manifest
from weather_backfill.backfill.status import active_backfills
from weather_backfill.dagster.restatement_sensor import job_of
from weather_backfill.dagster.schedules import HOUSEKEEPING
from weather_backfill.lake import layout
from weather_backfill_tests.conftest import CREDENTIALS
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.servers import until
from weather_backfill_tests.soak import report, samples, verify
from weather_backfill_tests.soak.clock import Clock, Running, daemon_and_code_server, lake_server
from weather_backfill_tests.soak.world import LONG, SHORT, World
from weather_backfill_tests.sources.dwd.server import serve

DAY_SECONDS = 1200
"""A simulated day that takes longer is stuck; on two free cores it takes less than one."""
LOADS_HOUR, HOUSEKEEPING_HOUR = 4, 5
LATER = timedelta(minutes=10)
"""Each morning is so much later, for what looks once in 24 hours looks a little later each day."""
SENSOR = job_of("dwd")
IDLE_LOOKS, IDLE_JUMP = 3, 300
"""After so many looks, two seconds apart, at which nothing was at work, so many seconds are left out."""
KEEP_DAYS = 7  # so that weeks see what is old go


class Soak:
    """The platform, its world and its clock, going from day to day."""

    def __init__(self, platform: Platform, world: World, clock: Clock, instance: dg.DagsterInstance) -> None:
        self.platform, self.world, self.clock, self.instance = platform, world, clock, instance
        self.waiting: list[str] = []

    def begin(self) -> None:
        """Until the tenants of the start are onboarded."""
        self._wait(lambda: self._unloaded())

    def pass_day(self, number: int, running: Running) -> samples.Sample:
        """Day `number` until nothing is left to do; its sample."""
        begun = time.monotonic()
        self.world.pass_day(number)
        morning = self.world.morning(number, LOADS_HOUR) + number * LATER
        self.clock.set(morning)
        if number == 1:  # it looks once in 24 hours from its first look on: in the mornings
            self.platform.run("dagster", "sensor", "start", SENSOR, "-w", str(self.platform.folder / "workspace.yaml"))
        self._wait(lambda: self._unlooked(morning) + self._unloaded(number) + self._uncompared(number, morning))
        night = self.world.morning(number, HOUSEKEEPING_HOUR) + timedelta(minutes=35)
        self.clock.set(night)
        self._wait(lambda: self._uncleaned(number))
        home = Path(self.platform.environment["DAGSTER_HOME"])
        objects = len(self.platform.lake.list(""))
        return samples.take(
            running, self.instance, home, objects, number, time.monotonic() - begun, morning.timestamp()
        )

    def _wait(self, condition: Callable[[], list[str]]) -> None:
        """Until nothing is awaited any more; `condition` says what is."""
        idle = 0

        def done() -> bool:
            nonlocal idle
            self.waiting = condition()
            idle = 0 if self._at_work() else idle + 1
            if self.waiting and idle >= IDLE_LOOKS:
                self.clock.jump(IDLE_JUMP)
                idle = 1
            return not self.waiting

        try:
            until(done, DAY_SECONDS, 2)
        except AssertionError as error:
            raise SystemExit(f"stuck after {DAY_SECONDS} s, waiting for: {'; '.join(self.waiting)}") from error

    def _at_work(self) -> bool:
        unended = RunsFilter(statuses=NOT_FINISHED_STATUSES)
        return bool(active_backfills(self.instance) or self.instance.get_runs(unended, limit=1))

    def _unloaded(self, number: int = 0) -> list[str]:
        """Daily loads that were not written down, backfills that go on, days that are not there."""
        lake, world = self.platform.lake, self.world
        waits = []
        for tenant in sorted(world.living):
            name = f"daily-{tenant}-{world.service(tenant)}-{world.yesterday(number)}"
            if world.came[tenant] < number and load_manifest(lake, name) is None:
                waits.append(f"{name} is not written down")
            lacking = world.expected(tenant) - self.platform.dates(layout.REFINED_15M, tenant, world.service(tenant))
            waits += [f"{tenant} lacks {day}" for day in sorted(lacking)]
        waits += [f"{native.backfill_id} is active" for native in active_backfills(self.instance)]
        waits += [f"{o.key} is open" for o in lake.list(layout.OPEN) if not o.key.endswith("/.marked")]
        return waits

    def _unlooked(self, morning: datetime) -> list[str]:
        """Sensors that have not looked since the morning."""
        looked = {
            state.instigator_name
            for state in self.instance.all_instigator_state()
            for tick in self.instance.get_ticks(
                state.instigator_origin_id, state.selector_id, after=morning.timestamp(), limit=1
            )
            if tick.end_timestamp
        }
        return [
            f"{name} has not looked" for name in ("new_connections", "daily_loads", "gap_filler") if name not in looked
        ]

    def _uncompared(self, number: int, morning: datetime) -> list[str]:
        """The look for restatements, where there is a tenant of DWD."""
        if "fritz" not in self.world.living:
            return []
        wanted = RunsFilter(job_name=SENSOR, created_after=morning)
        return self._unended(wanted, "the comparison with DWD")

    def _uncleaned(self, number: int) -> list[str]:
        """The housekeeping of the day."""
        return self._unended(
            RunsFilter(job_name=HOUSEKEEPING, created_after=self.world.morning(number, HOUSEKEEPING_HOUR)), HOUSEKEEPING
        ) + self._unloaded(number)

    def _unended(self, wanted: RunsFilter, what: str) -> list[str]:
        runs = self.instance.get_runs(wanted)
        if any(run.status == DagsterRunStatus.FAILURE for run in runs):
            raise SystemExit(f"{what} has failed: {[run.run_id for run in runs]}")
        return [] if any(run.status == DagsterRunStatus.SUCCESS for run in runs) else [f"{what} has not ended"]


def run(days: int, minutes: float, folder: Path, to: Path) -> list[str]:
    """Everything; what is wrong. No day begins once `minutes` have passed."""
    begun = time.monotonic()
    script = LONG if days > max(SHORT) else SHORT
    clock = Clock(folder / "clock")
    clock.jump(0)
    with ExitStack() as stack:
        endpoint = stack.enter_context(lake_server(folder, clock))
        (folder / "upstream" / "dwd").mkdir(parents=True)
        mirror = stack.enter_context(serve(folder / "upstream" / "dwd", dated=True))
        environment = {
            **CREDENTIALS, **clock.environment, "WEATHER_S3_ENDPOINT_URL": endpoint, "WEATHER_AUTOMATION": "true",
            "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "300",  # a busy machine is no fault of a tick
            "WEATHER_KEEP_VERSIONS_DAYS": str(KEEP_DAYS), "WEATHER_KEEP_RECORDS_DAYS": str(KEEP_DAYS),
        }  # fmt: skip
        platform = Platform(folder, "s3://soak/lake", environment)
        platform.environment |= clock.environment
        config = Path(platform.environment["DAGSTER_HOME"]) / "dagster.yaml"
        patient = config.read_text().replace("start_timeout_seconds: 180", "start_timeout_seconds: 600")
        config.write_text(patient)  # as the sensors' time above
        world = World(folder / "upstream", folder / "tenants", datetime.now(UTC).date(), script, mirror.url)
        world.begin()
        with platform.instance as instance:
            soak, taken = Soak(platform, world, clock, instance), list[samples.Sample]()
            with daemon_and_code_server(platform) as running:
                soak.begin()
                for number in range(1, days + 1):
                    if time.monotonic() - begun > 60 * minutes:
                        print(f"time is up after {number - 1} of {days} days", flush=True)
                        break
                    taken.append(soak.pass_day(number, running))
                    print(f"{taken[-1]} {', '.join(world.happened[number])}", flush=True)
            return _judge(soak, taken, to, begun)


def _judge(soak: Soak, taken: list[samples.Sample], to: Path, begun: float) -> list[str]:
    platform, world, instance = soak.platform, soak.world, soak.instance
    warm = max(2, len(taken) // 4)
    growth = samples.slopes(taken, warm)
    compared, different = verify.fresh_load(platform, world, platform.folder / "fresh")
    launches, lacking = verify.audit(platform, instance)
    wrong = [*verify.gaps(platform, world), *(f"differs from a fresh load: {key}" for key in different), *lacking]
    wrong += [f"left over: {what}" for what in verify.leftovers(platform, instance, world)]
    if len(taken) >= 10:  # fewer days say nothing about growth
        wrong += samples.leaks(growth)
    text = report.table(taken, growth, world.happened)
    seconds = round(time.monotonic() - begun)
    found = {"files_compared": compared, "launches": launches, "wrong": wrong, "seconds": seconds, "warm": warm}
    report.write(to, taken, growth, found, text)
    print(text)
    print(f"{compared} files compared with a fresh load, {launches} launches, {seconds} s, {len(wrong)} wrong")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=max(LONG) + 1, choices=range(1, 31), metavar="1..30")
    parser.add_argument("--minutes", type=float, default=55, help="begin no day after so many")
    parser.add_argument("--to", type=Path, default=Path(".soak"), help="where table, plot and figures go")
    parser.add_argument("--folder", type=Path, help="where the platform lives; kept (default: a folder that goes)")
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("WEATHER_", "AWS_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ |= CREDENTIALS
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        wrong = run(given.days, given.minutes, folder.resolve(), given.to)
    for what in wrong:
        print(f"wrong: {what}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
