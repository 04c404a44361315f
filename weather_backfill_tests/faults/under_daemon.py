"""Faults that need a daemon: its own death, the code server's, the webserver's, a run's, a run that hangs, an order cut
short.

Here nobody runs anything again by hand: the process that died is started anew, and the rest is Dagster's retry and
our sensor's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import yaml

from weather_backfill.backfill.launch import launch_backfill
from weather_backfill.backfill.status import active_backfills
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill_tests.faults.cells import MIDWAY, Cell, Outcome
from weather_backfill_tests.faults.points import OVER, POINTS
from weather_backfill_tests.faults.scene import DAYS, TENANTS, Scene, Stage
from weather_backfill_tests.platform import graphql
from weather_backfill_tests.servers import until

TENANT = TENANTS[0]
UNDER_DAEMON = "daemon"
"""The store's name in the table: local, under a daemon."""
VICTIMS = ("kill run", "kill daemon", "kill code server", "kill webserver")
HANG = "hang run"
HANGS_AT = ("fetch", "write", "event")
PATIENCE = 60
"""Seconds a run may take where one hangs; `dagster.yaml` says a day."""
ORDER = ("exception", "time-out", "kill run", "disk full", "memory limit", "database locked", "database gone")
LAUNCH = """mutation L($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
    ... on LaunchBackfillSuccess { backfillId } } }"""
STATUS = "query S($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
ENOUGH = 420
"""Seconds in which a backfill of four days comes to its end, on a busy machine."""


def victims() -> list[Cell]:
    """Each process killed at each point, runs that hang: half as many calls as in a run of two tenants."""
    midway = {point: max(MIDWAY[point] // 2, 1) for point in POINTS}
    midway["check"] = len(DAYS) // 2  # raw and refined are runs of their own here
    killed = [(point, kind) for point in POINTS for kind in VICTIMS]
    hanging = [(point, HANG) for point in HANGS_AT]
    return [Cell(point, kind, midway[point], UNDER_DAEMON) for point, kind in killed + hanging]


def orders() -> list[Cell]:
    """`weather-backfill start` that dies as it writes the audit."""
    return [Cell("audit", kind, 1, "order") for kind in ORDER]


def _of_tenant(undisturbed: dict[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in undisturbed.items() if f"/tenant={TENANT}/" in key}


def try_victim(stage: Stage, cell: Cell) -> Outcome:
    """A native backfill under the daemon; the run, as it reaches the point, kills the victim."""
    undisturbed = _of_tenant(stage.undisturbed("local"))
    started = time.monotonic()
    with stage.scene("local") as scene, ExitStack() as servers:
        scene.platform.environment |= scene.fault(cell.point, cell.kind, cell.nth)
        if cell.kind == HANG:
            _impatient(scene)
        servers.enter_context(scene.platform.daemon())
        name = _launch(scene, cell, servers)
        # What is started before the killing is over would be killed with the others.
        done = scene.fired if cell.kind in ("kill run", HANG) else Path(f"{scene.fired}{OVER}")
        until(done.exists, ENOUGH)
        status = _restart(scene, cell, servers, name)
        _wait(scene, lambda: _ended(scene))
        problems = [] if status is None else _said(status, name)
        with scene.platform.instance as instance:
            backfill = instance.get_backfill(name)
            if backfill is None or backfill.status != BulkActionStatus.COMPLETED_SUCCESS:
                problems.append(f"the backfill ended as {backfill and backfill.status}")
        problems += scene.differences(undisturbed, (TENANT,))
        problems += [f"{stored.key}: a journal of a run that has ended" for stored in scene.lake.list(layout.JOURNAL)]
        problems += _state(scene) if problems else []
    return Outcome(cell, True, 0, time.monotonic() - started, problems)


def _launch(scene: Scene, cell: Cell, servers: ExitStack) -> str:
    """Through the webserver if that is to die, else from code; the backfill's id."""
    if cell.kind == "kill webserver":
        url = servers.enter_context(scene.platform.webserver())
        selection = [{"path": ["tempest", dataset]} for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M)]
        params = {"assetSelection": selection, "partitionNames": [f"{day}|{TENANT}" for day in DAYS]}
        return str(graphql(url, LAUNCH, {"p": params})["launchPartitionBackfill"]["backfillId"])
    with scene.platform.instance as instance:
        return launch_backfill(
            instance, build_definitions(scene.platform.settings), backfill_id="disturbed", service="tempest",
            tenant=TENANT, days=DAYS,
        )  # fmt: skip


def _impatient(scene: Scene) -> None:
    """Run monitoring ends a run in a minute, as it does in a day by itself."""
    config = scene.home / "dagster.yaml"
    text = config.read_text()
    patient = yaml.safe_load(text)["run_monitoring"]["max_runtime_seconds"]
    config.write_text(text.replace(f"max_runtime_seconds: {patient}", f"max_runtime_seconds: {PATIENCE}"))


def _restart(scene: Scene, cell: Cell, servers: ExitStack, name: str) -> str | None:
    """Start again what was killed; the address of a new webserver. A run is started again by the daemon itself, and a
    code server by the process that it belongs to."""
    if cell.kind == "kill daemon":
        servers.enter_context(scene.platform.daemon())
    if cell.kind == "kill webserver":
        return servers.enter_context(scene.platform.webserver())
    return None


def _said(url: str, name: str) -> list[str]:
    """What the new webserver says of the backfill that the old one launched."""
    status = graphql(url, STATUS, {"id": name})["partitionBackfillOrError"]["status"]
    return [] if status == "COMPLETED_SUCCESS" else [f"the webserver says {status}"]


def _wait(scene: Scene, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; what the instance and the daemon say if it does not in time."""
    try:
        until(condition, ENOUGH, 0.5)
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *_state(scene)])) from error


def _state(scene: Scene) -> list[str]:
    """What the instance and the daemon say, for whoever looks into a fault that was not survived."""
    with scene.platform.instance as instance:
        natives = [
            f"{backfill.backfill_id}: {backfill.status} {backfill.error}" for backfill in instance.get_backfills()
        ]
        runs = []
        for run in instance.get_runs():
            runs.append(
                f"run {run.run_id[:8]} of {run.root_run_id}: {run.status} {sorted(map(str, run.asset_selection or []))}"
            )
            failed = [e for e in instance.all_logs(run.run_id) if e.dagster_event and e.dagster_event.is_failure]
            runs += [f"  {entry.timestamp:.0f} {entry.message[:300]}" for entry in failed]
    log = (scene.folder / "daemon.log").read_text(errors="replace")
    return [*natives, *runs, log[-3000:]]


def _ended(scene: Scene) -> bool:
    with scene.platform.instance as instance:
        return not active_backfills(instance)


def try_order(stage: Stage, cell: Cell) -> Outcome:
    """`start`, cut short as it writes its audit event, given again; then daemon and sensors go on by themselves."""
    undisturbed = _of_tenant(stage.undisturbed("local"))
    span = ("--tenant", TENANT, "--service", "tempest", "--start", str(DAYS[0]), "--end", str(DAYS[-1]))
    started = time.monotonic()
    with stage.scene("local", disks="disk" in cell.kind) as scene:
        _no_onboarding(scene)
        order = ("weather-backfill", "start", *span, "--yes")
        first = scene.command(*order, extra=scene.fault(cell.point, cell.kind, cell.nth))
        reached = scene.fired.exists()
        scene.mend()
        problems, retries = list[str](), int(first.returncode != 0)
        if retries:
            again = scene.command(*order)
            if again.returncode != 0 and "is active over the same days" not in " ".join(again.text.split()):
                problems.append(f"the second start failed: {again.text}")
        with scene.platform.daemon():
            _wait(scene, lambda: _launched(scene) == 1 and _ended(scene))
        log = json.loads(scene.platform.run("weather-backfill", "log", "--json").stdout)
        accepted = [event for event in log if (event["action"], event["outcome"]) == ("start", "accepted")]
        if len(accepted) != 1:
            problems.append(f"the audit tells of {len(accepted)} starts")
        problems += scene.differences(undisturbed, (TENANT,))
        problems += _state(scene) if problems else []
    return Outcome(cell, reached, retries, time.monotonic() - started, problems)


def _no_onboarding(scene: Scene) -> None:
    """The sensors run, as they would; there is nothing else for them to do, as the archive is years old."""
    scene.platform.environment["WEATHER_AUTOMATION"] = "true"


def _launched(scene: Scene) -> int:
    with scene.platform.instance as instance:
        return sum(backfill.backfill_id.startswith(f"tempest-{TENANT}-") for backfill in instance.get_backfills())
